"""Fully connected generator and discriminator: for points, and for small tests."""

import math

from flax import linen as nn
from jaxtyping import Array, Float, Int

from diffjax.models.labels import LabelledLatent, LabelledLogit
from diffjax.parallel import Axis
from diffjax.precision import Precision

INITIAL = nn.initializers.he_normal()  # He et al. 2015, for ReLU and its leaky kin


class MlpGenerator(nn.Module):
    """z [b, latent] -> x [b, *shape] in model units, unbounded: hidden layers of ReLU, then a linear one."""

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    latent: int = 2  # dimensions of z
    width: int = 128  # of the hidden layers
    depth: int = 3  # hidden layers

    @nn.compact
    def __call__(self, z: Float[Array, "b latent"], label: Int[Array, "b"] | None = None, train: bool = False) -> Array:
        formats = {"dtype": self.precision.compute, "param_dtype": self.precision.params}
        h = LabelledLatent(self.num_classes, self.precision, name="labelled")(z, label)
        for i in range(self.depth):
            h = nn.relu(nn.Dense(self.width, kernel_init=INITIAL, name=f"hidden_{i}", **formats)(h))
        x = nn.Dense(math.prod(self.shape), name="output", **formats)(h)
        return x.reshape(-1, *self.shape).astype(self.precision.params)


class MlpDiscriminator(nn.Module):
    """x [b, *shape] in model units -> logits [b]: hidden layers of leaky ReLU, each example judged alone."""

    shape: tuple[int, ...]
    num_classes: int
    precision: Precision
    axis: Axis
    width: int = 128  # of the hidden layers
    depth: int = 3  # hidden layers
    slope: float = 0.2  # of the leaky ReLU below zero

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], label: Int[Array, "b"] | None = None, train: bool = False) -> Array:
        formats = {"dtype": self.precision.compute, "param_dtype": self.precision.params}
        h = x.reshape(len(x), -1)
        for i in range(self.depth):
            h = nn.leaky_relu(nn.Dense(self.width, kernel_init=INITIAL, name=f"hidden_{i}", **formats)(h), self.slope)
        return LabelledLogit(self.num_classes, self.precision, scale=self.width**-0.5, name="logit")(h, label)
