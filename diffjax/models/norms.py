"""Normalisation for GANs: spectral and conditional batch normalisation, that of z, and minibatch deviation.

Statistics, singular values and deviations are computed in float32 or better, whatever dtype the layers compute in.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError

EPS = 1e-12  # added to a vector's norm before dividing by it, as in the code of Miyato et al.


def power_iteration(kernel: Float[Array, "... out"], u: Float[Array, "out"]) -> tuple[Array, Float[Array, "out"]]:
    """One step towards the largest singular value of W, which is `kernel` as a matrix [all other axes, out].

    v = W u / |W u|, u' = W^T v / |W^T v|, sigma = v^T W u' -> (sigma, u') (Miyato et al. 2018, algorithm 1). Gradients
    reach W through sigma alone; u' and v are constants.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    constant = lax.stop_gradient(matrix)

    def matmul(a, b):  # a TPU would round the factors to bfloat16, a GPU to TensorFloat32
        return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)

    def normalise(vector):
        return vector / (jnp.linalg.norm(vector) + EPS)

    v = normalise(matmul(constant, lax.stop_gradient(u)))
    u = normalise(matmul(v, constant))
    return matmul(matmul(v, matrix), u), u


class SpectralNorm:
    """Mixin for a Flax layer: divides its weights by their largest singular value (Miyato et al. 2018, eq. 8).

    The collection "spectral" holds the layer's u. Every call runs one power iteration from it. In training the new u is
    stored; otherwise nothing changes, and averaged weights are normalised just as well with their averaged u. This
    follows the papers' own code.

    `flax.linen.SpectralNorm` does the same, but its products have only the device's default precision, it fails in
    training where its collection is immutable, and its variable names contain slashes. Here parameters have the same
    names as without the norm.
    """

    def param(self, name: str, *how: Any, **kwargs: Any) -> Any:
        weights = super().param(name, *how, **kwargs)
        if name not in ("kernel", "embedding"):
            return weights

        def unit_vector():
            u = jax.random.normal(self.make_rng("params"), weights.shape[-1:], weights.dtype)
            return u / jnp.linalg.norm(u)

        u = self.variable("spectral", "u", unit_vector)
        sigma, new_u = power_iteration(weights, u.value)
        if self.train and not self.is_initializing() and self.is_mutable_collection("spectral"):
            u.value = new_u
        return weights / jnp.where(sigma > 0, sigma, 1)  # zero weights stay zero


class SpectralConv(SpectralNorm, nn.Conv):
    train: bool = False


class SpectralDense(SpectralNorm, nn.Dense):
    train: bool = False


class SpectralEmbed(SpectralNorm, nn.Embed):
    train: bool = False


@dataclass(frozen=True)
class Layers:
    """The three kinds of layers with weights, all with spectral normalisation or all without."""

    spectral_norm: bool
    train: bool
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    def conv(self, features: int, size: int = 3, **kwargs: Any) -> nn.Module:
        return self._make(nn.Conv, SpectralConv, features, (size, size), **kwargs)

    def dense(self, features: int, **kwargs: Any) -> nn.Module:
        return self._make(nn.Dense, SpectralDense, features, **kwargs)

    def embed(self, rows: int, features: int, **kwargs: Any) -> nn.Module:
        return self._make(nn.Embed, SpectralEmbed, rows, features, **kwargs)

    def _make(self, plain: type, spectral: type, *sizes: Any, **kwargs: Any) -> nn.Module:
        layer = partial(spectral, train=self.train) if self.spectral_norm else plain
        return layer(*sizes, dtype=self.dtype, param_dtype=self.param_dtype, **kwargs)


class ConditionalBatchNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) * scale + shift, with scale and shift given by a condition. [b, ..., c] -> the same.

    Mean and variance are those of the whole batch, whatever conditions it contains (de Vries et al. 2017). For a label,
    int [b], scale and shift are learned rows, 1 and 0 at first (Dumoulin et al. 2017, eq. 5). For a vector [b, k] they
    are 1 + A condition and B condition (Brock et al. 2019, appendix B). Without a condition this is
    `flax.linen.BatchNorm`.
    """

    train: bool
    axis_name: str | None  # of the devices that share a batch; None: one device
    num_classes: int = 0
    spectral_norm: bool = False  # of A and B
    momentum: float = 0.9
    eps: float = 1e-5
    kernel_init: Any = nn.initializers.orthogonal()  # of A and B
    scale_init: Any = nn.initializers.ones_init()  # without a condition
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *space c"], condition: Int[Array, "b"] | Float[Array, "b k"] | None = None
    ) -> Float[Array, "b *space c"]:
        formats = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        unconditional = condition is None
        norm = nn.BatchNorm(
            use_running_average=not self.train,
            momentum=self.momentum,
            epsilon=self.eps,
            axis_name=self.axis_name,
            use_scale=unconditional,
            use_bias=unconditional,
            scale_init=self.scale_init,
            **formats,
        )
        nn.share_scope(self, norm)  # its variables get the names of an unwrapped BatchNorm
        h = norm(x)
        if unconditional:
            return h
        channels, layers = x.shape[-1], Layers(self.spectral_norm, self.train, **formats)

        def modulation(name):
            if condition.ndim == 1:
                rows = nn.Embed(
                    self.num_classes, channels, embedding_init=nn.initializers.zeros_init(), name=name, **formats
                )(condition)
            else:
                rows = layers.dense(channels, use_bias=False, kernel_init=self.kernel_init, name=name)(condition)
            return jnp.expand_dims(rows, range(1, x.ndim - 1))

        return h * (1 + modulation("scale")) + modulation("shift")


def normalised(x: Float[Array, "b n"]) -> Float[Array, "b n"]:
    """x scaled to a mean square of 1."""
    return x * lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-8)


def minibatch_deviation(x: Float[Array, "b *space c"], group: int, initializing: bool = False) -> Array:
    """Appends a channel with the deviation within each group of neighbouring images. [b, ..., c] -> [b, ..., c + 1].

    The deviation is sqrt(var + 1e-8) over the group, averaged over space and channels, the same for the whole group
    (Karras et al. 2018, section 3; in groups: Karras et al. 2020, StyleGAN2). The images of a group are neighbours in
    the batch, b = (groups, group), where the papers' code takes every (b / group)-th, so that a group never spans two
    devices. `group` 0 adds nothing. While `initializing`, any batch size is accepted; otherwise raises UserError for
    one that is not a multiple of `group`.
    """
    if group < 0:
        raise UserError(f"method.discriminator.minibatch_std: {group} must not be negative; 0 appends no deviation")
    if not group:
        return x
    group = 1 if initializing else group
    if len(x) % group:
        raise UserError(
            f"method.discriminator.minibatch_std: {group} does not divide a batch of {len(x)} on a device; use a number"
            " that does, or 0 for no deviation"
        )
    groups = x.astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(-1, group, *x.shape[1:])
    deviation = jnp.sqrt(jnp.var(groups, axis=1) + 1e-8)
    deviation = jnp.mean(deviation, axis=range(1, deviation.ndim)).repeat(group).astype(x.dtype)
    deviation = jnp.expand_dims(deviation, range(1, x.ndim))
    return jnp.concatenate([x, jnp.broadcast_to(deviation, (*x.shape[:-1], 1))], axis=-1)
