"""How the two networks of a GAN hear of class labels. Without any (label None, or `num_classes` 0) nothing is added.

A generator has the label's embedding beside z ("concat", Mirza & Osindero 2014), or a scale and a shift for each class
after its batch normalisations ("batch_norm", `norms.ConditionalBatchNorm`). A discriminator has an inner product of its
features with the label's embedding in its logit ("projection", Miyato & Koyama 2018), or the label beside the image,
one-hot ("concat"). As an auxiliary classifier (Odena et al. 2017) it says the label instead: `outputs`.

With an encoder of captions the label is a caption, and a linear map of what is pooled of it stands for its embedding.
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


def check_reading(player: str, text: Any, conditioning: str, needed: str) -> None:
    """Raises UserError where captions would be shown in a way that is for labels only."""
    if not isinstance(text, NoText) and conditioning != needed:
        raise UserError(
            f"method.{player}.conditioning: {conditioning!r} is for labels; captions are shown by {needed!r}"
        )
    if getattr(text, "keywords", {}).get("conditioning") == "cross_attention":
        raise UserError(f"method.{player}.text.conditioning: 'cross_attention' is for diffusion; 'pooled' here")


def with_label_planes(x: Float[Array, "b *space c"], label: Int[Array, "b"] | None, num_classes: int) -> Array:
    """The label beside each pixel's channels, or a point's coordinates, one-hot: [b, ..., c + num_classes]."""
    if label is None or not num_classes:
        return x
    planes = jnp.expand_dims(functions.one_hot(label, num_classes, dtype=x.dtype), range(1, x.ndim - 1))
    return jnp.concatenate([x, jnp.broadcast_to(planes, (*x.shape[:-1], num_classes))], axis=-1)


class LabelledLatent(nn.Module):
    """z [b, latent] -> [b, 2 latent]: the label's embedding stands beside z.

    Embeddings start at length 1, as one-hot labels have (Mirza & Osindero 2014), where z's is sqrt(latent). At z's own
    length the label, the same for many examples, is learned so much faster that z is ignored: after 500 steps on MNIST
    a tenth of the variance within a class was left, instead of nine tenths.
    """

    num_classes: int
    precision: Precision
    text: Any = NoText()

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"], label: Int[Array, "b"] | UInt8[Array, "b n"] | None) -> Array:
        if label is not None and not isinstance(self.text, NoText):
            params = self.precision.params
            pooled = self.text(self.precision, name="text")(label).pooled
            embedded = nn.Dense(z.shape[-1], dtype=self.precision.compute, param_dtype=params, name="embed_text")(
                pooled
            )
            return jnp.concatenate([z, embedded], axis=-1)
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

    With `outputs` above 1, [b, outputs]: the logit, and the logits of an auxiliary classifier, linear in h as well. All
    in the parameters' format: losses see differences of logits, of which bfloat16's 8 bits would leave little.
    """

    num_classes: int
    precision: Precision
    scale: float = 0.02  # standard deviation of the initial weights
    outputs: int = 1
    spectral_norm: bool = False
    initial: nn.initializers.Initializer | None = None  # of the weights; None: normal, of size `scale`
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
            embedded = layers.dense(h.shape[-1], kernel_init=initial, name="embed_text")(pooled)
            logits += jnp.sum(embedded * h, axis=-1)
        elif label is not None and self.num_classes:
            embed = layers.embed(self.num_classes, h.shape[-1], embedding_init=initial, name="embed")
            logits += jnp.sum(embed(label) * h, axis=-1)
        if self.outputs > 1:
            classes = layers.dense(self.outputs - 1, kernel_init=initial, name="classes")(h)
            logits = jnp.concatenate([logits[:, None], classes], axis=-1)
        return logits
