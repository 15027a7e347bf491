"""The kernels that the papers use, by name, with their schedules."""

import numpy as np

from diffjax.diffusion.discrete.process import DiscreteProcess
from diffjax.errors import UserError


def linear(steps: int) -> np.ndarray:
    """beta_n = 1 / (T - n + 1), erasing 1/T of the signal a step: keep = 1 - t (Sohl-Dickstein et al. 2015, 2.4.1)."""
    return 1 / (steps - np.arange(1, steps + 1) + 1)


def cosine(steps: int) -> np.ndarray:
    """keep = cos of (t + s)/(1 + s) quarter turns, s = 0.008, over its value at 0 (Hoogeboom et al. 2021, D3PM)."""
    keep = np.cos((np.arange(steps) / steps + 0.008) / 1.008 * np.pi / 2)
    return 1 - np.append(keep[1:], 0.0) / keep


SCHEDULES = {"linear": linear, "cosine": cosine}


def _betas(steps: int, schedule: str) -> tuple[float, ...]:
    if steps < 1:
        raise UserError(f"method.kernel.steps: {steps} is not a number of steps; at least 1")
    if schedule not in SCHEDULES:
        raise UserError(f"method.kernel.schedule: {schedule!r} is unknown; it is one of {', '.join(SCHEDULES)}")
    return tuple(SCHEDULES[schedule](steps).tolist())


def binomial(values: int, *, steps: int = 2000) -> DiscreteProcess:
    """The binomial kernel and its fixed schedule (Sohl-Dickstein et al. 2015, table App.1): `uniform` with two values.

    Raises UserError when the data are not binary.
    """
    if values != 2:
        raise UserError(f"method.kernel.name: 'binomial' is for 2 values, and the data have {values}; use 'uniform'")
    return DiscreteProcess(values, _betas(steps, "linear"))


def uniform(values: int, *, steps: int = 1000, schedule: str = "cosine") -> DiscreteProcess:
    """D3PM-uniform: all values are equally likely as noise (Austin et al. 2021, A.2.1; Hoogeboom et al. 2021)."""
    return DiscreteProcess(values, _betas(steps, schedule))


def absorbing(values: int, *, steps: int = 1000, schedule: str = "linear") -> DiscreteProcess:
    """D3PM-absorbing: entries become the mask, and stay it (Austin et al. 2021, A.2.2). Linear is their 1/(T-n+1)."""
    return DiscreteProcess(values, _betas(steps, schedule), absorbing=True)


KERNELS = {"binomial": binomial, "uniform": uniform, "absorbing": absorbing}
