"""The published kernels and schedules of discrete diffusion, by name."""

import numpy as np

from diffjax.diffusion.discrete.process import DiscreteProcess
from diffjax.errors import UserError


def linear(steps: int) -> np.ndarray:
    """beta_n = 1 / (T - n + 1), erasing 1/T of the signal a step: keep = 1 - t (Sohl-Dickstein et al. 2015, 2.4.1)."""
    return 1 / (steps - np.arange(1, steps + 1) + 1)


def cosine(steps: int) -> np.ndarray:
    """keep = cos((t + s) / (1 + s) pi/2), s = 0.008, divided by its value at t = 0 (Hoogeboom et al. 2021, D3PM)."""
    keep = np.cos((np.arange(steps) / steps + 0.008) / 1.008 * np.pi / 2)
    return 1 - np.append(keep[1:], 0.0) / keep


SCHEDULES = {"linear": linear, "cosine": cosine}


def _betas(steps: int, schedule: str) -> tuple[float, ...]:
    if steps < 1:
        raise UserError(f"method.kernel.steps: {steps} must be at least 1")
    if schedule not in SCHEDULES:
        raise UserError(f"method.kernel.schedule: {schedule!r} must be one of {', '.join(SCHEDULES)}")
    return tuple(SCHEDULES[schedule](steps).tolist())


def binomial(values: int, *, steps: int = 2000) -> DiscreteProcess:
    """The binomial kernel with its fixed schedule (Sohl-Dickstein et al. 2015, table App.1): `uniform` for two values.

    Raises UserError unless the data are binary.
    """
    if values != 2:
        raise UserError(
            f"method.kernel.name: 'binomial' needs data with 2 values, and these have {values}; use 'uniform'"
        )
    return DiscreteProcess(values, _betas(steps, "linear"))


def uniform(values: int, *, steps: int = 1000, schedule: str = "cosine") -> DiscreteProcess:
    """D3PM-uniform: noise is uniform over all values (Austin et al. 2021, A.2.1; Hoogeboom et al. 2021)."""
    return DiscreteProcess(values, _betas(steps, schedule))


def absorbing(values: int, *, steps: int = 1000, schedule: str = "linear") -> DiscreteProcess:
    """D3PM-absorbing: entries turn into the mask for good (Austin et al. 2021, A.2.2). "linear" is their 1/(T-n+1)."""
    return DiscreteProcess(values, _betas(steps, schedule), absorbing=True)


KERNELS = {"binomial": binomial, "uniform": uniform, "absorbing": absorbing}
