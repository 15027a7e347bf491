"""A classifier of noisy examples, p(label | x_t): what classifier guidance follows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from diffjax import models
from diffjax.diffusion import EDM, Process, clock, normal
from diffjax.diffusion.process import along
from diffjax.diffusion.times import LogNormal, Times, independent
from diffjax.errors import UserError
from diffjax.methods.classifier import NoSampler
from diffjax.methods.method import Method, keys_of
from diffjax.parallel import Axis
from diffjax.state import TrainState, Tree, update


@dataclass(frozen=True, kw_only=True)
class NoisyClassifier(Method):
    """Cross-entropy on the labels of x_t, with t drawn as in diffusion (Dhariwal & Nichol 2021, section 4.1).

    Any classifier of images will do: it is shown x_t at unit variance and, as one more channel, its clock.
    """

    process: Process = EDM()
    times: Times = LogNormal()
    clock: Callable = clock.log_noise
    sigma_data: float = 0.5  # standard deviation of the data, in model units
    network: Callable[..., nn.Module] = models.CNNClassifier

    networks: ClassVar = ("classifier",)
    samplers: ClassVar = {"none": NoSampler}
    generates: ClassVar = False

    def __post_init__(self):
        if self.space.num_classes < 2:
            raise UserError("method.name: a classifier needs labelled data, and this data set has none")
        if not isinstance(self.process, Process):
            raise UserError("method.process: a classifier learns no schedule; take the one the denoiser was trained on")
        if not isinstance(self.times, Times):
            raise UserError("method.times: a classifier keeps no history of its losses; take another density of t")

    def shown(self, x_t: Array, t: Float[Array, "b"]) -> Array:
        """[b, h, w, c + 1]: x_t at unit variance, and the clock."""
        std = jnp.sqrt(self.process.alpha(t) ** 2 * self.sigma_data**2 + self.process.sigma(t) ** 2)
        plane = jnp.broadcast_to(along(self.clock(self.process, t), x_t), (*x_t.shape[:-1], 1))
        return jnp.concatenate([x_t / along(std, x_t), plane], axis=-1)

    def init(self, key, batch):
        x = self.space.to_model(batch["x"][0, :1])
        variables = self.make(self.network).init(key, self.shown(x, jnp.full(1, 0.5, x.dtype)))
        return TrainState.create({"classifier": variables}, self.optimizers, averaged=self.networks)

    def step(self, state, batch, key, axis):
        network = self.make(self.network, axis)

        def loss(variables, batch):
            draw, noise, dropout = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(
                keys_of(key, state.step, batch)
            )
            x0 = self.space.to_model(batch["x"])
            t = self.times.quantile(independent(draw), self.process)
            x_t = self.process.corrupt(x0, normal(noise, x0), t)
            logits = network.apply(variables, self.shown(x_t, t), dropout)
            right = jnp.argmax(logits, axis=-1) == batch["label"]
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return jnp.mean(losses), {"metrics": {"accuracy": jnp.mean(right, dtype=losses.dtype)}, "stats": {}}

        only = jax.tree.map(lambda x: x[0], batch)
        state, metrics, norm = update(
            state, "classifier", loss, only, self.optimizers["classifier"], axis, self.accumulate
        )
        return state.advance(self.ema, self.batch_size, metrics["loss"], norm), metrics | {"gradient_norm": norm}

    def log_class(self, variables: dict[str, Tree]) -> Callable[[Array, Array], Float[Array, "b k"]]:
        """(x_t [b, ...] in model units, t [b]) -> log p(label | x_t)."""
        network = self.make(self.network, Axis())
        return lambda x_t, t: jax.nn.log_softmax(network.apply(variables["classifier"], self.shown(x_t, t)))

    def sample(self, variables, spec, keys, label, trajectory=False):
        raise UserError("sample: a classifier draws nothing; give the run of a diffusion model or a GAN")
