"""What holds the two networks of a GAN in check: spectral and conditional normalisation; and a look at the neighbours.

Statistics, singular values and deviations are computed in float32 or better, whatever the layers compute in.
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

EPS = 1e-12  # added to the length of a vector before it divides; Miyato et al.'s and PyTorch's


def power_iteration(kernel: Float[Array, "... out"], u: Float[Array, "out"]) -> tuple[Array, Float[Array, "out"]]:
    """One step towards the largest singular value of W, `kernel` as a matrix [everything else, out].

    v = W u / |W u|, u' = W^T v / |W^T v|, sigma = v^T W u' -> (sigma, u') (Miyato et al. 2018, algorithm 1). Gradients
    reach W through sigma alone: u' and v are constants.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    constant = lax.stop_gradient(matrix)

    def times(a, b):  # a TPU would round the factors to bfloat16, a GPU to TensorFloat32
        return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)

    def unit(vector):
        return vector / (jnp.linalg.norm(vector) + EPS)

    v = unit(times(constant, lax.stop_gradient(u)))
    u = unit(times(v, constant))
    return times(times(v, matrix), u), u


class SpectralNorm:
    """Mixed into a Flax layer: its weights are divided by their largest singular value (Miyato et al. 2018, eq. 8).

    Collection "spectral" holds the layer's u. Every call takes one power iteration from it; in training its outcome is
    kept, otherwise nothing moves, and averaged weights with their averaged u are normalised no worse: so it is in the
    papers' own code. `flax.linen.SpectralNorm` does the same, but its products are as rough as the device's, it refuses
    to train where its collection cannot change, and its variables have slashes in their names. Here, the parameters are
    named as without the norm.
    """

    def param(self, name: str, *how: Any, **kwargs: Any) -> Any:
        weights = super().param(name, *how, **kwargs)
        if name not in ("kernel", "embedding"):
            return weights

        def direction():
            u = jax.random.normal(self.make_rng("params"), weights.shape[-1:], weights.dtype)
            return u / jnp.linalg.norm(u)

        u = self.variable("spectral", "u", direction)
        sigma, new = power_iteration(weights, u.value)
        if self.train and not self.is_initializing() and self.is_mutable_collection("spectral"):
            u.value = new
        return weights / jnp.where(sigma > 0, sigma, 1)  # weights of zero stay zero


class SpectralConv(SpectralNorm, nn.Conv):
    train: bool = False


class SpectralDense(SpectralNorm, nn.Dense):
    train: bool = False


class SpectralEmbed(SpectralNorm, nn.Embed):
    train: bool = False


@dataclass(frozen=True)
class Layers:
    """The three kinds of layer with weights, all with spectral normalisation or all without."""

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
        make = partial(spectral, train=self.train) if self.spectral_norm else plain
        return make(*sizes, dtype=self.dtype, param_dtype=self.param_dtype, **kwargs)


class ConditionalBatchNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) * scale + shift, the scale and shift those of a condition. [b, ..., c] -> the same.

    Mean and variance are the batch's, whatever the conditions in it (de Vries et al. 2017). Of a label, int [b], scale
    and shift are learned rows, 1 and 0 at first (Dumoulin et al. 2017, eq. 5); of a vector, [b, k], they are
    1 + A condition and B condition (Brock et al. 2019, appendix B); without one, this is `flax.linen.BatchNorm`.
    """

    train: bool
    axis_name: str | None  # of the devices that share one batch
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
        plain = condition is None
        norm = nn.BatchNorm(
            use_running_average=not self.train,
            momentum=self.momentum,
            epsilon=self.eps,
            axis_name=self.axis_name,
            use_scale=plain,
            use_bias=plain,
            scale_init=self.scale_init,
            **formats,
        )
        nn.share_scope(self, norm)  # its variables are named as if it stood here alone
        h = norm(x)
        if plain:
            return h
        channels, layers = x.shape[-1], Layers(self.spectral_norm, self.train, **formats)

        def of_condition(name):
            if condition.ndim == 1:
                rows = nn.Embed(
                    self.num_classes, channels, embedding_init=nn.initializers.zeros_init(), name=name, **formats
                )(condition)
            else:
                rows = layers.dense(channels, use_bias=False, kernel_init=self.kernel_init, name=name)(condition)
            return jnp.expand_dims(rows, range(1, x.ndim - 1))

        return h * (1 + of_condition("scale")) + of_condition("shift")


def minibatch_deviation(x: Float[Array, "b *space c"], group: int, initializing: bool = False) -> Array:
    """One channel more: how much `group` neighbours in the batch differ. [b, ..., c] -> [b, ..., c + 1].

    sqrt(var + 1e-8) over the group, its mean over space and channels, the same for all in the group (Karras et al.
    2018, section 3; in groups: Karras et al. 2020, StyleGAN2). The images of a group are neighbours, b = (groups,
    group), where the papers' code takes every (b / group)-th: so a group never spans two devices. `group` 0 adds
    nothing. A network is initialised with batches of any size. Raises UserError for a batch that is no multiple.
    """
    if group < 0:
        raise UserError(f"method.discriminator.minibatch_std: {group} must not be negative; 0 shows no deviation")
    if not group:
        return x
    group = 1 if initializing else group
    if len(x) % group:
        raise UserError(f"method.discriminator.minibatch_std: {group} does not divide a batch of {len(x)} on a device")
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(-1, group, *x.shape[1:])
    deviation = jnp.sqrt(jnp.var(wide, axis=1) + 1e-8)
    deviation = jnp.mean(deviation, axis=range(1, deviation.ndim)).repeat(group).astype(x.dtype)
    deviation = jnp.expand_dims(deviation, range(1, x.ndim))
    return jnp.concatenate([x, jnp.broadcast_to(deviation, (*x.shape[:-1], 1))], axis=-1)
