"""Embeddings of time, label, position and fine detail: numbers as sines and cosines, and learned rows."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffjax.models.layers import dense

FREQUENCIES = ("closed", "open", "random")
LABELS = ("late", "early")
RANDOM_SCALE = 16.0  # standard deviation of random frequencies, cycles per unit of t (Song et al. 2021, appendix C.2)


def timestep_embedding(
    t: Float[Array, "b"], width: int, max_period: float = 10_000.0, frequencies: str = "closed"
) -> Float[Array, "b {width}"]:
    """Sines and cosines of t (Ho et al. 2020, after Vaswani et al. 2017, section 3.5): [b] -> [b, width].

    [sin(w_0 t), ..., sin(w_{h-1} t), cos(w_0 t), ..., cos(w_{h-1} t)] with h = width // 2 and angular frequencies
    w_i = max_period^(-i / (h - 1)), from 1 to 1 / max_period inclusive. An odd width is padded with a zero.

    "open" frequencies are those of Dhariwal & Nichol 2021 and Peebles & Xie 2022: w_i = max_period^(-i / h), which
    stops short of 1 / max_period, and the cosines come first.
    """
    half = width // 2
    intervals = max(half - 1, 1) if frequencies == "closed" else half
    angles = t[:, None] * jnp.exp(-math.log(max_period) / intervals * jnp.arange(half, dtype=t.dtype))
    waves = [jnp.sin(angles), jnp.cos(angles)]
    return jnp.pad(
        jnp.concatenate(waves if frequencies == "closed" else waves[::-1], axis=-1), ((0, 0), (0, width % 2))
    )


class TimeAndLabel(nn.Module):
    """What the blocks are conditioned on: dense(swish(dense(embedding of t))) + a row for the label, [b] -> [b, width].

    Label `num_classes` is the null token of classifier-free guidance; None means the null token for every example. With
    `num_classes` 0 labels are ignored. Augmentation labels [b, k] enter through one more linear map without bias, so
    that labels of 0 change nothing. Everything runs in the parameters' dtype: t = 999 has no neighbour in bfloat16, and
    the cost is negligible.

    "random" frequencies are drawn once and never trained (Song et al. 2021). They live in the collection "constants",
    which checkpoints store and optimisers do not see.
    """

    embedding: int  # number of sines and cosines
    width: int
    num_classes: int
    param_dtype: Any = jnp.float32
    frequencies: str = "closed"  # as in `timestep_embedding`, or "random"
    labels: str = "late"  # added after the two dense layers; "early": before them (DDPM++ of Karras et al. 2022)

    @nn.compact
    def __call__(
        self,
        t: Float[Array, "b"],
        label: Int[Array, "b"] | None = None,
        augment_labels: Float[Array, "b k"] | None = None,
    ) -> Float[Array, "b width"]:
        linear = partial(dense, dtype=self.param_dtype, param_dtype=self.param_dtype)
        t = jnp.asarray(t, self.param_dtype)
        if self.frequencies == "random":
            shape = (self.embedding // 2,)
            frequencies = self.variable(
                "constants",
                "frequencies",
                lambda: RANDOM_SCALE * jax.random.normal(self.make_rng("params"), shape, self.param_dtype),
            ).value
            angles = 2 * jnp.pi * t[:, None] * frequencies
            h = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
        else:
            h = timestep_embedding(t, self.embedding, frequencies=self.frequencies)
        row = self._row(t, label)
        h = h + row if self.labels == "early" else h
        if augment_labels is not None:
            h = h + linear(h.shape[-1], use_bias=False, name="hints")(augment_labels)  # the name in checkpoints
        h = linear(self.width, name="time_2")(nn.silu(linear(self.width, name="time_1")(h)))
        return h + row if self.labels == "late" else h

    def _row(self, t, label):
        """The label's row of the table, [b, width]; 0 without classes."""
        if not self.num_classes:
            return 0.0
        label = jnp.full(t.shape, self.num_classes, jnp.int32) if label is None else label
        embedding_init = nn.initializers.normal(1.0)  # torch.nn.Embedding's default, used by Dhariwal & Nichol (2021)
        width = self.width if self.labels == "late" else self.embedding
        return self.param("label", embedding_init, (self.num_classes + 1, width), self.param_dtype)[label]


def with_fourier_features(x: Float[Array, "b h w c"], exponents: tuple[int, ...]) -> Float[Array, "b h w k"]:
    """Concatenates x, sin(2^n pi x) and cos(2^n pi x) for each exponent n (Kingma et al. 2021, appendix C).

    [b, h, w, c] -> [b, h, w, c * (1 + 2 len(exponents))]. With 8-bit pixels in [-1, 1], n = 7 changes sign from one
    level to the next, the level of detail that a likelihood rewards: the sine in the middle greys, the cosine near
    black and white. x must not be rounded before: in bfloat16 nothing of that detail is left.
    """
    angles = [2.0**n * jnp.pi * x for n in exponents]
    return jnp.concatenate([x, *map(jnp.sin, angles), *map(jnp.cos, angles)], axis=-1)


def positions_2d(height: int, width: int, channels: int) -> Float[Array, "{height*width} {channels}"]:
    """Sines and cosines of the row, then of the column, of each grid cell, in row-major order (Peebles & Xie 2022).

    [height * width, channels]; `channels` must be a multiple of 4.
    """
    rows, columns = jnp.divmod(jnp.arange(height * width), width)
    embed = partial(timestep_embedding, width=channels // 2, frequencies="open")
    return jnp.concatenate([embed(rows.astype(float)), embed(columns.astype(float))], axis=-1)
