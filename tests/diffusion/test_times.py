"""Times: what is drawn has the density that is stated, whatever the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, VPCosine, VPLinear, ddpm_linear, times

CASES = [(times.Uniform(t_min=0.1), VPLinear()), (times.LogNormal(), EDM()), (times.LogNormal(0.3, 0.8), VPCosine())]


@pytest.mark.parametrize(("draw", "process"), CASES)
def test_the_density_integrates_to_one_and_is_that_of_the_draws(draw, process, x64):
    t = jnp.linspace(1e-6, 1, 400_001)
    density = draw.density(t, process)
    mass = jnp.trapezoid(density, t)
    np.testing.assert_allclose(mass, 1, atol=2e-3)
    drawn = draw.sample(jax.random.split(jax.random.key(0), 20_000), process)
    grid = np.asarray([0.002, 0.005, 0.02, 0.1, 0.3, 0.6, 0.9])
    cumulative = np.cumsum(density) * (t[1] - t[0])
    expected = np.interp(grid, t, cumulative)
    np.testing.assert_allclose([(drawn <= g).mean() for g in grid], expected, atol=0.012)


def test_a_table_is_drawn_uniformly_from_step_one_to_t():
    drawn = times.Uniform().sample(jax.random.split(jax.random.key(0), 20_000), ddpm_linear(timesteps=10))
    counts = np.bincount(np.asarray(jnp.round(drawn * 10), int), minlength=11)
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:] / 2000, 1, atol=0.1)


def test_each_example_has_its_own_draw():
    keys = jax.random.split(jax.random.key(1), 8)
    whole = times.LogNormal().sample(keys, EDM())
    np.testing.assert_array_equal(times.LogNormal().sample(keys[3:5], EDM()), whole[3:5])
