"""Guidance: functions from denoiser to denoiser. Each says how many network calls its denoiser costs.

A component takes the denoiser and `null`, the label that means "no label": a number, or an array if it is a caption.
Those that wrap another guidance name it in their own field `guidance`; those that need a second model are handed it as
`other`, from the run directory `run`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from diffjax.diffusion.denoiser import Denoiser, Prediction
from diffjax.diffusion.process import Batch, Process, Time, along
from diffjax.errors import UserError

Null = int | Array | np.ndarray
Guidance = Callable[[Denoiser, Null, Process], Denoiser]


def everyone(null: Null, count: int) -> Array:
    """A label for `count` examples: [count], or [count, ...]."""
    null = jnp.asarray(null)
    return jnp.broadcast_to(null, (count, *null.shape))


def none(denoiser: Denoiser, null: Null, process: Process) -> Denoiser:
    """The conditional model as it is."""
    return denoiser


def classifier_free(
    denoiser: Denoiser, null: Null, process: Process, *, scale: float = 1.0, rescale: float = 0.0
) -> Denoiser:
    """D_u + s (D_c - D_u) with s = `scale`: 1 the conditional model, 0 the unconditional (Ho & Salimans 2022, eq. 6).

    The paper's w is s - 1. At s = 1 and s = 0 one call is enough. `rescale` brings the guided estimate back to the
    conditional one's standard deviation, example by example, by that share (Lin et al. 2023, eq. 15-16).
    """
    _not_negative("scale", scale)
    if not 0 <= rescale <= 1:
        raise UserError(f"sampler.guidance.rescale: {rescale} is not a share; 0 to 1")
    if scale == 1.0:
        return denoiser

    def unconditional(x_t, t, label):
        return denoiser(x_t, t, everyone(null, len(x_t)))

    def guided(x_t, t, label):
        # Both halves in one call of twice the batch: the same work, half the launches.
        twice = jnp.concatenate([x_t, x_t])
        times = jnp.tile(jnp.broadcast_to(t, len(x_t)), 2)
        labels = jnp.concatenate([label, everyone(null, len(x_t)).astype(label.dtype)])
        both = denoiser(twice, times, labels)
        conditional, unconditional = jnp.split(both.x0, 2)
        x0 = extrapolate(conditional, unconditional, scale)
        if rescale:
            axes = tuple(range(1, x0.ndim))
            ratio = jnp.std(conditional, axis=axes, keepdims=True) / jnp.std(x0, axis=axes, keepdims=True)
            x0 *= 1 + rescale * (ratio - 1)
        return Prediction(x0, both.log_var and first_half(both.log_var, len(x_t)))

    if scale == 0.0:
        return Denoiser(unconditional, denoiser.calls)
    return Denoiser(guided, lambda t: 2 * denoiser.cost(t))


def first_half(log_var: Callable[[Time], Array], count: int) -> Callable[[Time], Array]:
    """The log-variance of the conditional half of a doubled batch."""

    def of(s):
        both = log_var(jnp.tile(jnp.broadcast_to(s, count), 2))
        return both[:count] if both.ndim else both

    return of


def extrapolate(better: Batch, worse: Batch, scale: float) -> Batch:
    """worse + scale (better - worse)."""
    return worse + scale * (better - worse)


def interval(
    denoiser: Denoiser,
    null: Null,
    process: Process,
    *,
    low: float = 0.19,
    high: float = 1.61,
    guidance: Guidance = classifier_free,
) -> Denoiser:
    """`guidance` only at noise levels sigma / alpha in (low, high] (Kynkäänniemi et al. 2024, eq. 5).

    The defaults are the paper's for EDM2-S on ImageNet-512. Outside it the model is as it is, and costs one call.
    """
    if not 0 <= low < high:
        raise UserError(f"sampler.guidance.low: {low} must be at least 0 and below high={high}")
    guided = guidance(denoiser, null, process)

    def inside(t):
        level = process.sigma(t) / process.alpha(t)
        return (level > low) & (level <= high)

    def predict(x_t, t, label):
        if jnp.ndim(t) == 0:
            x0 = lax.cond(inside(t), lambda: guided(x_t, t, label).x0, lambda: denoiser(x_t, t, label).x0)
        else:
            x0 = jnp.where(along(inside(t), x_t), guided(x_t, t, label).x0, denoiser(x_t, t, label).x0)
        return Prediction(x0)

    return Denoiser(predict, lambda t: jnp.where(jnp.any(inside(t)), guided.cost(t), denoiser.cost(t)))


def autoguidance(
    denoiser: Denoiser, null: Null, process: Process, other: Denoiser, *, scale: float = 2.0, run: str = ""
) -> Denoiser:
    """D_w + s (D - D_w), with D_w = `other` a worse version of the same model (Karras et al. 2024b, eq. 4).

    `run` is the worse model's run directory: smaller, or trained for less long, on the same data and labels.
    """
    _not_negative("scale", scale)

    def guided(x_t, t, label):
        better = denoiser(x_t, t, label)
        return better._replace(x0=extrapolate(better.x0, other(x_t, t, label).x0, scale))

    return denoiser if scale == 1.0 else Denoiser(guided, lambda t: denoiser.cost(t) + other.cost(t))


def classifier(
    denoiser: Denoiser, null: Null, process: Process, other: Callable, *, scale: float = 1.0, run: str = ""
) -> Denoiser:
    """score + s grad log p(label | x_t), which adds s (sigma^2 / alpha) grad to x0 (Dhariwal & Nichol 2021, eq. 10-14).

    `other(x_t, t) -> log-probabilities [b, num_classes]` is a classifier of noisy examples; its calls are not counted
    among the denoiser's. The denoiser is asked without a label, as the paper's unconditional model.
    """
    _not_negative("scale", scale)

    def predict(x_t, t, label):
        def log_prob(x, t):
            said = other(x, jnp.broadcast_to(t, len(x)))
            return scale * jnp.take_along_axis(said, label[:, None], axis=1)[:, 0]

        return multiplied(denoiser, process, log_prob)(x_t, t, everyone(null, len(x_t)))

    return Denoiser(predict, denoiser.calls)


def multiplied(denoiser: Denoiser, process: Process, log_r: Callable[[Batch, Time], Float[Array, "b"]]) -> Denoiser:
    """The denoiser of p(x_t) r(x_t, t): score + grad log r, which adds (sigma^2 / alpha) grad log r to x0.

    Sohl-Dickstein et al. 2015, section 2.5: an ancestral step's mean moves by its variance times grad log r. The last
    samples follow p(x0) r(x0, 0) if r(x_t, t) = E[r(x0, 0) | x_t]. The paper leaves r at t > 0 open and keeps it
    constant in its examples; then they do not, however many the steps. Singular at alpha = 0.
    """

    def predict(x_t, t, label):
        gradient = jax.grad(lambda x: jnp.sum(log_r(x, t)))(x_t)
        prediction = denoiser(x_t, t, label)
        return prediction._replace(x0=prediction.x0 + along(process.sigma(t) ** 2 / process.alpha(t), x_t) * gradient)

    return Denoiser(predict, denoiser.calls, denoiser.label)


def dynamic_threshold(
    denoiser: Denoiser, null: Null, process: Process, *, percentile: float = 0.995, guidance: Guidance = classifier_free
) -> Denoiser:
    """Each estimate of x0 clipped to its own `percentile` of |x0|, p, and divided by p, where p > 1.

    Saharia et al. 2022, section 2.3: for images in [-1, 1] under strong `guidance`.
    """
    if not 0 < percentile <= 1:
        raise UserError(f"sampler.guidance.percentile: {percentile} is not a share; above 0, at most 1")
    guided = guidance(denoiser, null, process)

    def held(x_t, t, label):
        prediction = guided(x_t, t, label)
        size = jnp.abs(prediction.x0).reshape(len(x_t), -1)
        bound = along(jnp.maximum(jnp.quantile(size, percentile, axis=1), 1.0), x_t)
        return prediction._replace(x0=jnp.clip(prediction.x0, -bound, bound) / bound)

    return Denoiser(held, guided.calls)


def rounded(
    denoiser: Denoiser, null: Null, process: Process, *, steps: int = 1000, guidance: Guidance = none
) -> Denoiser:
    """The network is told the next of the times 1/n .. 1, n = `steps`, and its eps is taken for that of t itself.

    For a network that was trained at n times alone, and a sampler of more steps: without this it is told of times in
    between, which it has never seen (Song et al. 2021, appendix G: of 2n steps, step i has the level floor(i / 2)).
    """
    if steps < 1:
        raise UserError(f"sampler.guidance.steps: {steps} is not a number of times; at least 1")

    guided = guidance(denoiser, null, process)

    def predict(x_t, t, label):
        known = jnp.clip(jnp.ceil(t * steps - 1e-3), 1, steps) / steps  # a time that is known, but for rounding, is it
        eps = process.eps(guided(x_t, known, label).x0, x_t, known)
        return Prediction((x_t - along(process.sigma(t), x_t) * eps) / along(process.alpha(t), x_t))

    return Denoiser(predict, guided.calls)


def clip_x0(denoiser: Denoiser, low: float = -1.0, high: float = 1.0) -> Denoiser:
    """Static thresholding: every estimate of x0 is held to the range of the data (Ho et al. 2020, section 3.2)."""

    def clipped(x_t, t, label):
        prediction = denoiser(x_t, t, label)
        return prediction._replace(x0=jnp.clip(prediction.x0, low, high))

    return Denoiser(clipped, denoiser.calls, denoiser.label)


def negative(
    denoiser: Denoiser, null: Null, process: Process, *, instead: Null, guidance: Guidance = classifier_free
) -> Denoiser:
    """`guidance` away from the label `instead`, and not from none: D_n + s (D_c - D_n), a negative prompt."""
    return guidance(denoiser, instead, process)


def _not_negative(field: str, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise UserError(f"sampler.guidance.{field}: {value} is no scale; 0 is no label, 1 the model as it is")
