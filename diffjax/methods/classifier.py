"""A classifier, trained by the same loop: the judge that evaluations of labelled images use."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from diffjax import models
from diffjax.errors import UserError
from diffjax.methods.method import Method, keys_of
from diffjax.state import TrainState, Tree, update


@dataclass(frozen=True)
class NoSampler:
    """A method that draws nothing."""

    steps: int = 1  # unused


@dataclass(frozen=True, kw_only=True)
class Classifier(Method):
    """Cross-entropy on the labels, with random shifts of the image as its only augmentation."""

    network: Callable[..., nn.Module] = models.CNNClassifier
    max_shift: int = 1  # pixels by which a training image may move, each way

    networks: ClassVar = ("classifier",)
    samplers: ClassVar = {"none": NoSampler}
    generates: ClassVar = False

    def __post_init__(self):
        if self.space.num_classes < 2:
            raise UserError("method.name: a classifier needs labelled data, and this data set has none")

    def init(self, key, batch):
        variables = self.make(self.network).init(key, self.space.to_model(batch["x"][0, :1]))
        return TrainState.create({"classifier": variables}, self.optimizers, averaged=self.networks)

    def step(self, state, batch, key, axis):
        network = self.make(self.network, axis)

        def loss(variables, batch):
            shift, dropout = jax.vmap(jax.random.split, out_axes=1)(keys_of(key, state.step, batch))
            x = jax.vmap(self._shifted)(self.space.to_model(batch["x"]), shift)
            logits = network.apply(variables, x, dropout)
            right = jnp.argmax(logits, axis=-1) == batch["label"]
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return jnp.mean(losses), {"metrics": {"accuracy": jnp.mean(right, dtype=losses.dtype)}, "stats": {}}

        only = jax.tree.map(lambda x: x[0], batch)
        state, metrics, norm = update(
            state, "classifier", loss, only, self.optimizers["classifier"], axis, self.accumulate
        )
        return state.advance(self.ema, self.batch_size, metrics["loss"], norm), metrics | {"gradient_norm": norm}

    def _shifted(self, x: Float[Array, "h w c"], key: Array) -> Float[Array, "h w c"]:
        """The image moved by up to `max_shift` pixels; what comes in at the edge repeats it."""
        margin = self.max_shift
        padded = jnp.pad(x, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        down, right = jax.random.randint(key, (2,), 0, 2 * margin + 1)
        return jax.lax.dynamic_slice(padded, (down, right, 0), x.shape)

    def logits(self, variables: dict[str, Tree], images: Array) -> Float[Array, "n k"]:
        """What the classifier says of stored images [n, h, w, c] uint8."""
        return self.make(self.network).apply(variables["classifier"], self.space.to_model(images))

    def sample(self, variables, spec, keys, label, trajectory=False):
        raise UserError("sample: a classifier draws nothing; give the run of a diffusion model or a GAN")
