"""Editing: samplers that start from an example, and denoisers conditioned on a part of it or on a noisy copy of it.

The measurement is y = P x0 with P an orthogonal projector on the space of examples: `pixels` (a mask; other entries are
0) or `block_means` (a small image, every pixel of it repeated). As P P = P, x - P x + y satisfies the measurement for
any x.

Three ways to draw from p(x0 | y). With infinitely many steps and an exact denoiser,

- `observed` is exact for any data. Its y is all of x0 under independent noise, as x_t is, so that x_t and y together
  are equivalent to one x_t with less noise;
- `posterior` is exact for Gaussian data, and approximates p(x0 | x_t) by a Gaussian otherwise;
- `RePaint` becomes exact as the number of resamplings grows. With a single pass it is biased even for Gaussian data,
  because the unknown part sees only a noisy version of the known one.

Each edit wraps a sampler, so that every sampler can edit: `RePaint.around(sampler, photo, ...)`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from diffjax.diffusion.denoiser import Denoiser, Prediction
from diffjax.diffusion.guidance import clip_x0
from diffjax.diffusion.noise import fold_in, normal
from diffjax.diffusion.process import Batch, Process, along
from diffjax.diffusion.samplers.sampler import Sampler, Samples, no_calls
from diffjax.errors import UserError

Projector = Callable[[Array], Array]  # P, with P P = P and P = P^T; on one example [...] or on several [b, ...]
KNOWN = 2**31 - 1  # folded into the key for the noise of the known part; the samplers fold in numbers from 0

# ------------------------------------------------------------------------------------------------------- measurements


def pixels(known: Bool[ArrayLike, "..."]) -> Projector:
    """The projector on the entries where `known`: x there, 0 elsewhere."""
    return lambda x: jnp.where(known, x, 0.0)


def block_means(factor: int) -> Projector:
    """The projector on means of factor x factor blocks: each pixel of x [..., h, w, c] becomes its block's mean."""

    def project(x):
        blocks = x.reshape(_blocks(x, factor))
        return jnp.broadcast_to(jnp.mean(blocks, axis=(-4, -2), keepdims=True), blocks.shape).reshape(x.shape)

    return project


def _blocks(x: Array, factor: int) -> tuple[int, ...]:
    """The shape that splits [..., h, w, c] into blocks: [..., h / factor, factor, w / factor, factor, c]."""
    *lead, h, w, c = x.shape
    return (*lead, h // factor, factor, w // factor, factor, c)


def smoothed(x: Batch, factor: int) -> Batch:
    """x [b, h, w, c] reduced to the means of factor x factor blocks and enlarged again by cubic interpolation.

    SR3's network receives such an image beside x_t (Saharia et al. 2021, section 2; theirs is also reduced cubically).
    """
    return jax.image.resize(x.reshape(_blocks(x, factor)).mean(axis=(2, 4)), x.shape, "cubic")


def agreeing(x: Batch, project: Projector, y: Array) -> Batch:
    """The x nearest to `x` with P x = y: (1 - P) x + y (Wang et al. 2023, "DDNM"). Bit-exact for a mask."""
    return (x - project(x)) + y


# ----------------------------------------------------------------------------------------------- conditioned denoisers


def observed(denoiser: Denoiser, process: Process, y: Array, noise: float) -> Denoiser:
    """The exact E[x0 | x_t, y] for y = x0 + noise * eps, eps ~ N(0, I), by one denoiser call at a lower noise level.

    x_t and y are independent given x0, so by Bayes' rule they are equivalent to one Gaussian observation of x0. With
    n = `noise` it has mean (alpha n^2 x_t + sigma^2 y) / (alpha^2 n^2 + sigma^2) and variance sigma^2 n^2 / (alpha^2
    n^2 + sigma^2). This is "multiplying by r(x)" for a Gaussian r (Sohl-Dickstein et al. 2015, section 2.5, denoising).
    A table of steps takes the nearest step.
    """
    if noise <= 0:
        raise UserError(f"noise: {noise} must be above 0; it is a standard deviation")

    def observation(t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        denominator = alpha**2 * noise**2 + sigma**2
        log_variance = jnp.log(sigma**2 * noise**2 / denominator)
        return (
            alpha * noise**2 / denominator,
            sigma**2 / denominator,
            jnp.clip(process.time_of(-log_variance), 0.0, 1.0),
        )

    def predict(x_t, t, label):
        weight_x_t, weight_y, t_equivalent = observation(t)
        mean = along(weight_x_t, x_t) * x_t + along(weight_y, x_t) * y
        return Prediction(denoiser(along(process.alpha(t_equivalent), x_t) * mean, t_equivalent, label).x0)

    return Denoiser(predict, lambda t: denoiser.cost(observation(t)[2]), denoiser.label)


def posterior(
    denoiser: Denoiser, process: Process, project: Projector, y: Array, noise: float = 0.0, iterations: int = 3
) -> Denoiser:
    """E[x0 | x_t, y] for y = P (x0 + noise * eps), as if p(x0 | x_t) were Gaussian (Rozet et al. 2024, section 4).

        x0_hat + V P u,   (P V P + noise^2) u = y - P x0_hat,   V = Cov[x0 | x_t] = (sigma^2 / alpha) d x0_hat / d x_t

    `iterations` steps of conjugate gradients solve for u, at one derivative of the network each; V P u takes one more.
    Chung et al. 2023 ("DPS") use (sigma^2 / alpha) times a constant for V P, Song et al. 2023 for P V P: neither is
    exact even for Gaussian data. With noise = 0 the result agrees with y exactly. With iterations = 0 as well, only
    this projection remains: DDNM (Wang et al. 2023), where y informs the unknown part through x_t alone.
    """
    if noise < 0:
        raise UserError(f"noise: {noise} must be at least 0; it is a standard deviation")
    if iterations < 0:
        raise UserError(f"iterations: {iterations} must be at least 0; it counts conjugate-gradient steps")

    def conditioned(x_t, t, label):
        prediction = denoiser(x_t, t, label)
        x0 = prediction.x0
        if iterations:
            _, vjp = jax.vjp(lambda x: denoiser(x, t, label).x0, x_t)
            # At alpha = 0 the derivative vanishes, so that any bound on 1 / alpha will do.
            scale = along(process.sigma(t) ** 2 / jnp.maximum(process.alpha(t), 1e-8), x_t)
            covariance = lambda u: scale * vjp(u)[0]  # noqa: E731
            u = solve(lambda u: project(covariance(u)) + noise**2 * u, y - project(x0), iterations)
            x0 += covariance(u)
        return prediction._replace(x0=x0 if noise else agreeing(x0, project, y))

    return Denoiser(conditioned, lambda t: denoiser.cost(t) * (iterations + 2 if iterations else 1), denoiser.label)


def solve(apply: Callable[[Batch], Batch], b: Batch, iterations: int) -> Batch:
    """Solves apply(u) = b for each example separately, by conjugate gradients from 0 (Hestenes & Stiefel 1952).

    `apply` should be symmetric positive definite, which a network's derivative is only approximately: an example stays
    unchanged where its search direction has no positive curvature, or once it is solved.
    """
    dot = lambda a, b: jnp.sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True)  # noqa: E731
    safe_divide = lambda a, b: jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)  # noqa: E731

    u, residual, direction, sq_norm = jnp.zeros_like(b), b, b, dot(b, b)
    for _ in range(iterations):  # unrolled: in an XLA loop, a convolution's derivative was ten times slower on a CPU
        a_direction = apply(direction)
        step_size = safe_divide(sq_norm, dot(direction, a_direction))
        u, residual = u + step_size * direction, residual - step_size * a_direction
        new_sq_norm = dot(residual, residual)
        direction, sq_norm = residual + safe_divide(new_sq_norm, sq_norm) * direction, new_sq_norm
    return u


# ---------------------------------------------------------------------------------------------------- editing samplers


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit(Sampler):
    """A sampler that edits `photo` by wrapping another sampler, whose settings it copies."""

    sampler: Sampler
    photo: Float[ArrayLike, "..."]  # one example, in model units

    @classmethod
    def around(cls, sampler: Sampler, photo: ArrayLike, **own) -> "Edit":
        """This edit wrapped around `sampler`."""
        settings = {field.name: getattr(sampler, field.name) for field in fields(Sampler)}
        return cls(sampler=sampler, photo=photo, **settings | own)

    def memory(self, x):
        return self.sampler.memory(x)

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        return self.sampler.step(process, denoise, x_t, t, s, key, memory)


@dataclass(frozen=True, kw_only=True, eq=False)
class SDEdit(Edit):
    """Noises the photo and denoises it with the last `strength` of the sampler's steps (Meng et al. 2022, algorithm 2).

    x_t = alpha photo + sigma eps at the time where these steps begin. Strength 0 returns the photo; 1 starts from the
    prior, sigma eps, and ignores the photo; anything between runs at least one step. Works with any sampler.
    """

    strength: float = 0.5  # share of the sampler's steps

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.strength <= 1:
            raise UserError(f"strength: {self.strength:g} must be in [0, 1]; 0 is the photo, 1 only noise")

    @classmethod
    def around(cls, sampler, photo, strength=strength):
        def last_steps(process, steps):
            times = sampler.grid(process, steps)
            num_steps = max(1, round(strength * (len(times) - 1))) if strength else 0
            return times[len(times) - 1 - num_steps :]

        return super().around(sampler, photo, strength=strength, grid=last_steps)

    def __call__(self, process, denoise, x, times, key, trajectory=False):
        if self.strength == 0:
            empty = jnp.zeros((0, *x.shape), x.dtype) if trajectory else None
            return Samples(jnp.broadcast_to(self.photo, x.shape).astype(x.dtype), no_calls(x), empty, empty)
        if self.strength < 1:
            x += process.alpha(times[0]) * self.photo
        return self.sampler(process, denoise, x, times, key, trajectory)


@dataclass(frozen=True, kw_only=True, eq=False)
class RePaint(Edit):
    """Inpainting with any denoiser: every step replaces the known part by its noised version (Lugmayr et al. 2022).

    Algorithm 1 with the schedule of the released code: after every `jump` steps the sample is noised back over as many,
    until that stretch has been walked `resamples` times, which harmonises the painted part with the known one. Costs
    about `resamples` times the sampler's network calls. `resamples` = 1 is the replacement method (Song et al. 2021,
    appendix I.2; the delta r of Sohl-Dickstein et al. 2015). A multistep sampler takes its first, single-step, step
    every time, because its memory belongs to another path.
    """

    known: Bool[ArrayLike, "..."]  # broadcasts against the photo
    resamples: int = 10  # as in the paper
    jump: int = 0  # in steps; 0 means 4 % of all steps, at least 1: the paper's 10 of 250

    def __post_init__(self):
        super().__post_init__()
        if self.resamples < 1:
            raise UserError(f"resamples: {self.resamples} must be at least 1")
        if self.jump < 0 or self.jump >= max(self.steps, 2):
            raise UserError(
                f"jump: {self.jump} must be at least 0 and less than the {self.steps} steps; 0 means 4 % of them"
            )

    @classmethod
    def around(cls, sampler, photo, known, resamples=resamples, jump=jump):
        def walk(process, steps):
            times = sampler.grid(process, steps)
            return times[back_and_forth(len(times) - 1, jump or max(1, round(0.04 * steps)), resamples)]

        return super().around(sampler, photo, known=known, resamples=resamples, jump=jump, grid=walk)

    def __call__(self, process, denoise, x, times, key, trajectory=False):
        def denoise_step(x_t, x0_hat, t, s, key):
            out = self.sampler.step(process, denoise, x_t, t, s, key, self.sampler.memory(x_t))
            photo = jnp.broadcast_to(self.photo, x.shape).astype(x.dtype)
            known = process.corrupt(photo, normal(fold_in(key, KNOWN), x_t), s)
            calls = jnp.broadcast_to(out.calls, len(x))
            return jnp.where(self.known, known, out.x_s), out.x0_hat, calls

        def renoise_step(x_t, x0_hat, t, s, key):
            factor, variance = process.transition(t, s)
            return factor * x_t + jnp.sqrt(variance) * normal(key, x_t), x0_hat, no_calls(x)

        def body(carry, interval):
            x_t, x0_hat, nfe = carry
            t, s, index = interval
            x_s, x0_hat, calls = lax.cond(s < t, denoise_step, renoise_step, x_t, x0_hat, t, s, fold_in(key, index))
            return (x_s, x0_hat, nfe + calls), (x_t, x0_hat) if trajectory else (None, None)

        intervals = (times[:-1], times[1:], jnp.arange(len(times) - 1))
        (x0, _, nfe), (x_t, x0_hat) = lax.scan(body, (x, jnp.zeros_like(x), no_calls(x)), intervals)
        return Samples(jnp.where(self.known, self.photo, x0), nfe, x_t, x0_hat)


def back_and_forth(steps: int, jump: int, resamples: int) -> np.ndarray:
    """RePaint's walk over the indices 0 .. steps of a grid, with jumps back by `jump`."""
    jumps_left = dict.fromkeys(range(1, steps - jump + 1, jump), resamples - 1)  # by the number of remaining steps
    remaining, walk = steps, [steps]
    while remaining:
        remaining -= 1
        walk.append(remaining)
        if jumps_left.get(remaining):
            jumps_left[remaining] -= 1
            remaining += jump
            walk.append(remaining)
    return steps - np.asarray(walk)


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior(Edit):
    """Draws from p(x0 | P x0 = P photo) by `posterior`: inpainting and super-resolution with any denoiser.

    Works with any sampler. The known part of the result is that of the photo; for a mask, bit-exactly. The derivative
    is that of the guided estimate, with any dynamic thresholding in it. `clip` clips after conditioning, and so after a
    classifier's gradient too: where an estimate is clipped, it has no derivative.
    """

    project: Projector
    iterations: int = 3  # conjugate-gradient steps

    @classmethod
    def around(cls, sampler, photo, **own):
        return super().around(sampler, photo, **own, clip=False)  # `__call__` clips, after the derivative is taken

    def __call__(self, process, denoise, x, times, key, trajectory=False):
        y = self.project(jnp.asarray(self.photo, x.dtype))
        denoiser = posterior(denoise, process, self.project, y, iterations=self.iterations)
        out = self.sampler(process, clip_x0(denoiser) if self.sampler.clip else denoiser, x, times, key, trajectory)
        return out._replace(x0=agreeing(out.x0, self.project, y))


@dataclass(frozen=True, kw_only=True, eq=False)
class Denoise(Edit):
    """Draws from p(x0 | photo), the photo being x0 plus Gaussian noise of known standard deviation, by `observed`."""

    noise: float  # in model units

    def __call__(self, process, denoise, x, times, key, trajectory=False):
        y = jnp.asarray(self.photo, x.dtype)
        return self.sampler(process, observed(denoise, process, y, self.noise), x, times, key, trajectory)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageConditioned(Edit):
    """Shows the network `photo` beside every x_t, for a model trained with such a condition. Works with any sampler.

    The method reads the photo from here and passes it on; sampling itself is unchanged.
    """

    def __call__(self, process, denoise, x, times, key, trajectory=False):
        return self.sampler(process, denoise, x, times, key, trajectory)
