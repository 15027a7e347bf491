"""The small pieces that several networks share: embeddings, dropout, normalisation, attention, changes of resolution.

Every piece computes in `dtype` and keeps its parameters in `param_dtype`; statistics, softmax and the embedding of time
are never computed in fewer bits than float32. Images are [batch, height, width, channels].
"""

import math
import zlib
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

# Glorot's uniform distribution, DDPM's `default_init`. DDPM scales the layers that end a branch by 1e-10; here they
# are exactly zero, so that a fresh network is exactly the identity on its residual path and outputs exactly 0.
INITIAL = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
ZERO = nn.initializers.zeros_init()


def timestep_embedding(t: Float[Array, "b"], width: int, max_period: float = 10_000.0) -> Float[Array, "b {width}"]:
    """Sines and cosines of t (Ho et al. 2020, after Vaswani et al. 2017, section 3.5): [b] -> [b, width].

    [sin(w_0 t), ..., sin(w_{h-1} t), cos(w_0 t), ..., cos(w_{h-1} t)] with h = width // 2 and angular frequencies
    w_i = max_period^(-i / (h - 1)), from 1 down to 1 / max_period, ends included. An odd width ends with a zero.
    """
    half = width // 2
    frequencies = jnp.exp(-math.log(max_period) / max(half - 1, 1) * jnp.arange(half, dtype=t.dtype))
    angles = t[:, None] * frequencies
    return jnp.pad(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1), ((0, 0), (0, width % 2)))


class TimeAndLabel(nn.Module):
    """What the blocks are conditioned on: dense(swish(dense(embedding of t))) + a row for the label, [b] -> [b, width].

    Label `num_classes` is the null token of classifier-free guidance; no label at all (None) means the null token for
    everyone. With `num_classes` 0 labels are ignored. Runs in the parameters' format: t = 999 has no neighbour in
    bfloat16, and the cost is nothing beside the network's.
    """

    embedding: int  # sines and cosines
    width: int
    num_classes: int
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, t, label=None):
        linear = partial(dense, dtype=self.param_dtype, param_dtype=self.param_dtype)
        h = timestep_embedding(jnp.asarray(t, self.param_dtype), self.embedding)
        h = linear(self.width, name="time_2")(nn.silu(linear(self.width, name="time_1")(h)))
        if self.num_classes:
            label = jnp.full(t.shape, self.num_classes, jnp.int32) if label is None else label
            rows = nn.initializers.normal(1.0)  # as torch.nn.Embedding, hence Dhariwal & Nichol (2021)
            table = self.param("label", rows, (self.num_classes + 1, self.width), self.param_dtype)
            h = h + table[label]
        return h


class Dropout(nn.Module):
    """Dropout whose mask belongs to the example: x [b, ...], keys [b] -> [b, ...]. The identity when keys is None.

    Every example brings its own key, into which the place of the layer in the network is folded. The mask therefore
    does not depend on how the batch is divided over devices or in time, as one drawn for the whole batch would.
    """

    rate: float  # the fraction of activations set to 0

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], keys: Key[Array, "b"] | None) -> Float[Array, "b ..."]:
        if keys is None or self.rate == 0:
            return x
        place = zlib.crc32("/".join(self.path).encode())  # Python's hash() differs from process to process

        def keep(key):
            return jax.random.bernoulli(jax.random.fold_in(key, place), 1 - self.rate, x.shape[1:])

        return jnp.where(jax.vmap(keep)(keys), x / (1 - self.rate), 0)


def groups_for(channels: int) -> int:
    """How many groups to normalise: DDPM's 32, but with 4 channels or more in each, and a divisor of the channels."""
    most = max(1, min(32, channels // 4))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)


class GroupNorm(nn.Module):
    """(x - mean) / sqrt(var + 1e-6) * scale + bias, over space and the channels of a group (Wu & He 2018, eq. 1-3).

    x [b, ..., c] -> [b, ..., c] in `dtype`, with the numbers and the parameters of `flax.linen.GroupNorm`. The moments
    are E[x] and E[x^2], per channel and then per group, in float32 or better; the rest is x * a + b with a, b [b, c]:
    two sums and one product each way, all of which XLA fuses. On CPU, forward and backward, it adds 4 to 8 % to the
    convolutions it stands between, flax's layer 12 to 14 %, E[(x - E[x])^2] 22 to 44 %. A gradient written by hand, or
    sums as matrix products (which a TPU would round to bfloat16), came within 5 % of this, either way.
    """

    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones_init(), (channels,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,), self.param_dtype)
        groups, space = groups_for(channels), tuple(range(1, x.ndim - 1))
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))

        def of_group(moment):  # [b, c] -> the mean over each group, repeated for its channels
            moment = moment.reshape(-1, groups, channels // groups).mean(axis=-1, keepdims=True)
            return jnp.broadcast_to(moment, (*moment.shape[:2], channels // groups)).reshape(-1, channels)

        mean, square = of_group(x.mean(space)), of_group((x * x).mean(space))
        a = scale * lax.rsqrt(jnp.maximum(square - mean * mean, 0) + 1e-6)
        b = bias - mean * a
        return (x * jnp.expand_dims(a, space) + jnp.expand_dims(b, space)).astype(self.dtype)


def dense(features: int, zero: bool = False, **kwargs) -> nn.Dense:
    """A linear map of the last axis with the initialisation above."""
    return nn.Dense(features, kernel_init=ZERO if zero else INITIAL, **kwargs)


def conv(features: int, size: int = 3, stride: int = 1, zero: bool = False, **kwargs) -> nn.Conv:
    """A convolution with the initialisation above; the output's side is the input's over `stride`."""
    kernel_init = ZERO if zero else INITIAL
    return nn.Conv(features, (size, size), strides=stride, padding="SAME", kernel_init=kernel_init, **kwargs)


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Twice the side, by repeating each pixel (nearest neighbour): a broadcast, which needs no gather."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


class SelfAttention(nn.Module):
    """x + out(softmax(q k^T / sqrt(d)) v) over all pixels, q, k, v linear in groupnorm(x). [b, h, w, c] -> the same.

    Ho et al. 2020, appendix B, with one head as wide as the channels (`head_dim` 0); c / head_dim heads as Dhariwal &
    Nichol 2021, section 3. Nothing but the order of the pixels would change if they were shuffled.
    """

    head_dim: int = 0  # channels of a head; 0: all
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, height, width, c = x.shape
        kwargs = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        d = self.head_dim or c
        pixels = GroupNorm(name="norm", **kwargs)(x).reshape(b, height * width, c)
        q, k, v = (dense(c, name=name, **kwargs)(pixels).reshape(b, -1, c // d, d) for name in ("q", "k", "v"))
        at_least = jnp.promote_types(self.dtype, jnp.float32)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q * d**-0.5, k, preferred_element_type=at_least)
        seen = jnp.einsum("bhqk,bkhd->bqhd", nn.softmax(logits).astype(self.dtype), v)
        return x + dense(c, zero=True, name="out", **kwargs)(seen.reshape(x.shape))
