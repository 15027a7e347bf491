"""Fully connected generator and discriminator, for points and for small tests.

In a denoising diffusion GAN both also take x_t and t, which are concatenated to their other input.
"""

import math

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from diffjax.errors import UserError
from diffjax.models import labels
from diffjax.models.embeddings import timestep_embedding
from diffjax.models.fields import check_choice, check_counts
from diffjax.models.labels import LabelledLatent, LabelledLogit
from diffjax.models.norms import ConditionalBatchNorm, minibatch_deviation
from diffjax.parallel import Axis
from diffjax.precision import Precision

INITIAL = nn.initializers.he_normal()  # He et al. 2015, for ReLU and leaky ReLU
MOMENTUM, EPSILON = 0.95, 1e-4  # of batch normalisation, as in PacGAN's code
TIME = 16  # sines and cosines of t


def with_step(h: Float[Array, "b n"], x_t: Float[Array, "b ..."] | None, t: Float[Array, "b"] | None) -> Array:
    """Concatenates h, x_t and sines and cosines of t; returns h alone where x_t is None."""
    if x_t is None:
        return h
    return jnp.concatenate([h, x_t.reshape(len(x_t), -1), timestep_embedding(t, TIME)], axis=-1)


class MlpGenerator(nn.Module):
    """z [b, latent] -> x [b, *shape] in model units, unbounded: hidden layers of ReLU, then a linear one.

    PacGAN's generator for mixtures of Gaussians (Lin et al. 2018, in their code) has width 400, depth 4, norm "batch"
    and initial 0.02. Raises UserError for invalid fields.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    latent: int = 2  # dimensions of z
    width: int = 128  # of the hidden layers
    depth: int = 3  # hidden layers
    norm: str = "none"  # before each ReLU; or "batch"
    conditioning: str = "concat"  # how labels enter; or "batch_norm"
    initial: float = 0.0  # standard deviation of initial weights; 0: He et al. 2015, and LeCun for the output layer

    def __post_init__(self):
        super().__post_init__()
        check_choice("generator", self, "norm", ("none", "batch"))
        check_choice("generator", self, "conditioning", labels.GENERATOR)
        check_counts("generator", self, latent=1, width=1, depth=0, initial=0)
        if self.conditioning == "batch_norm" and self.norm != "batch":
            raise UserError("method.generator.conditioning: 'batch_norm' needs method.generator.norm to be 'batch'")

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "b latent"],
        label: Int[Array, "b"] | None = None,
        train: bool = False,
        x_t: Float[Array, "b ..."] | None = None,
        t: Float[Array, "b"] | None = None,
    ) -> Array:
        formats = self.precision.formats
        normal = nn.initializers.normal(self.initial)
        concat = self.conditioning == "concat" or not self.num_classes
        h = LabelledLatent(self.num_classes, self.precision, name="labelled")(z, label if concat else None)
        h = with_step(h, x_t, t)
        for i in range(self.depth):
            plain = self.norm == "none"
            kernel_init = normal if self.initial else INITIAL
            h = nn.Dense(self.width, use_bias=plain, kernel_init=kernel_init, name=f"hidden_{i}", **formats)(h)
            if not plain:
                norm_fields = {"num_classes": self.num_classes, "momentum": MOMENTUM, "eps": EPSILON}
                norm = ConditionalBatchNorm(train, self.axis.name, **norm_fields, name=f"norm_{i}", **formats)
                h = norm(h, None if concat else label)
            h = nn.relu(h)
        kernel_init = normal if self.initial else nn.initializers.lecun_normal()
        x = nn.Dense(math.prod(self.shape), kernel_init=kernel_init, name="output", **formats)(h)
        return x.reshape(-1, *self.shape).astype(self.precision.params)


class MlpDiscriminator(nn.Module):
    """x [b, *shape] in model units -> logits [b]: hidden layers of leaky ReLU or maxout, then a linear one.

    A maxout unit is the largest of `maxout` linear maps (Goodfellow et al. 2013). PacGAN's discriminator for mixtures
    of Gaussians has width 200, depth 3, maxout 5 and initial 0.02 (see above). Each example is scored independently,
    unless `minibatch_std` is set. Raises UserError for invalid fields.
    """

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    outputs: int = 1  # logits; 1 + the number of classes for an auxiliary classifier
    width: int = 128  # of the hidden layers
    depth: int = 3  # hidden layers
    slope: float = 0.2  # of the leaky ReLU below zero
    maxout: int = 0  # linear pieces of a hidden unit, instead of the leaky ReLU; 0: none
    conditioning: str = "projection"  # how labels enter; or "concat"
    minibatch_std: int = 0  # group size of the deviation shown to the last layer; 0: none
    initial: float = 0.0  # standard deviation of initial weights; 0: He et al. 2015, and 1 / sqrt(width) for the logit

    def __post_init__(self):
        super().__post_init__()
        check_choice("discriminator", self, "conditioning", labels.DISCRIMINATOR)
        check_counts("discriminator", self, width=1, depth=0, maxout=0, initial=0)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b ..."],
        label: Int[Array, "b"] | None = None,
        train: bool = False,
        x_t: Float[Array, "b ..."] | None = None,
        t: Float[Array, "b"] | None = None,
    ) -> Array:
        formats = self.precision.formats
        concat = self.conditioning == "concat"
        kernel_init = nn.initializers.normal(self.initial) if self.initial else INITIAL
        h = labels.with_label_planes(x.reshape(len(x), -1), label if concat else None, self.num_classes)
        h = with_step(h, x_t, t)
        for i in range(self.depth):
            hidden = nn.Dense(self.width * max(self.maxout, 1), kernel_init=kernel_init, name=f"hidden_{i}", **formats)
            h = hidden(h)
            h = h.reshape(len(h), -1, self.maxout).max(-1) if self.maxout else nn.leaky_relu(h, self.slope)
        h = minibatch_deviation(h, self.minibatch_std, self.is_initializing())
        scale = self.initial or self.width**-0.5
        logit = LabelledLogit(self.num_classes, self.precision, scale, self.outputs, name="logit")
        return logit(h, None if concat else label)
