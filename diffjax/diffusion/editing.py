"""Editing: samplers that start from an example, and denoisers that also know a part of it or a noisy copy of it.

What is known is y = P x0, P an orthogonal projector on the space of examples: `pixels` (a mask; the rest is 0) or
`block_means` (a small image, every pixel of it repeated). P x + y - P x is then y: x can be made to agree exactly.

Three ways to draw from p(x0 | y). Over infinitely many steps, with an exact denoiser,

- `observed` is exact for any data. What is known is all of x0 under independent noise, as x_t itself is, so both
  together are one x_t of less noise;
- `posterior` is exact for Gaussian data, and takes p(x0 | x_t) for a Gaussian otherwise;
- `RePaint` becomes exact as its resamplings grow. Without any it is biased even for Gaussian data: the unknown part
  sees the known one only through its noise.

Each is a sampler around a sampler, so that whatever draws can edit: `RePaint.around(sampler, photo, ...)`.
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
KNOWN = 2**31 - 1  # the noise of what is known; the samplers' own is numbered from 0

# ------------------------------------------------------------------------------------------------------ what is known


def pixels(known: Bool[ArrayLike, "..."]) -> Projector:
    """Some entries are known: x where `known`, otherwise 0."""
    return lambda x: jnp.where(known, x, 0.0)


def block_means(factor: int) -> Projector:
    """The means of squares of factor x factor pixels are known: x [..., h, w, c] with each pixel its square's mean."""

    def project(x):
        blocks = x.reshape(_blocks(x, factor))
        return jnp.broadcast_to(jnp.mean(blocks, axis=(-4, -2), keepdims=True), blocks.shape).reshape(x.shape)

    return project


def _blocks(x: Array, factor: int) -> tuple[int, ...]:
    """The shape that tells the squares of [..., h, w, c] apart: [..., h / factor, factor, w / factor, factor, c]."""
    *lead, h, w, c = x.shape
    return (*lead, h // factor, factor, w // factor, factor, c)


def smoothed(x: Batch, factor: int) -> Batch:
    """The small image of x [b, h, w, c], the means of factor x factor pixels, enlarged again by cubic interpolation.

    What SR3 shows its network beside x_t (Saharia et al. 2021, section 2); theirs is reduced cubically as well.
    """
    return jax.image.resize(x.reshape(_blocks(x, factor)).mean(axis=(2, 4)), x.shape, "cubic")


def agreeing(x: Batch, project: Projector, y: Array) -> Batch:
    """The x nearest to `x` with P x = y: (1 - P) x + y (Wang et al. 2023, "DDNM"). For a mask, to the last bit."""
    return (x - project(x)) + y


# -------------------------------------------------------------------------------------------- denoisers that know more


def observed(denoiser: Denoiser, process: Process, y: Array, noise: float) -> Denoiser:
    """E[x0 | x_t, y] for y = x0 + noise * n, exactly, by one call of the denoiser at a lower noise level.

    x_t and y are independent given x0: by Bayes' rule both say of x0 what one Gaussian observation does, of mean
    (alpha n^2 x_t + sigma^2 y) / (alpha^2 n^2 + sigma^2) and variance sigma^2 n^2 / (alpha^2 n^2 + sigma^2), n = noise.
    This is "multiplying by r(x)" for a Gaussian r (Sohl-Dickstein et al. 2015, section 2.5, denoising). A table of
    steps has no time between them, and takes the nearest.
    """
    if noise <= 0:
        raise UserError(f"noise: {noise} is no standard deviation; above 0")

    def both(t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        total = alpha**2 * noise**2 + sigma**2
        level = jnp.log(sigma**2 * noise**2 / total)
        return alpha * noise**2 / total, sigma**2 / total, jnp.clip(process.time_of(-level), 0.0, 1.0)

    def predict(x_t, t, label):
        from_x_t, from_y, time = both(t)
        mean = along(from_x_t, x_t) * x_t + along(from_y, x_t) * y
        return Prediction(denoiser(along(process.alpha(time), x_t) * mean, time, label).x0)

    return Denoiser(predict, lambda t: denoiser.cost(both(t)[2]), denoiser.label)


def posterior(
    denoiser: Denoiser, process: Process, project: Projector, y: Array, noise: float = 0.0, iterations: int = 3
) -> Denoiser:
    """E[x0 | x_t, y] for y = P (x0 + noise * n), as if p(x0 | x_t) were Gaussian (Rozet et al. 2024, section 4).

        x0_hat + V P u,   (P V P + noise^2) u = y - P x0_hat,   V = Cov[x0 | x_t] = (sigma^2 / alpha) d x0_hat / d x_t

    `iterations` of conjugate gradients solve for u, a derivative of the network each; one more is V P u. Chung et al.
    2023 ("DPS") take (sigma^2 / alpha) times a constant for V P, Song et al. 2023 for P V P: neither is right even for
    Gaussian data. With noise = 0 the answer agrees with y exactly; with iterations = 0 as well, that is all that
    happens: DDNM (Wang et al. 2023), where the unknown part hears of y through x_t alone.
    """
    if noise < 0:
        raise UserError(f"noise: {noise} is no standard deviation; 0 or above")
    if iterations < 0:
        raise UserError(f"iterations: {iterations} is not a number of conjugate-gradient steps; 0 or more")

    def told(x_t, t, label):
        prediction = denoiser(x_t, t, label)
        x0 = prediction.x0
        if iterations:
            _, pull = jax.vjp(lambda x: denoiser(x, t, label).x0, x_t)
            scale = along(process.sigma(t) ** 2 / jnp.maximum(process.alpha(t), 1e-8), x_t)  # 0 derivative at alpha = 0
            covariance = lambda u: scale * pull(u)[0]  # noqa: E731
            u = solve(lambda u: project(covariance(u)) + noise**2 * u, y - project(x0), iterations)
            x0 += covariance(u)
        return prediction._replace(x0=x0 if noise else agreeing(x0, project, y))

    return Denoiser(told, lambda t: denoiser.cost(t) * (iterations + 2 if iterations else 1), denoiser.label)


def solve(apply: Callable[[Batch], Batch], b: Batch, iterations: int) -> Batch:
    """u with apply(u) = b for each example by itself, by conjugate gradients from 0 (Hestenes & Stiefel 1952).

    `apply` should be symmetric and positive. A network's derivative is nearly so: an example whose direction has no
    positive curvature, or that is solved, stays where it is.
    """
    dot = lambda a, b: jnp.sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True)  # noqa: E731
    share = lambda a, b: jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)  # noqa: E731

    u, residual, direction, size = jnp.zeros_like(b), b, b, dot(b, b)
    for _ in range(iterations):  # few; as a loop of XLA's, a convolution's derivative took ten times as long on a CPU
        image = apply(direction)
        far = share(size, dot(direction, image))
        u, residual = u + far * direction, residual - far * image
        smaller = dot(residual, residual)
        direction, size = residual + share(smaller, size) * direction, smaller
    return u


# ------------------------------------------------------------------------------------------ samplers around a sampler


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit(Sampler):
    """A sampler that edits `photo` with the help of another, whose settings it has."""

    sampler: Sampler
    photo: Float[ArrayLike, "..."]  # one example, in model units

    @classmethod
    def around(cls, sampler: Sampler, photo: ArrayLike, **own) -> "Edit":
        """This edit by `sampler`."""
        settings = {field.name: getattr(sampler, field.name) for field in fields(Sampler)}
        return cls(sampler=sampler, photo=photo, **settings | own)

    def memory(self, x):
        return self.sampler.memory(x)

    def step(self, process, denoise, x_t, t, s, key, memory=()):
        return self.sampler.step(process, denoise, x_t, t, s, key, memory)


@dataclass(frozen=True, kw_only=True, eq=False)
class SDEdit(Edit):
    """From the photo, noised as far as the last `strength` of the sampler's steps undo (Meng et al. 2022, algorithm 2).

    x_t = alpha photo + sigma eps at the time where these steps begin. Strength 0 is the photo itself; 1 starts from the
    prior, sigma eps, and is the sampler without a photo; anything between runs at least one step. Any sampler will do.
    """

    strength: float = 0.5  # share of the sampler's steps

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.strength <= 1:
            raise UserError(f"strength: {self.strength:g} is not a share; 0 (the photo) to 1 (only noise)")

    @classmethod
    def around(cls, sampler, photo, strength=0.5):
        def last(process, steps):
            times = sampler.grid(process, steps)
            run = max(1, round(strength * (len(times) - 1))) if strength else 0
            return times[len(times) - 1 - run :]

        return super().around(sampler, photo, strength=strength, grid=last)

    def __call__(self, process, denoise, x, times, key, trajectory=False):
        if self.strength == 0:
            nothing = jnp.zeros((0, *x.shape), x.dtype) if trajectory else None
            return Samples(jnp.broadcast_to(self.photo, x.shape).astype(x.dtype), no_calls(x), nothing, nothing)
        if self.strength < 1:
            x += process.alpha(times[0]) * self.photo
        return self.sampler(process, denoise, x, times, key, trajectory)


@dataclass(frozen=True, kw_only=True, eq=False)
class RePaint(Edit):
    """Inpainting by any denoiser: what is known is noised to every level and put in place (Lugmayr et al. 2022).

    Algorithm 1 with the released code's walk: after every `jump` steps the sample is noised back over as many, until
    that stretch has been walked `resamples` times, so that the painted part can come to terms with the known one. Costs
    about `resamples` times the sampler's network calls. `resamples` = 1 is the replacement method (Song et al. 2021,
    appendix I.2; the delta r of Sohl-Dickstein et al. 2015). Every step starts afresh: a multistep sampler takes its
    first, single, step each time, as its memory is of another path.
    """

    known: Bool[ArrayLike, "..."]  # like the photo, or with axes of length 1
    resamples: int = 10  # the paper's
    jump: int = 0  # steps; 0 is 4 % of them, at least 1: the paper's 10 of 250

    def __post_init__(self):
        super().__post_init__()
        if self.resamples < 1:
            raise UserError(f"resamples: {self.resamples} is not a number of times; at least 1")
        if self.jump < 0 or self.jump >= max(self.steps, 2):
            raise UserError(f"jump: {self.jump} is not a part of the {self.steps} steps; 1 to {self.steps - 1}, or 0")

    @classmethod
    def around(cls, sampler, photo, known, resamples=10, jump=0):
        def walked(process, steps):
            times = sampler.grid(process, steps)
            return times[back_and_forth(len(times) - 1, jump or max(1, round(0.04 * steps)), resamples)]

        return super().around(sampler, photo, known=known, resamples=resamples, jump=jump, grid=walked)

    def __call__(self, process, denoise, x, times, key, trajectory=False):
        def undo(x_t, x0_hat, t, s, key):
            done = self.sampler.step(process, denoise, x_t, t, s, key, self.sampler.memory(x_t))
            photo = jnp.broadcast_to(self.photo, x.shape).astype(x.dtype)
            known = process.corrupt(photo, normal(fold_in(key, KNOWN), x_t), s)
            calls = jnp.broadcast_to(done.calls, len(x))
            return jnp.where(self.known, known, done.x_s), done.x0_hat, calls

        def redo(x_t, x0_hat, t, s, key):
            factor, variance = process.transition(t, s)
            return factor * x_t + jnp.sqrt(variance) * normal(key, x_t), x0_hat, no_calls(x)

        def body(carry, interval):
            x_t, x0_hat, nfe = carry
            t, s, index = interval
            x_s, x0_hat, calls = lax.cond(s < t, undo, redo, x_t, x0_hat, t, s, fold_in(key, index))
            return (x_s, x0_hat, nfe + calls), (x_t, x0_hat) if trajectory else (None, None)

        intervals = (times[:-1], times[1:], jnp.arange(len(times) - 1))
        (x0, _, nfe), (x_t, x0_hat) = lax.scan(body, (x, jnp.zeros_like(x), no_calls(x)), intervals)
        return Samples(jnp.where(self.known, self.photo, x0), nfe, x_t, x0_hat)


def back_and_forth(steps: int, jump: int, resamples: int) -> np.ndarray:
    """RePaint's walk over a grid's indices 0 .. steps: [0, 1, ..], with jumps back by `jump`, to the last."""
    left = dict.fromkeys(range(1, steps - jump + 1, jump), resamples - 1)  # by how many steps are still to go
    go, walk = steps, [steps]
    while go:
        go -= 1
        walk.append(go)
        if left.get(go):
            left[go] -= 1
            go += jump
            walk.append(go)
    return steps - np.asarray(walk)


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior(Edit):
    """From p(x0 | P x0 = P photo) by the denoiser `posterior`: inpainting and super-resolution by any denoiser.

    Any sampler will do. What is known comes out as it went in: for a mask, to the last bit.
    """

    project: Projector
    iterations: int = 3  # conjugate-gradient steps

    @classmethod
    def around(cls, sampler, photo, **own):
        return super().around(sampler, photo, **own, clip=False)  # an estimate clipped before has no derivative

    def __call__(self, process, denoise, x, times, key, trajectory=False):
        y = self.project(jnp.asarray(self.photo, x.dtype))
        told = posterior(denoise, process, self.project, y, iterations=self.iterations)
        done = self.sampler(process, clip_x0(told) if self.sampler.clip else told, x, times, key, trajectory)
        return done._replace(x0=agreeing(done.x0, self.project, y))


@dataclass(frozen=True, kw_only=True, eq=False)
class Denoise(Edit):
    """From p(x0 | photo) where the photo is x0 under Gaussian noise of a known standard deviation, by `observed`."""

    noise: float  # in model units

    def __call__(self, process, denoise, x, times, key, trajectory=False):
        y = jnp.asarray(self.photo, x.dtype)
        return self.sampler(process, observed(denoise, process, y, self.noise), x, times, key, trajectory)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seeing(Edit):
    """The model is shown `photo` beside every x_t: for one that was trained with such a condition. Any sampler will do.

    The method hands the photo on; here nothing is left to do.
    """

    def __call__(self, process, denoise, x, times, key, trajectory=False):
        return self.sampler(process, denoise, x, times, key, trajectory)
