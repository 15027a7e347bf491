"""Diversity: the spread of generated examples relative to that of real ones, which reveals mode collapse."""

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array


def moments_of(x: Array, label: Array, num_classes: int) -> dict[str, Array]:
    """Each label's share of the batch and contribution to the mean example, and the mean square. x [b, ...], label [b].

    All three are means over the batch, which average over devices and microbatches, as a spread does not. With
    `num_classes` 0 all examples are pooled.
    """
    x = x.reshape(len(x), -1)
    onehot = nn.one_hot(label, num_classes, dtype=x.dtype) if num_classes else jnp.ones((len(x), 1), x.dtype)
    means = jnp.matmul(onehot.T, x, precision=lax.Precision.HIGHEST) / len(x)
    return {"share": jnp.mean(onehot, axis=0), "mean": means, "square": jnp.mean(x**2)}


def spread(moments: dict[str, Array]) -> Array:
    """The within-label variance, averaged over entries and examples, from `moments_of`.

    A generator that makes a single image per label has none. The result is clamped to stay positive, so that it can be
    a divisor. Where no label has two examples, the variance cannot be estimated, and the ratio of two spreads is near
    1.
    """
    share, mean, square = moments["share"], moments["mean"], moments["square"]
    divisor = jnp.where(share > 0, share, 1)
    between_labels = jnp.sum(jnp.mean(mean**2, axis=1) / divisor)
    floor = jnp.maximum(jnp.finfo(square.dtype).eps * square, jnp.finfo(square.dtype).tiny)
    return jnp.maximum(square - between_labels, floor)
