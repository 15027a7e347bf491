"""How class labels enter the two networks of a GAN. Without labels (label None, or `num_classes` 0) nothing is added.

A generator sees the label's embedding concatenated to z ("concat", Mirza & Osindero 2014), or as a scale and a shift
per class after its batch normalisations ("batch_norm", `norms.ConditionalBatchNorm`). A discriminator sees it as an
inner product of its features with the label's embedding, added to the logit ("projection", Miyato & Koyama 2018), or as
one-hot channels of the image ("concat"). An auxiliary classifier (Odena et al. 2017) predicts the label instead: see
`outputs`.

With a caption encoder the label is a caption, and a linear map of its pooled encoding replaces the embedding.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import nn as functions
from jaxtyping import Array, Float, Int, UInt8

from diffjax.errors import UserError
from diffjax.models.norms import Layers
from diffjax.models.text import NoText
from diffjax.precision import Precision

GENERATOR = ("concat", "batch_norm")
DISCRIMINATOR = ("projection", "concat")


def check_reading(slot: str, text: Any, conditioning: str, needed: str) -> None:
    """Raises UserError where captions would enter in a way that only labels support."""
    if not isinstance(text, NoText) and conditioning != needed:
        raise UserError(f"method.{slot}.conditioning: {conditioning!r} is for labels; captions need {needed!r}")
    if getattr(text, "keywords", {}).get("conditioning") == "cross_attention":
        raise UserError(f"method.{slot}.text.conditioning: 'cross_attention' is for diffusion models; use 'pooled'")


def with_label_planes(x: Float[Array, "b *space c"], label: Int[Array, "b"] | None, num_classes: int) -> Array:
    """Appends the one-hot label to each pixel's channels, or to a point's coordinates: [b, ..., c + num_classes]."""
    if label is None or not num_classes:
        return x
    planes = jnp.expand_dims(functions.one_hot(label, num_classes, dtype=x.dtype), range(1, x.ndim - 1))
    return jnp.concatenate([x, jnp.broadcast_to(planes, (*x.shape[:-1], num_classes))], axis=-1)


class LabelledLatent(nn.Module):
    """z [b, latent] -> [b, 2 latent]: concatenates the label's embedding to z.

    Embeddings start with norm 1, like one-hot labels (Mirza & Osindero 2014), where z has norm sqrt(latent). At the
    norm of z, the label, which many examples share, is learned so much faster that the generator ignores z: after 500
    steps on MNIST a tenth of the variance within a class was left, instead of nine tenths. What a caption is mapped to
    starts at about the norm of z; other norms were not tried.
    """

    num_classes: int
    precision: Precision
    text: Any = NoText()

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"], label: Int[Array, "b"] | UInt8[Array, "b n"] | None) -> Array:
        if label is not None and not isinstance(self.text, NoText):
            params = self.precision.params
            pooled = self.text(self.precision, name="text")(label).pooled
            embedding = nn.Dense(z.shape[-1], dtype=self.precision.compute, param_dtype=params, name="embed_text")(
                pooled
            )
            return jnp.concatenate([z, embedding], axis=-1)
        if label is None or not self.num_classes:
            return z
        embed = nn.Embed(
            self.num_classes,
            z.shape[-1],
            dtype=self.precision.compute,
            param_dtype=self.precision.params,
            embedding_init=nn.initializers.normal(z.shape[-1] ** -0.5),
            name="embed",
        )
        return jnp.concatenate([z, embed(label)], axis=-1)


class LabelledLogit(nn.Module):
    """Features h [b, n] -> logits [b]: w . h + b, plus embed(label) . h (projection, Miyato & Koyama 2018, eq. 3).

    With `outputs` above 1, returns [b, outputs]: the logit, and the logits of an auxiliary classifier, also linear in
    h. All are in the parameters' dtype: losses take differences of logits, which bfloat16's 8 bits would mostly erase.
    """

    num_classes: int
    precision: Precision
    scale: float = 0.02  # standard deviation of the initial weights
    outputs: int = 1
    spectral_norm: bool = False
    initial: nn.initializers.Initializer | None = None  # of the weights; None: normal with deviation `scale`
    text: Any = NoText()

    @nn.compact
    def __call__(
        self, h: Float[Array, "b n"], label: Int[Array, "b"] | UInt8[Array, "b k"] | None, train: bool = False
    ) -> Float[Array, "b"] | Float[Array, "b outputs"]:
        params = self.precision.params
        layers, h = Layers(self.spectral_norm, train, params, params), h.astype(params)
        initial = self.initial or nn.initializers.normal(self.scale)
        logits = layers.dense(1, kernel_init=initial, name="logit")(h)[:, 0]
        if label is not None and not isinstance(self.text, NoText):
            pooled = self.text(self.precision, name="text")(label).pooled.astype(params)
            embedding = layers.dense(h.shape[-1], kernel_init=initial, name="embed_text")(pooled)
            logits += jnp.sum(embedding * h, axis=-1)
        elif label is not None and self.num_classes:
            embed = layers.embed(self.num_classes, h.shape[-1], embedding_init=initial, name="embed")
            logits += jnp.sum(embed(label) * h, axis=-1)
        if self.outputs > 1:
            classes = layers.dense(self.outputs - 1, kernel_init=initial, name="classes")(h)
            logits = jnp.concatenate([logits[:, None], classes], axis=-1)
        return logits
