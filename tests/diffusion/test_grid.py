"""Time grids: from one end to the other, falling, and on a table's own steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import (
    DDIM,
    EDM,
    GRIDS,
    VE,
    Ancestral,
    Denoiser,
    Flow,
    Prediction,
    SubVP,
    VPCosine,
    VPLinear,
    ddpm_cosine,
    ddpm_linear,
    grid,
)
from diffjax.errors import UserError
from tests.methods.test_diffusion import method

pytestmark = pytest.mark.usefixtures("x64")
PROCESSES = [VPLinear(), VPCosine(), SubVP(), VE(), EDM(), Flow(), ddpm_linear(), ddpm_cosine()]


def listed(*at):
    """A sampler of these times."""
    return DDIM(steps=len(at) - 1, grid=partial(grid.explicit, at=at))


def undefined(process, steps):
    return jnp.linspace(1.0, 0.0, steps + 1).at[1].set(jnp.nan)


@pytest.mark.parametrize("name", [name for name in GRIDS if name != "explicit"])
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_every_grid_falls_strictly_from_the_noise_to_the_data(name, process):
    if name == "ddim_quadratic" and not process.steps:
        pytest.skip("a table's")
    times = np.asarray(GRIDS[name](process, 12))
    assert len(times) == 13 and times[-1] == 0 and 0.5 < times[0] <= 1
    assert np.all(np.diff(times) < 0)
    if process.steps:
        np.testing.assert_allclose(times * process.steps, np.round(times * process.steps), atol=1e-9)


def test_karras_is_the_papers_formula():
    levels = np.asarray(EDM().sigma(grid.karras(EDM(), 18)))
    np.testing.assert_allclose(levels[[0, 17, 18]], [80, 0.002, 0], rtol=1e-9)
    by_hand = (80 ** (1 / 7) + 5 / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(levels[5], by_hand, rtol=1e-9)


def test_log_snr_and_quadratic_are_even_in_what_they_say():
    levels = VPCosine().log_snr(grid.log_snr(VPCosine(), 8, low=-6.0, high=6.0)[:-1])
    np.testing.assert_allclose(levels, np.linspace(-6, 6, 8), atol=1e-6)
    np.testing.assert_allclose(np.sqrt(grid.quadratic(EDM(), 5)), np.linspace(1, 0, 6), atol=1e-12)


def test_ddim_quadratic_visits_the_times_of_the_released_code_once():
    table = ddpm_linear()
    for steps, visited in ((10, 10), (20, 20), (50, 49), (100, 96)):
        released = [int(t) for t in np.linspace(0, np.sqrt(1000 * 0.8), steps) ** 2]  # its index 0 is our step 1
        index = np.round(1000 * np.asarray(grid.ddim_quadratic(table, steps))).astype(int)
        assert list(index) == [*sorted({t + 1 for t in released}, reverse=True), 0]
        assert len(index) == visited + 1


@pytest.mark.parametrize("sampler", [DDIM(), DDIM(eta=1.0), Ancestral(variance="large", clip=True)])
def test_a_step_from_a_time_to_itself_stays_where_it_is(sampler):
    """Which is why a grid may visit times that coincide once."""
    x_t, t = jnp.asarray([[0.3, -2.0]]), jnp.asarray(0.002)
    denoise = Denoiser(lambda x_t, t, label: Prediction(0.5 * x_t))
    out = sampler.step(ddpm_linear(), denoise, x_t, t, t, jax.random.key(0))
    np.testing.assert_allclose(out.x_s, x_t, atol=1e-12)


def test_a_list_of_times_is_taken_as_it_is():
    np.testing.assert_allclose(grid.explicit(Flow(), 2, at=(0.9, 0.4, 0.0)), [0.9, 0.4, 0.0])
    np.testing.assert_allclose(grid.explicit(ddpm_linear(), 2, at=(0.9004, 0.4, 0.0)), [0.9, 0.4, 0.0])


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: grid.explicit(Flow(), 2, at=(0.4, 0.9, 0.0)), "grid.at"),
        (lambda: grid.explicit(Flow(), 3, at=(0.9, 0.4, 0.0)), "grid.at"),
        (lambda: grid.explicit(Flow(), 2, at=(1.1, 0.4, 0.0)), "grid.at"),
        (lambda: grid.linear(ddpm_linear(), 1001), "steps"),
        (lambda: grid.quadratic(ddpm_linear(), 900), "grid"),
        (lambda: grid.ddim_quadratic(Flow(), 9), "grid: 'ddim_quadratic' needs a process with a table"),
        (lambda: grid.ddim_quadratic(ddpm_linear(), 1), "steps: 1 must be at least 2"),
        (lambda: method(process=ddpm_linear(timesteps=20)).check_sampler(DDIM(steps=18, grid=grid.karras)), "grid"),
        (
            lambda: method(process=VPLinear()).check_sampler(listed(1.0, 0.5, 0.25)),
            "grid: its last time, 0.25, must be 0",
        ),
        (
            lambda: method(process=VPLinear()).check_sampler(listed(0.5, 0.25, 0.0)),
            "grid: its first time, 0.5, must be",
        ),
        (lambda: method(process=Flow()).check_sampler(DDIM(steps=2, grid=undefined)), "grid: its 2 steps must fall"),
        (lambda: grid.karras(EDM(), 5, sigma_min=90.0), "grid.sigma_min"),
        (lambda: grid.karras(EDM(), 5, rho=0.0), "grid.rho"),
        (lambda: grid.log_snr(EDM(), 5, low=3.0, high=2.0), "grid.low"),
    ],
)
def test_a_grid_that_makes_no_sense_is_one_line(make, field):
    with pytest.raises(UserError, match=f"sampler.{field}"):
        make()


def test_a_list_of_times_may_start_short_of_1_where_little_signal_is_left():
    method(process=VPLinear()).check_sampler(listed(0.98, 0.4, 0.0))
    method(process=EDM(sigma_max=3.0)).check_sampler(DDIM(steps=5, grid=grid.karras))  # at t = 1 by round-off only


def test_a_grid_is_held_to_what_its_process_reaches():
    assert jnp.max(grid.karras(EDM(sigma_max=3.0), 6)) == 1
    assert np.isfinite(VPLinear().log_snr(grid.log_snr(VPLinear(), 6, low=-100.0, high=100.0)[:-1])).all()
