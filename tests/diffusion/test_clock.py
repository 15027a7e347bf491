"""Clocks: the numbers of the papers, finite at every time."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import CLOCKS, EDM, PROCESSES, Flow, clock, ddpm_linear


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("process", ["vp_linear", "vp_cosine", "sub_vp", "ve", "edm", "flow", "ddpm_linear"])
def test_a_clock_is_finite_with_no_noise_and_with_no_signal(name, process):
    assert jnp.isfinite(CLOCKS[name](PROCESSES[process](), jnp.asarray([0.0, 1e-6, 0.5, 1.0]))).all()


def test_a_table_of_any_length_is_seen_as_one_of_a_thousand_steps():
    t = jnp.arange(1, 65) / 64
    np.testing.assert_allclose(clock.index(ddpm_linear(timesteps=64), t), np.arange(64), atol=1e-5)
    np.testing.assert_allclose(clock.rescaled(ddpm_linear(timesteps=64), t), np.arange(64) * 1000 / 64, rtol=1e-5)
    t = jnp.arange(1, 1001) / 1000
    np.testing.assert_array_equal(clock.rescaled(ddpm_linear(), t), clock.index(ddpm_linear(), t))


def test_noise_is_seen_as_edm_and_ncsnpp_see_it():
    sigma = jnp.asarray([0.002, 0.5, 80.0])
    np.testing.assert_allclose(clock.log_noise(EDM(), sigma / 80), np.log(sigma) / 4, rtol=1e-5)
    np.testing.assert_allclose(clock.log_sigma(EDM(), sigma / 80), np.log(sigma / 2), rtol=1e-5)
    np.testing.assert_allclose(clock.log_noise(Flow(), jnp.asarray([0.25])), np.log(1 / 3) / 4, rtol=1e-5)
