"""The diffusion transformer (DiT)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from diffjax.errors import UserError
from diffjax.models.embeddings import TimeAndLabel, positions_2d
from diffjax.models.fields import check_counts, check_dropout, check_images
from diffjax.models.layers import Dropout, dense, multihead
from diffjax.models.text import NoText, Text, read, with_pooled
from diffjax.parallel import Axis
from diffjax.precision import Precision


def to_patches(x: Float[Array, "b h w c"], side: int) -> Float[Array, "b n k"]:
    """Splits images into side x side patches, row by row, each as one vector: [b, h w / side^2, side^2 c]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // side, side, w // side, side, c).swapaxes(2, 3)
    return x.reshape(b, -1, side * side * c)


def from_patches(x: Float[Array, "b n k"], side: int, height: int, width: int) -> Float[Array, "b h w c"]:
    """Reassembles the image from its patches: the inverse of `to_patches`."""
    x = x.reshape(len(x), height // side, width // side, side, side, -1).swapaxes(2, 3)
    return x.reshape(len(x), height, width, -1)


def norm(x: Float[Array, "... c"]) -> Float[Array, "... c"]:
    """Layer normalisation without parameters, in float32 or better (Peebles & Xie 2022, eps 1e-6)."""
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    y = y - y.mean(axis=-1, keepdims=True)
    return (y / jnp.sqrt((y * y).mean(axis=-1, keepdims=True) + 1e-6)).astype(x.dtype)


class Block(nn.Module):
    """Attention, then an MLP, each as x + gate * f(norm(x) * (1 + scale) + shift): adaLN-Zero.

    x [b, n, width], condition [b, width] after its swish -> [b, n, width]. The six shifts, scales and gates are dense
    in the condition and start at 0, so that a new block is the identity (Peebles & Xie 2022, section 3.2). With a text,
    x + out(attention from x to its tokens) comes between the two, with out 0 at first (Chen et al. 2024, PixArt).
    """

    heads: int
    mlp_ratio: float
    dropout: float
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x, condition, keys, text: Text):
        formats = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        width = x.shape[-1]
        modulation = dense(6 * width, variance=0.0, name="condition", **formats)(condition)[:, None]
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = jnp.split(modulation, 6, axis=-1)

        h = norm(x) * (1 + scale_1) + shift_1
        # The authors' q, k and v are one matrix of three times as many outputs, with Glorot's variance for that.
        found = multihead(h, h, width // self.heads, partial(dense, variance=0.5, **formats))
        h = dense(width, name="out", **formats)(found.reshape(x.shape))
        x = x + gate_1 * Dropout(self.dropout, name="dropout_1")(h, keys)

        if text.tokens is not None:
            record, linear = partial(self.sow, "intermediates", "attention"), partial(dense, **formats)
            found = multihead(x, text.tokens, width // self.heads, linear, "text_", mask=text.mask, record=record)
            x = x + dense(width, variance=0.0, name="text_out", **formats)(found.reshape(x.shape))

        h = norm(x) * (1 + scale_2) + shift_2
        h = nn.gelu(dense(int(width * self.mlp_ratio), name="mlp_1", **formats)(h), approximate=True)
        h = dense(width, name="mlp_2", **formats)(h)
        return x + gate_2 * Dropout(self.dropout, name="dropout_2")(h, keys)


class DiT(nn.Module):
    """The transformer of "Scalable Diffusion Models with Transformers" (Peebles & Xie 2022), a score network.

    x [b, h, w, any], t [b] (any scale), label [b] or None, one dropout key per example or None
    -> [b, h, w, outputs * c] in the parameters' dtype, exactly 0 before training. Patches with fixed sine and cosine
    positions, `depth` adaLN-Zero blocks, a modulated linear layer. The paper's sizes (width, depth, heads) are
    S (384, 12, 6), B (768, 12, 12), L (1024, 24, 16), XL (1152, 28, 16); the defaults suit 8x8 digits. One departure
    from the paper: labels and the layers of t are initialised as in the other networks here, not at 0.02.

    With a `text` encoder the label is a caption, uint8 [b, n]: its pooled encoding is added to the time embedding, and
    every block attends to its tokens. x may have more channels than `shape` says, for an image to condition on.

    Raises UserError when patches do not tile the image, or a field is invalid.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    outputs: int = 1  # outputs per data channel, as further channels; 2 if the method also learns a variance
    patch: int = 2  # side of a patch, pixels
    width: int = 128  # features of a patch
    depth: int = 4  # blocks
    heads: int = 4  # of attention
    mlp_ratio: float = 4.0  # hidden features of a block's MLP / width
    embedding: int = 256  # sines and cosines of t
    dropout: float = 0.0  # fraction of activations dropped at the end of each branch; 0 in the paper
    text: Any = NoText()  # caption encoder, for data with captions
    remat: bool = False  # recompute blocks in the backward pass: the memory of one block, a third more time

    def __post_init__(self):
        super().__post_init__()
        check_images("network", self)
        check_counts("network", self, outputs=1, patch=1, depth=1, heads=1, embedding=2)
        height, width, _ = self.shape
        if height % self.patch or width % self.patch:
            raise UserError(f"method.network.patch: {self.patch} does not divide the sides of a {height}x{width} image")
        if self.width < 4 or self.width % 4:
            raise UserError(
                f"method.network.width: {self.width} must be a multiple of 4, for sine and cosine positions"
            )
        if self.width % self.heads:
            raise UserError(f"method.network.heads: {self.heads} does not divide the width {self.width}")
        if self.mlp_ratio * self.width < 1:
            raise UserError(f"method.network.mlp_ratio: {self.mlp_ratio} must be at least 1 / width")
        check_dropout("network", self)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w k"],
        t: Float[Array, "b"],
        label: Int[Array, "b"] | UInt8[Array, "b n"] | Float[Array, "b n k"] | None = None,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b h w outputs*c"]:
        compute, params = jnp.dtype(self.precision.compute), jnp.dtype(self.precision.params)
        formats = self.precision.formats
        Transform = nn.remat(Block) if self.remat else Block
        height, width, channels = self.shape

        embedding = TimeAndLabel(self.embedding, self.width, self.num_classes, params, "open", name="embedding")
        text = read(self.text, label, self.precision)
        condition = with_pooled(embedding(t, label), text)
        condition = nn.silu(condition).astype(compute)  # shared by all blocks, each of which would begin with it
        h = dense(self.width, name="input", **formats)(to_patches(x.astype(compute), self.patch))
        h = h + positions_2d(height // self.patch, width // self.patch, self.width).astype(compute)
        for i in range(self.depth):
            block = Transform(self.heads, self.mlp_ratio, self.dropout, name=f"block_{i}", **formats)
            h = block(h, condition, keys, text)

        # The last layers run in the parameters' dtype: losses are small differences, and a thin layer costs little.
        formats = {"dtype": params, "param_dtype": params}
        modulation = dense(2 * self.width, variance=0.0, name="output_condition", **formats)(condition)[:, None]
        shift, scale = jnp.split(modulation, 2, axis=-1)
        h = norm(h.astype(params)) * (1 + scale) + shift
        h = dense(self.patch**2 * self.outputs * channels, variance=0.0, name="output", **formats)(h)
        return from_patches(h, self.patch, height, width)
