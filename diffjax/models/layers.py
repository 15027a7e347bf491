"""Layers shared by several networks: dropout, normalisation, linear maps, resampling, attention.

Every layer computes in `dtype` and keeps its parameters in `param_dtype`; statistics and softmax always have at least
float32 precision. Images are [batch, height, width, channels].
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key

ZERO = nn.initializers.zeros_init()
BILINEAR = (1, 3, 3, 1)  # the resampling filter of StyleGAN2, NCSN++ and their successors


def initial(variance: float = 1.0, fan: str = "fan_avg") -> nn.initializers.Initializer:
    """Uniform with variance `variance` / fan, where `fan` names fan_in, fan_out or their mean.

    With the mean this is Glorot's distribution, DDPM's `default_init`, with `variance` times its variance. DDPM scales
    the layers that end a branch by 1e-10. Here `variance` 0 makes them exactly zero, so that a new network is exactly
    the identity on its residual path and outputs exactly 0.
    """
    return nn.initializers.variance_scaling(variance, fan, "uniform") if variance else ZERO


def folded(keys: Key[Array, "b"], name: str) -> Key[Array, "b"]:
    """Keys for one of an example's random operations, selected by its name."""
    name_hash = zlib.crc32(name.encode())  # Python's hash() differs from process to process
    return jax.vmap(lambda key: jax.random.fold_in(key, name_hash))(keys)


class Dropout(nn.Module):
    """Dropout with one mask per example: x [b, ...], keys [b] -> [b, ...]. The identity when keys is None.

    Every example has its own key, into which the layer's path in the network is folded. A mask therefore does not
    depend on how the batch is divided over devices or in time, as one mask drawn for the whole batch would.
    """

    rate: float  # the fraction of activations set to 0

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], keys: Key[Array, "b"] | None) -> Float[Array, "b ..."]:
        if keys is None or self.rate == 0:
            return x
        keys = folded(keys, "/".join(self.path))
        keep_mask = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(keep_mask, x / (1 - self.rate), 0)


def groups_for(channels: int) -> int:
    """The number of groups to normalise in: DDPM's 32, or fewer for at least 4 channels each; divides `channels`."""
    max_groups = max(1, min(32, channels // 4))
    return next(groups for groups in range(max_groups, 0, -1) if channels % groups == 0)


class GroupNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) * scale + bias, over space and the channels of a group (Wu & He 2018, eq. 1-3).

    x [b, ..., c] -> [b, ..., c] in `dtype`, with the values and parameters of `flax.linen.GroupNorm`. The moments are
    E[x] and E[x^2], per channel and then per group, in float32 or better. The rest is x * a + b with a, b [b, c]: two
    sums and one product in each direction, all of which XLA fuses.

    Forward and backward on a CPU, this adds 4 to 8 % to the time of the surrounding convolutions, flax's layer
    12 to 14 %, and E[(x - E[x])^2] 22 to 44 %. A hand-written gradient, or sums as matrix products (which a TPU would
    round to bfloat16), came within 5 % of this.
    """

    groups: int = 0  # 0: as in `groups_for`
    eps: float = 1e-6
    affine: bool = True  # False: scale 1 and bias 0, for a caller that modulates the result
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        channels = x.shape[-1]
        scale, bias = 1.0, 0.0
        if self.affine:
            scale = self.param("scale", nn.initializers.ones_init(), (channels,), self.param_dtype)
            bias = self.param("bias", nn.initializers.zeros_init(), (channels,), self.param_dtype)
        groups, space = self.groups or groups_for(channels), tuple(range(1, x.ndim - 1))
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))

        def group_mean(moment):  # [b, c] -> the mean over each group, repeated over its channels
            moment = moment.reshape(-1, groups, channels // groups).mean(axis=-1, keepdims=True)
            return jnp.broadcast_to(moment, (*moment.shape[:2], channels // groups)).reshape(-1, channels)

        mean, square = group_mean(x.mean(space)), group_mean((x * x).mean(space))
        a = scale * lax.rsqrt(jnp.maximum(square - mean * mean, 0) + self.eps)
        b = bias - mean * a
        return (x * jnp.expand_dims(a, space) + jnp.expand_dims(b, space)).astype(self.dtype)


def dense(features: int, variance: float = 1.0, fan: str = "fan_avg", **kwargs) -> nn.Dense:
    """A linear map of the last axis, initialised by `initial`."""
    return nn.Dense(features, kernel_init=initial(variance, fan), **kwargs)


def conv(
    features: int, size: int = 3, stride: int = 1, variance: float = 1.0, fan: str = "fan_avg", padding="SAME", **kwargs
) -> nn.Conv:
    """A convolution initialised by `initial`; the output's side is the input's divided by `stride`."""
    kernel_init = initial(variance, fan)
    return nn.Conv(features, (size, size), strides=stride, padding=padding, kernel_init=kernel_init, **kwargs)


def upsample(x: Float[Array, "b h w c"], taps: tuple[int, ...] = (1, 1)) -> Float[Array, "b 2*h 2*w c"]:
    """Doubles the side: zeros between the pixels, then the filter `taps` at twice its gain, along rows and columns.

    With (1, 1) each pixel is repeated (nearest neighbour), as a broadcast without a gather.
    """
    if taps == (1, 1):
        b, h, w, c = x.shape
        return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
    half = len(taps) // 2
    even, odd = taps[half % 2 :: 2], taps[(half + 1) % 2 :: 2]  # the taps that meet pixels, not the zeros between them
    wide, narrow = half // 2, half - 1 - half // 2
    for axis in (1, 2):
        phases = _filter(x, axis, even, (wide, narrow)), _filter(x, axis, odd, (narrow, wide))
        shape = [2 * side if i == axis else side for i, side in enumerate(x.shape)]
        x = jnp.stack(phases, axis=axis + 1).reshape(shape)
    return x


def downsample(x: Float[Array, "b h w c"], taps: tuple[int, ...] = (1, 1)) -> Float[Array, "b h/2 w/2 c"]:
    """Halves the side: the filter `taps` at every second pixel, along rows and columns. (1, 1) averages 2x2 pixels."""
    edge = len(taps) // 2 - 1
    for axis in (1, 2):
        x = _filter(x, axis, taps, (edge, edge), stride=2)
    return x


def blur(x: Float[Array, "b h w c"], taps: tuple[int, ...]) -> Float[Array, "b h+1 w+1 c"]:
    """Applies the filter `taps` at every corner of a pixel, before a 3x3 convolution of stride 2 without padding.

    That convolution halves x's side. The two equal a 3x3 convolution followed by `downsample`, at a quarter of the cost
    (Karras et al. 2020, StyleGAN2).
    """
    edge = len(taps) // 2
    for axis in (1, 2):
        x = _filter(x, axis, taps, (edge, edge))
    return x


def _filter(x, axis, taps, edges, stride=1):
    """sum_j taps_j x[stride i + j - edges[0]] / sum(taps) along an axis, with edges = (before, after) zeros padded.

    Computed as a sum of slices: as a convolution with one channel per group, XLA takes 18 to 100 times as long on a
    CPU.
    """
    x = jnp.pad(x, [edges if i == axis else (0, 0) for i in range(x.ndim)])
    end = x.shape[axis] - len(taps) + 1
    return sum(tap / sum(taps) * lax.slice_in_dim(x, j, j + end, stride, axis) for j, tap in enumerate(taps))


def attention(
    q: Float[Array, "b q h d"], k: Float[Array, "b k h d"], mask: Bool[Array, "b k"] | None = None
) -> Float[Array, "b h q k"]:
    """softmax(q k^T / sqrt(d)) for each head h, over the keys where `mask` is true; at least one must be."""
    dtype = jnp.promote_types(k.dtype, jnp.float32)
    logits = jnp.einsum("bqhd,bkhd->bhqk", q * q.shape[-1] ** -0.5, k, preferred_element_type=dtype)
    return nn.softmax(logits if mask is None else jnp.where(mask[:, None, None], logits, -jnp.inf))


def attend(
    q: Float[Array, "b q h d"],
    k: Float[Array, "b k h d"],
    v: Float[Array, "b k h d"],
    mask: Bool[Array, "b k"] | None = None,
    record: Callable[[Array], Any] | None = None,
) -> Float[Array, "b q h d"]:
    """softmax(q k^T / sqrt(d)) v for each head h: [b, q, h, d], in the dtype of v (Vaswani et al. 2017, eq. 1).

    `record` is called with the weights [b, h, q, k].
    """
    weights = attention(q, k, mask)
    if record is not None:
        record(weights)
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(v.dtype), v)


def multihead(
    x: Float[Array, "b q c"],
    context: Float[Array, "b k m"],
    head_dim: int,
    layer: Callable[..., nn.Module],
    prefix: str = "",
    **attended: Any,
) -> Float[Array, "b q h {head_dim}"]:
    """What each head of x finds in `context`, before the linear map that mixes them.

    Queries are linear in x, keys and values in `context`: layers made by `layer(c, name=...)`, whose names "q", "k" and
    "v" follow `prefix`. `attended` is the rest of `attend`.
    """
    q, k, v = (
        layer(x.shape[-1], name=f"{prefix}{name}")(h).reshape(*h.shape[:2], -1, head_dim)
        for name, h in (("q", x), ("k", context), ("v", context))
    )
    return attend(q, k, v, **attended)


class Attention(nn.Module):
    """(x + out(softmax(q k^T / sqrt(d)) v)) * skip_scale, with q linear in the pixels of groupnorm(x).

    x [b, h, w, c] -> the same. k and v are linear in the same pixels (Ho et al. 2020, appendix B), or in a text's
    `tokens` [b, n, k], of which `mask` [b, n] marks the valid ones (Rombach et al. 2022, eq. 3). One head is as wide as
    the channels (`head_dim` 0), or there are c / head_dim (Dhariwal & Nichol 2021, section 3); skip_scale is Song et
    al. 2021's, appendix H. The layer is equivariant to permutations of the pixels. If the collection "intermediates" is
    mutable, the weights of the tokens [b, heads, h w, n] are stored in it.
    """

    head_dim: int = 0  # channels of a head; 0: all
    normalised: bool = True  # False: without the GroupNorm
    variance: float = 1.0  # initial variance of the weights of q, k, v, relative to Glorot's
    final_scale: float = 0.0  # initial size of the weights of out, relative to Glorot's
    skip_scale: float = 1.0
    groups: int = 0
    eps: float = 1e-6
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        tokens: Float[Array, "b n k"] | None = None,
        mask: Bool[Array, "b n"] | None = None,
    ) -> Float[Array, "b h w c"]:
        b, height, width, c = x.shape
        kwargs = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        pixels = GroupNorm(self.groups, self.eps, name="norm", **kwargs)(x) if self.normalised else x
        pixels = pixels.reshape(b, height * width, c)
        found = multihead(
            pixels,
            pixels if tokens is None else tokens,
            self.head_dim or c,
            partial(dense, variance=self.variance, **kwargs),
            mask=mask,
            record=None if tokens is None else partial(self.sow, "intermediates", "attention"),
        )
        return (x + dense(c, self.final_scale**2, name="out", **kwargs)(found.reshape(x.shape))) * self.skip_scale
