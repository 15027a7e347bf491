"""How a network reads a caption: bytes become a few numbers for the whole of it, and some for each byte to attend to.

A caption is uint8 [b, n], zero after its last byte (`diffjax.data.text`). What an encoder gives does not depend on how
many zeros there are. A token that begins every caption is never hidden, so that the empty one, which means "no
caption", has something to say too.

Or a caption is what a frozen encoder has said of it (`diffjax.encoders`), and little is left to learn.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from diffjax.encoders.packed import unpack
from diffjax.errors import UserError
from diffjax.models.embeddings import timestep_embedding
from diffjax.models.layers import attend, dense
from diffjax.precision import Precision

CONDITIONING = ("pooled", "cross_attention", "both")


class Text(NamedTuple):
    """A caption as a network has read it, as far as it is told of it."""

    pooled: Float[Array, "b k"] | None = None  # of the whole, for what knows the time
    tokens: Float[Array, "b n k"] | None = None  # for pixels to attend to
    mask: Bool[Array, "b n"] | None = None  # the tokens that are there


def check_conditioning(conditioning: str) -> None:
    """Raises UserError for a way of telling that there is not."""
    if conditioning not in CONDITIONING:
        raise UserError(f"text.conditioning: {conditioning!r} is not one of {', '.join(CONDITIONING)}")


def told_by(conditioning: str, text: Text) -> Text:
    """Of what was read, what a network is told."""
    if conditioning == "pooled":
        return Text(text.pooled)
    return text._replace(pooled=None) if conditioning == "cross_attention" else text


@dataclass(frozen=True)
class NoText:
    """The network is shown no captions."""


class TextTransformer(nn.Module):
    """Bytes, each beside its neighbours, through a small transformer: caption [b, n] -> `Text` with n + 1 tokens.

    Byte embeddings and sines of their places, a convolution over `window` bytes, in which words can form, and `depth`
    blocks x + attention(norm(x)), x + perceptron(norm(x)) (Vaswani et al. 2017; norms before, Xiong et al. 2020). The
    first token, which is no byte, is what is pooled (Devlin et al. 2019).
    """

    precision: Precision
    width: int = 64  # features of a token
    depth: int = 2  # blocks
    heads: int = 4  # of attention
    mlp_ratio: float = 2.0  # hidden features of a block's perceptron / width
    window: int = 7  # bytes
    conditioning: str = "both"  # what the network is told by: "pooled", "cross_attention" (the tokens) or "both"

    def __post_init__(self):
        super().__post_init__()
        for field, low in (("width", 4), ("depth", 0), ("heads", 1), ("window", 1)):
            if getattr(self, field) < low:
                raise UserError(f"text.{field}: {getattr(self, field)} must be at least {low}")
        if self.width % self.heads:
            raise UserError(f"text.heads: {self.heads} does not divide the width {self.width}")
        if self.mlp_ratio * self.width < 1:
            raise UserError(f"text.mlp_ratio: {self.mlp_ratio} must be positive")
        check_conditioning(self.conditioning)

    @nn.compact
    def __call__(self, caption: UInt8[Array, "b n"]) -> Text:
        compute, params = jnp.dtype(self.precision.compute), jnp.dtype(self.precision.params)
        formats = self.precision.formats
        b, n = caption.shape
        there = caption > 0
        rows = nn.initializers.normal(1.0)  # as long as sines and cosines, about
        h = nn.Embed(256, self.width, embedding_init=rows, name="bytes", **formats)(caption.astype(jnp.int32))
        h = jnp.where(there[..., None], h, 0)
        h = h + nn.Conv(self.width, (self.window,), name="window", **formats)(h)
        h = h + timestep_embedding(jnp.arange(n, dtype=params), self.width, frequencies="open").astype(compute)
        begin = self.param("begin", rows, (self.width,), params).astype(compute)
        h = jnp.concatenate([jnp.broadcast_to(begin, (b, 1, self.width)), h], axis=1)
        mask = jnp.concatenate([jnp.ones((b, 1), bool), there], axis=1)
        for i in range(self.depth):
            h = _Block(self.heads, self.mlp_ratio, name=f"block_{i}", **formats)(h, mask)
        h = nn.LayerNorm(name="norm", **formats)(h)
        return told_by(self.conditioning, Text(h[:, 0], h, mask))


class FrozenText(nn.Module):
    """What a frozen T5 or CLIP said of a caption, packed [b, 1 + n, d + 1], projected -> `Text` with 1 + n tokens.

    Two layers are learned, one for the whole and one for tokens (as in Chen et al. 2024, PixArt, of one layer), after a
    norm: encoders differ a hundredfold in how large their numbers are. The first token is the whole again, and always
    there. Which encoder it is stands here, since it decides what the numbers mean; `diffjax.frozen_text` opens it.
    """

    precision: Precision
    kind: str = "t5"  # or "clip"
    encoder: str = ""  # its directory in Hugging Face's format, or the name it has on their hub
    tokens: int = 64  # that are read of a caption, special ones among them; CLIP has at most 77
    identity: str = ""  # hash of the encoder's files: written down by the first run; "": whatever is there
    width: int = 128  # features of a token
    conditioning: str = "both"  # as the transformer's

    def __post_init__(self):
        super().__post_init__()
        if self.width < 1:
            raise UserError(f"text.width: {self.width} must be at least 1")
        check_conditioning(self.conditioning)

    @nn.compact
    def __call__(self, embedding: Float[Array, "b m k"]) -> Text:
        formats = self.precision.formats
        pooled, rows, there = unpack(embedding)
        pooled = dense(self.width, name="pooled", **formats)(nn.LayerNorm(name="norm_pooled", **formats)(pooled))
        tokens = dense(self.width, name="tokens", **formats)(nn.LayerNorm(name="norm_tokens", **formats)(rows))
        return told_by(self.conditioning, Text(pooled, tokens, there))


class _Block(nn.Module):
    heads: int
    mlp_ratio: float
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n k"], mask: Bool[Array, "b n"]) -> Float[Array, "b n k"]:
        formats = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        b, n, width = x.shape
        h = nn.LayerNorm(name="norm_1", **formats)(x)
        q, k, v = (dense(width, name=name, **formats)(h).reshape(b, n, self.heads, -1) for name in ("q", "k", "v"))
        x = x + dense(width, name="out", **formats)(attend(q, k, v, mask).reshape(b, n, width))
        h = nn.gelu(
            dense(int(width * self.mlp_ratio), name="mlp_1", **formats)(nn.LayerNorm(name="norm_2", **formats)(x))
        )
        return x + dense(width, name="mlp_2", **formats)(h)
