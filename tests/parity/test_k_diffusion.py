"""Against k-diffusion's samplers: the same walk in sigma, from the same denoiser and the same noise.

Its package pins NumPy 1 and asks for much that its samplers do not use: only its file `sampling.py` is read. Not
compared, for want of a counterpart: `dpm_2`, `dpm_2_ancestral`, `dpm_fast`, `dpm_adaptive` and `dpmpp_sde`. For eta
between 0 and 1 its `dpmpp_2m_sde` and `dpmpp_3m_sde` split the noise otherwise than DDIM, and than ours, do.
"""

import importlib.util
import inspect
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, Denoiser, Prediction, VPLinear, fold_in, grid, normal
from diffjax.diffusion.samplers import DDIM, AdamsBashforth, Ancestral, DPMSolverPP, Euler, Heun

torch = pytest.importorskip("torch", reason="needs the extra `parity`")
if importlib.util.find_spec("k_diffusion") is None:
    pytest.skip("needs k-diffusion (see the Makefile)", allow_module_level=True)
pytestmark = pytest.mark.parity
KEY = jax.random.key(5)
PROCESS = EDM()


def load_sampling():
    """`k_diffusion/sampling.py` alone, with the one thing that it takes from its neighbours."""
    package, utils = types.ModuleType("k_diffusion_alone"), types.ModuleType("k_diffusion_alone.utils")
    package.__path__, package.utils = [], utils
    utils.append_dims = lambda x, dims: x[(...,) + (None,) * (dims - x.ndim)]
    sys.modules |= {package.__name__: package, utils.__name__: utils}
    folder = Path(importlib.util.find_spec("k_diffusion").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location(f"{package.__name__}.sampling", folder / "sampling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


theirs = load_sampling()


def estimate(x, sigma, xp):
    """Some denoiser that is not linear, for both."""
    return x / (1 + sigma**2) + 0.3 * xp.tanh(x / (1 + 0.1 * sigma))


def ours(x_t, t, label=None):
    return Prediction(estimate(x_t, PROCESS.sigma(t), jnp))


def their_model(x, sigma, **_):
    return estimate(x, sigma[:, None], torch)


# Ours, theirs, their settings. The noise of step i is ours, handed to theirs.
CASES = {
    "euler": (DDIM(), "euler", {}),
    "euler in t": (Euler(), "euler", {}),
    "euler_ancestral": (Ancestral(), "euler_ancestral", {}),
    "euler_ancestral, eta": (DDIM(eta=0.5), "euler_ancestral", {"eta": 0.5}),
    "heun": (Heun(), "heun", {}),
    "heun, churn": (
        Heun(churn=4.0, churn_min=0.05, churn_max=50.0, churn_noise=1.003),
        "heun",
        {"s_churn": 4.0, "s_tmin": 0.05, "s_tmax": 50.0, "s_noise": 1.003},
    ),
    "lms": (AdamsBashforth(variable="level", start="euler"), "lms", {}),
    "lms, order 2": (AdamsBashforth(order=2, variable="level", start="euler"), "lms", {"order": 2}),
    "2m": (DPMSolverPP(), "dpmpp_2m", {}),
    "2s": (DPMSolverPP(form="singlestep"), "dpmpp_2s_ancestral", {"eta": 0.0}),
    "2s, eta": (DPMSolverPP(form="singlestep", eta=0.5), "dpmpp_2s_ancestral", {"eta": 0.5}),
    "2s ancestral": (DPMSolverPP(form="singlestep", eta=1.0), "dpmpp_2s_ancestral", {}),
    "2m ode": (DPMSolverPP(), "dpmpp_2m_sde", {"eta": 0.0}),
    "2m sde": (DPMSolverPP(eta=1.0), "dpmpp_2m_sde", {}),
    "2m sde, heun": (DPMSolverPP(eta=1.0, correction="heun"), "dpmpp_2m_sde", {"solver_type": "heun"}),
    "3m": (DPMSolverPP(order=3, correction="heun"), "dpmpp_3m_sde", {"eta": 0.0}),
    "3m sde": (DPMSolverPP(order=3, eta=1.0, correction="heun"), "dpmpp_3m_sde", {}),
}


def compare(case, monkeypatch, tolerance):
    sampler, name, settings = CASES[case]
    times = grid.karras(PROCESS, 12)
    x = PROCESS.sigma(times[0]) * jax.random.normal(jax.random.key(0), (3, 2), times.dtype)
    noises = iter([torch.tensor(np.asarray(normal(fold_in(KEY, i), x))) for i in range(12)])
    function = getattr(theirs, f"sample_{name}")
    if "noise_sampler" in inspect.signature(function).parameters:
        settings = settings | {"noise_sampler": lambda sigma, lower: next(noises)}
    else:
        monkeypatch.setattr(torch, "randn_like", lambda x: next(noises))
    sigmas = torch.tensor(np.asarray(PROCESS.sigma(times)))
    wanted = function(their_model, torch.tensor(np.asarray(x)), sigmas, disable=True, **settings).numpy()
    assert wanted.dtype == times.dtype
    mine = sampler(PROCESS, Denoiser(ours), x, times, KEY).x0
    np.testing.assert_allclose(mine, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("case", CASES)
def test_the_walk_is_theirs_in_float64(case, monkeypatch, x64):
    compare(case, monkeypatch, 1e-10)


@pytest.mark.parametrize("case", CASES)
def test_the_walk_is_theirs_in_float32(case, monkeypatch):
    compare(case, monkeypatch, 1e-5)


def test_the_grids_are_theirs(x64):
    """Theirs are made in float32."""
    levels = PROCESS.sigma(grid.karras(PROCESS, 18, sigma_min=0.01, sigma_max=50.0))
    np.testing.assert_allclose(levels, theirs.get_sigmas_karras(18, 0.01, 50.0), rtol=1e-5)
    low, high = (-2 * float(np.log(sigma)) for sigma in (50.0, 0.01))
    levels = PROCESS.sigma(grid.log_snr(PROCESS, 18, low=low, high=high))
    np.testing.assert_allclose(levels, theirs.get_sigmas_exponential(18, 0.01, 50.0), rtol=1e-5)
    alpha = VPLinear().alpha(jnp.linspace(1.0, 1e-3, 18))  # compared before the 1 is taken off, where they lose digits
    np.testing.assert_allclose(1 / alpha**2, 1 + theirs.get_sigmas_vp(18)[:-1] ** 2, rtol=1e-5)
