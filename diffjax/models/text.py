"""Caption encoders: from bytes to a pooled vector for the whole caption, and tokens for cross-attention.

A caption is uint8 [b, n], zero after its last byte (`diffjax.data.text`). An encoding does not depend on the number of
zeros. A token at the start of every caption is never masked, so that the empty caption, which means "no caption", has
an encoding too.

Alternatively a caption is the output of a frozen encoder (`diffjax.encoders`), and only projections are learned.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from diffjax.encoders.packed import unpack
from diffjax.errors import UserError
from diffjax.models.embeddings import timestep_embedding
from diffjax.models.layers import dense, multihead
from diffjax.precision import Precision

CONDITIONING = ("pooled", "cross_attention", "both")


class Text(NamedTuple):
    """An encoded caption, reduced to the parts that a network is conditioned on."""

    pooled: Float[Array, "b k"] | None = None  # of the whole caption
    tokens: Float[Array, "b n k"] | None = None  # for cross-attention from pixels
    mask: Bool[Array, "b n"] | None = None  # true for valid tokens


def check_conditioning(conditioning: str) -> None:
    """Raises UserError for an unknown kind of conditioning."""
    if conditioning not in CONDITIONING:
        raise UserError(f"text.conditioning: {conditioning!r} is not one of {', '.join(CONDITIONING)}")


def told_by(conditioning: str, text: Text) -> Text:
    """The parts of an encoded caption that this kind of conditioning uses."""
    if conditioning == "pooled":
        return Text(text.pooled)
    return text._replace(pooled=None) if conditioning == "cross_attention" else text


@dataclass(frozen=True)
class NoText:
    """The network sees no captions."""


def has_tokens(text: Any) -> bool:
    """Whether a caption encoder, as a component, gives a network tokens to attend to."""
    if isinstance(text, NoText):
        return False
    default = getattr(text, "func", text).conditioning
    return getattr(text, "keywords", {}).get("conditioning", default) != "pooled"


def read(encoder: Any, caption: Array | None, precision: Precision) -> Text:
    """The caption as `encoder`, a component, encodes it; nothing with `NoText`. Within a network, as its "text"."""
    return Text() if isinstance(encoder, NoText) else encoder(precision, name="text")(caption)


def with_pooled(vector: Float[Array, "b k"], text: Text) -> Float[Array, "b k"]:
    """vector + a linear map of the pooled encoding, if there is one. Within a network, in the vector's dtype."""
    if text.pooled is None:
        return vector
    formats = {"dtype": vector.dtype, "param_dtype": vector.dtype}
    return vector + dense(vector.shape[-1], name="text_pooled", **formats)(text.pooled)


class TextTransformer(nn.Module):
    """A small transformer over bytes: caption [b, n] -> `Text` with n + 1 tokens.

    Byte embeddings plus sines and cosines of their positions, a convolution over `window` bytes, which lets words form,
    and `depth` blocks x + attention(norm(x)), x + mlp(norm(x)) (Vaswani et al. 2017; pre-norm: Xiong et al. 2020). The
    first token is a learned start token, whose output is the pooled encoding (Devlin et al. 2019).
    """

    precision: Precision
    width: int = 64  # features of a token
    depth: int = 2  # blocks
    heads: int = 4  # of attention
    mlp_ratio: float = 2.0  # hidden features of a block's MLP / width
    window: int = 7  # bytes
    conditioning: str = "both"  # what the network sees: "pooled", "cross_attention" (the tokens) or "both"

    def __post_init__(self):
        super().__post_init__()
        for field, low in (("width", 4), ("depth", 0), ("heads", 1), ("window", 1)):
            if getattr(self, field) < low:
                raise UserError(f"text.{field}: {getattr(self, field)} must be at least {low}")
        if self.width % self.heads:
            raise UserError(f"text.heads: {self.heads} does not divide the width {self.width}")
        if self.mlp_ratio * self.width < 1:
            raise UserError(f"text.mlp_ratio: {self.mlp_ratio} must be at least 1 / width")
        check_conditioning(self.conditioning)

    @nn.compact
    def __call__(self, caption: UInt8[Array, "b n"]) -> Text:
        compute, params = jnp.dtype(self.precision.compute), jnp.dtype(self.precision.params)
        formats = self.precision.formats
        b, n = caption.shape
        is_byte = caption > 0
        embedding_init = nn.initializers.normal(1.0)  # about the norm of the sines and cosines
        h = nn.Embed(256, self.width, embedding_init=embedding_init, name="bytes", **formats)(caption.astype(jnp.int32))
        h = jnp.where(is_byte[..., None], h, 0)
        h = h + nn.Conv(self.width, (self.window,), name="window", **formats)(h)
        h = h + timestep_embedding(jnp.arange(n, dtype=params), self.width, frequencies="open").astype(compute)
        start_token = self.param("begin", embedding_init, (self.width,), params).astype(compute)
        h = jnp.concatenate([jnp.broadcast_to(start_token, (b, 1, self.width)), h], axis=1)
        mask = jnp.concatenate([jnp.ones((b, 1), bool), is_byte], axis=1)
        for i in range(self.depth):
            h = _Block(self.heads, self.mlp_ratio, name=f"block_{i}", **formats)(h, mask)
        h = nn.LayerNorm(name="norm", **formats)(h)
        return told_by(self.conditioning, Text(h[:, 0], h, mask))


class FrozenText(nn.Module):
    """Projects a frozen T5's or CLIP's encoding of a caption, packed [b, 1 + n, d + 1] -> `Text` with 1 + n tokens.

    Two layers are learned, one for the pooled vector and one for the tokens (Chen et al. 2024, PixArt, have one). Each
    follows a norm, because the magnitudes of encoders' outputs differ a hundredfold. The first token is the pooled
    vector again, and is always valid. The fields identify the encoder, because it determines what the numbers mean;
    `diffjax.frozen_text` loads it.
    """

    precision: Precision
    kind: str = "t5"  # or "clip"
    encoder: str = ""  # a directory in Hugging Face's format, or a name on their hub
    tokens: int = 64  # maximum length of a caption, special tokens included; at most 77 for CLIP
    identity: str = ""  # hash of the encoder's files, recorded by the first run; "": not checked
    width: int = 128  # features of a token
    conditioning: str = "both"  # as in `TextTransformer`

    def __post_init__(self):
        super().__post_init__()
        if self.width < 1:
            raise UserError(f"text.width: {self.width} must be at least 1")
        check_conditioning(self.conditioning)

    @nn.compact
    def __call__(self, embedding: Float[Array, "b m k"]) -> Text:
        formats = self.precision.formats
        pooled, vectors, mask = unpack(embedding)
        pooled = dense(self.width, name="pooled", **formats)(nn.LayerNorm(name="norm_pooled", **formats)(pooled))
        tokens = dense(self.width, name="tokens", **formats)(nn.LayerNorm(name="norm_tokens", **formats)(vectors))
        return told_by(self.conditioning, Text(pooled, tokens, mask))


class _Block(nn.Module):
    heads: int
    mlp_ratio: float
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b n k"], mask: Bool[Array, "b n"]) -> Float[Array, "b n k"]:
        formats = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        width = x.shape[-1]
        h = nn.LayerNorm(name="norm_1", **formats)(x)
        found = multihead(h, h, width // self.heads, partial(dense, **formats), mask=mask)
        x = x + dense(width, name="out", **formats)(found.reshape(x.shape))
        h = nn.gelu(
            dense(int(width * self.mlp_ratio), name="mlp_1", **formats)(nn.LayerNorm(name="norm_2", **formats)(x))
        )
        return x + dense(width, name="mlp_2", **formats)(h)
