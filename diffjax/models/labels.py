"""How the two networks of a GAN hear of class labels. Without any (label None, or `num_classes` 0) nothing is added."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from diffjax.precision import Precision


class LabelledLatent(nn.Module):
    """z [b, latent] -> [b, 2 latent]: the label's embedding stands beside z, drawn at first from N(0, 1) as z is."""

    num_classes: int
    precision: Precision

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"], label: Int[Array, "b"] | None) -> Array:
        if label is None or not self.num_classes:
            return z
        embed = nn.Embed(
            self.num_classes,
            z.shape[-1],
            dtype=self.precision.compute,
            param_dtype=self.precision.params,
            embedding_init=nn.initializers.normal(1.0),
            name="embed",
        )
        return jnp.concatenate([z, embed(label)], axis=-1)


class LabelledLogit(nn.Module):
    """Features h [b, n] -> logits [b]: w . h + b, plus embed(label) . h (projection, Miyato & Koyama 2018, eq. 3)."""

    num_classes: int
    precision: Precision
    scale: float = 0.02  # standard deviation of the initial weights

    @nn.compact
    def __call__(self, h: Float[Array, "b n"], label: Int[Array, "b"] | None) -> Float[Array, "b"]:
        formats = {"dtype": self.precision.compute, "param_dtype": self.precision.params}
        initial = nn.initializers.normal(self.scale)
        logits = nn.Dense(1, kernel_init=initial, name="logit", **formats)(h)[:, 0]
        if label is not None and self.num_classes:
            embed = nn.Embed(self.num_classes, h.shape[-1], embedding_init=initial, name="embed", **formats)
            logits += jnp.sum(embed(label) * h, axis=-1)
        return logits.astype(self.precision.params)
