"""DDIM's step between two noise levels, from which most samplers start, and the noise levels of a stochastic one."""

import jax.numpy as jnp

from diffjax.diffusion.process import Batch, Process, Time, along


def ddim_step(process: Process, x0: Batch, x_t: Batch, t: Time, s: Time, sigma_down: Time | None = None) -> Batch:
    """alpha_s x0 + sigma_s eps, with the eps of x_t = alpha_t x0 + sigma_t eps. Singular only at sigma_t = 0.

    The exact solution of the probability-flow ODE for constant x0 (Song et al. 2020, eq. 12; Lu et al. 2022b, eq. 9).
    `sigma_down` replaces sigma_s where newly drawn noise makes up the rest of it; see `noise_levels`.
    """
    sigma_down = process.sigma(s) if sigma_down is None else sigma_down
    return along(process.alpha(s), x_t) * x0 + along(sigma_down, x_t) * process.eps(x0, x_t, t)


def slope_weight(process: Process, t: Time, s: Time) -> Time:
    """alpha_s (l_s - l_t), l = sigma / alpha: the derivative of x_s with respect to eps. 0 at alpha_t = 0.

    There l is infinite and x_t independent of x0, so that a step of any order reduces to `ddim_step`, uncorrected.
    """
    has_signal = process.alpha(t) > 0
    level = process.sigma(t) / jnp.where(has_signal, process.alpha(t), 1.0)
    return jnp.where(has_signal, process.sigma(s) - process.alpha(s) * level, 0.0)


def noise_levels(process: Process, t: Time, s: Time, eta: float) -> tuple[Time, Time]:
    """(sigma_down, sigma_up) with sigma_down^2 + sigma_up^2 = sigma_s^2: DDIM's step goes down, new noise up again.

    sigma_up = eta * posterior std, at most sigma_s (Song et al. 2020, eq. 16; the names are k-diffusion's).
    """
    _, variance = process.transition(s, t)
    sigma_s2 = process.sigma(s) ** 2
    sigma_up2 = jnp.minimum(eta**2 * variance * sigma_s2 / process.sigma(t) ** 2, sigma_s2)
    return jnp.sqrt(sigma_s2 - sigma_up2), jnp.sqrt(sigma_up2)
