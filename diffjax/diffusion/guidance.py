"""Guidance: functions from a denoiser to a guided denoiser, which also knows its own cost in network calls.

Each takes a denoiser, `null` (the label that means "no label": a number, or an array for captions) and the process.
Guidance that wraps another one takes it as its keyword `guidance`. Guidance that needs a second model receives it as
`other`, loaded from the run directory `run`.
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


def null_labels(null: Null, count: int) -> Array:
    """`null` repeated for `count` examples: [count], or [count, ...] for captions."""
    null = jnp.asarray(null)
    return jnp.broadcast_to(null, (count, *null.shape))


def none(denoiser: Denoiser, null: Null, process: Process) -> Denoiser:
    """The conditional model unchanged."""
    return denoiser


def classifier_free(
    denoiser: Denoiser, null: Null, process: Process, *, scale: float = 1.0, rescale: float = 0.0
) -> Denoiser:
    """D_u + s (D_c - D_u), s = `scale`: 1 is the conditional model, 0 the unconditional (Ho & Salimans 2022, eq. 6).

    The paper's w is s - 1. s = 1 and s = 0 cost one network call, any other scale two. `rescale` interpolates each
    example's standard deviation between the guided estimate's (0) and the conditional one's (1) (Lin et al. 2023, eq.
    15-16).
    """
    _check_scale(scale, "0: without labels or captions, 1: the model as it is")
    if not 0 <= rescale <= 1:
        raise UserError(f"sampler.guidance.rescale: {rescale} must be in [0, 1]; 0 rescales nothing")
    if scale == 1.0:
        return denoiser

    def unconditional(x_t, t, label):
        return denoiser(x_t, t, null_labels(null, len(x_t)))

    def guided(x_t, t, label):
        # Both halves in one call on a doubled batch: the same work in half the kernel launches.
        x_in = jnp.concatenate([x_t, x_t])
        t_in = jnp.tile(jnp.broadcast_to(t, len(x_t)), 2)
        label_in = jnp.concatenate([label, null_labels(null, len(x_t)).astype(label.dtype)])
        prediction = denoiser(x_in, t_in, label_in)
        conditional, unconditional = jnp.split(prediction.x0, 2)
        x0 = extrapolate(conditional, unconditional, scale)
        if rescale:
            axes = tuple(range(1, x0.ndim))
            ratio = jnp.std(conditional, axis=axes, keepdims=True) / jnp.std(x0, axis=axes, keepdims=True)
            x0 *= 1 + rescale * (ratio - 1)
        return Prediction(x0, prediction.log_var and first_half(prediction.log_var, len(x_t)))

    if scale == 0.0:
        return Denoiser(unconditional, denoiser.calls)
    return Denoiser(guided, lambda t: 2 * denoiser.cost(t))


def first_half(log_var: Callable[[Time], Array], count: int) -> Callable[[Time], Array]:
    """The log-variance of the conditional half of a doubled batch."""

    def conditional_log_var(s):
        log_vars = log_var(jnp.tile(jnp.broadcast_to(s, count), 2))
        return log_vars[:count] if log_vars.ndim else log_vars

    return conditional_log_var


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
    """Applies `guidance` only at noise levels sigma / alpha in (low, high] (Kynkäänniemi et al. 2024, eq. 5).

    The defaults are the released code's for EDM2-XXL on ImageNet-512, there with a scale of 2. Outside the interval the
    model is unguided and costs only its own call.
    """
    if not 0 <= low < high:
        raise UserError(f"sampler.guidance.low: {low} must be at least 0 and below high={high}")
    guided = guidance(denoiser, null, process)

    def in_interval(t):
        level = process.sigma(t) / process.alpha(t)
        return (level > low) & (level <= high)

    def predict(x_t, t, label):
        if jnp.ndim(t) == 0:
            x0 = lax.cond(in_interval(t), lambda: guided(x_t, t, label).x0, lambda: denoiser(x_t, t, label).x0)
        else:
            x0 = jnp.where(along(in_interval(t), x_t), guided(x_t, t, label).x0, denoiser(x_t, t, label).x0)
        return Prediction(x0)

    return Denoiser(predict, lambda t: jnp.where(jnp.any(in_interval(t)), guided.cost(t), denoiser.cost(t)))


def autoguidance(
    denoiser: Denoiser, null: Null, process: Process, other: Denoiser, *, scale: float = 2.0, run: str = ""
) -> Denoiser:
    """D_w + s (D - D_w), where D_w = `other` is a worse version of the same model (Karras et al. 2024b, eq. 4).

    `run` is the run directory of D_w: a smaller or less trained model, on the same data and labels.
    """
    _check_scale(scale, "0: the worse model, 1: the model as it is")

    def guided(x_t, t, label):
        prediction = denoiser(x_t, t, label)
        return prediction._replace(x0=extrapolate(prediction.x0, other(x_t, t, label).x0, scale))

    return denoiser if scale == 1.0 else Denoiser(guided, lambda t: denoiser.cost(t) + other.cost(t))


def classifier(
    denoiser: Denoiser, null: Null, process: Process, other: Callable, *, scale: float = 1.0, run: str = ""
) -> Denoiser:
    """score + s grad log p(label | x_t), which adds s (sigma^2 / alpha) grad to x0 (Dhariwal & Nichol 2021, eq. 10-14).

    `other(x_t, t) -> log-probabilities [b, num_classes]` is a classifier of noisy examples; its calls do not count
    towards the cost. The denoiser is called without a label, as the paper's unconditional model. Where samplers clip
    x0, the gradient is added to the clipped x0, as in the released code; `editing.Posterior` alone clips after it.
    """
    _check_scale(scale, "0: without labels, 1: Bayes' rule")

    def predict(x_t, t, label):
        def log_prob(x, t):
            log_probs = other(x, jnp.broadcast_to(t, len(x)))
            return scale * jnp.take_along_axis(log_probs, label[:, None], axis=1)[:, 0]

        return multiplied(denoiser, process, log_prob)(x_t, t, null_labels(null, len(x_t)))

    return Denoiser(predict, denoiser.calls)


def multiplied(denoiser: Denoiser, process: Process, log_r: Callable[[Batch, Time], Float[Array, "b"]]) -> Denoiser:
    """The denoiser of p(x_t) r(x_t, t): score + grad log r, which adds (sigma^2 / alpha) grad log r to x0.

    Sohl-Dickstein et al. 2015, section 2.5: an ancestral step's mean moves by its variance times grad log r. The final
    samples follow p(x0) r(x0, 0) if r(x_t, t) = E[r(x0, 0) | x_t]. The paper leaves r open for t > 0 and uses the same
    r at all t in its examples; then the samples are biased, however many steps are taken. At alpha = 0, where x_t
    says nothing of x0, the denoiser is left as it is.
    """

    def predict(x_t, t, label):
        gradient = jax.grad(lambda x: jnp.sum(log_r(x, t)))(x_t)
        prediction, alpha = denoiser(x_t, t, label), process.alpha(t)
        factor = jnp.where(alpha > 0, process.sigma(t) ** 2 / jnp.where(alpha > 0, alpha, 1.0), 0.0)
        return prediction._replace(x0=prediction.x0 + along(factor, x_t) * gradient)

    return Denoiser(predict, denoiser.calls, denoiser.label)


def dynamic_threshold(
    denoiser: Denoiser, null: Null, process: Process, *, percentile: float = 0.995, guidance: Guidance = classifier_free
) -> Denoiser:
    """Clips each estimate of x0 to [-p, p] and divides it by p, where p is its `percentile` of |x0| but at least 1.

    For images in [-1, 1] under strong `guidance` (Saharia et al. 2022, section 2.3).
    """
    if not 0 < percentile <= 1:
        raise UserError(f"sampler.guidance.percentile: {percentile} must be above 0 and at most 1")
    guided = guidance(denoiser, null, process)

    def thresholded(x_t, t, label):
        prediction = guided(x_t, t, label)
        magnitude = jnp.abs(prediction.x0).reshape(len(x_t), -1)
        threshold = along(jnp.maximum(jnp.quantile(magnitude, percentile, axis=1), 1.0), x_t)
        return prediction._replace(x0=jnp.clip(prediction.x0, -threshold, threshold) / threshold)

    return Denoiser(thresholded, guided.calls)


def rounded(
    denoiser: Denoiser, null: Null, process: Process, *, steps: int = 1000, guidance: Guidance = none
) -> Denoiser:
    """Evaluates the network at t rounded up to one of 1/n, 2/n .. 1, n = `steps`, and uses its eps at t itself.

    For a network that was trained at n times only and a sampler of more steps. Without rounding, the network would be
    evaluated at times it has never seen (Song et al. 2021, appendix G: of 2n steps, step i uses level floor(i / 2)).
    Where alpha = 0 at the rounded time, eps says nothing of x0, and the network's x0 is left as it is.
    """
    if steps < 1:
        raise UserError(f"sampler.guidance.steps: {steps} must be at least 1")

    guided = guidance(denoiser, null, process)

    def up(t):
        return jnp.clip(jnp.ceil(t * steps - 1e-3), 1, steps) / steps  # 1e-3: round-off must not lift a multiple of 1/n

    def predict(x_t, t, label):
        x0, has_signal = guided(x_t, up(t), label).x0, process.alpha(up(t)) > 0
        eps = process.eps(x0, x_t, up(t))
        divisor = along(jnp.where(has_signal, process.alpha(t), 1.0), x_t)
        return Prediction(jnp.where(along(has_signal, x_t), (x_t - along(process.sigma(t), x_t) * eps) / divisor, x0))

    return Denoiser(predict, lambda t: guided.cost(up(t)))


def clip_x0(denoiser: Denoiser, low: float = -1.0, high: float = 1.0) -> Denoiser:
    """Static thresholding: clips every estimate of x0 to the range of the data (Ho et al. 2020, section 3.2)."""

    def clipped(x_t, t, label):
        prediction = denoiser(x_t, t, label)
        return prediction._replace(x0=jnp.clip(prediction.x0, low, high))

    return Denoiser(clipped, denoiser.calls, denoiser.label)


def negative(
    denoiser: Denoiser, null: Null, process: Process, *, instead: Null, guidance: Guidance = classifier_free
) -> Denoiser:
    """A negative prompt: guides away from the label `instead` rather than from no label, D_n + s (D_c - D_n)."""
    return guidance(denoiser, instead, process)


def _check_scale(scale: float, advice: str) -> None:
    if not 0 <= scale < float("inf"):
        raise UserError(f"sampler.guidance.scale: {scale} must be finite and at least 0 ({advice})")
