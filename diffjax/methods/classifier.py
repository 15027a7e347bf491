"""Classifiers, trained by the same loop. The classifier of clean images evaluates labelled samples."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from diffjax import models
from diffjax.diffusion import split
from diffjax.errors import UserError
from diffjax.methods.method import Method, example_keys
from diffjax.optim.state import TrainState, Tree
from diffjax.parallel import Axis


@dataclass(frozen=True)
class NoSampler:
    """The sampler of methods that draw no samples."""

    steps: int = 1  # unused


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Method):
    """Trains a network to predict labels; subclasses define the network's input."""

    network: Callable[..., nn.Module] = models.CNNClassifier

    networks: ClassVar = ("classifier",)
    samplers: ClassVar = {"none": NoSampler}
    generates: ClassVar = False

    def __post_init__(self):
        if self.space.num_classes < 2:
            raise UserError("method.name: a classifier needs labelled data, and this data set has no labels")

    @abc.abstractmethod
    def training_input(self, x0: Array, keys: Key[Array, "b"]) -> Array:
        """The network's input in training for the examples x0 [b, ...], which are in model units."""

    def make(self, network, axis=Axis()):  # noqa: B008
        """The network, with one logit per class."""
        return super().make(network, axis, num_classes=self.space.num_classes)

    def init(self, key, batch):
        x0 = self.space.to_model(batch["x"][0, :1])
        variables = self.make(self.network).init(key, self.training_input(x0, jax.random.split(key, 1)))
        return TrainState.create({"classifier": variables}, self.optimizers, averaged=self.networks)

    def step(self, state, batch, key, axis):
        network = self.make(self.network, axis)

        def loss(variables, batch):
            key_input, key_dropout = split(example_keys(key, state.step, batch))
            inputs = self.training_input(self.space.to_model(batch["x"]), key_input)
            logits = network.apply(variables, inputs, key_dropout)
            is_correct = jnp.argmax(logits, axis=-1) == batch["label"]
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return jnp.mean(losses), {"metrics": {"accuracy": jnp.mean(is_correct, dtype=losses.dtype)}, "stats": {}}

        return self.train_network(state, batch, loss, axis)

    def sample(self, variables, spec, keys, cond, trajectory=False):
        raise UserError("sample: a classifier draws nothing; give the run of a diffusion model or a GAN")


@dataclass(frozen=True, kw_only=True)
class Classifier(CrossEntropy):
    """A classifier of clean images, with random shifts as the only augmentation."""

    max_shift: int = 1  # in pixels, in each direction

    def __post_init__(self):
        super().__post_init__()
        if self.max_shift < 0:
            raise UserError(f"method.max_shift: {self.max_shift} must be at least 0 pixels")

    def training_input(self, x0, keys):
        return jax.vmap(self._shifted)(x0, keys)

    def _shifted(self, x: Float[Array, "h w c"], key: Array) -> Float[Array, "h w c"]:
        """The image shifted by up to `max_shift` pixels, with the edge pixels repeated."""
        margin = self.max_shift
        padded = jnp.pad(x, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        down, right = jax.random.randint(key, (2,), 0, 2 * margin + 1)
        return jax.lax.dynamic_slice(padded, (down, right, 0), x.shape)

    def logits(self, variables: dict[str, Tree], images: Array) -> Float[Array, "n k"]:
        """The logits for stored images [n, h, w, c] uint8."""
        return self.make(self.network).apply(variables["classifier"], self.space.to_model(images))
