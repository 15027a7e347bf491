"""Discrete diffusion: a network is trained to predict the categories that noise has replaced."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from diffjax import models
from diffjax.diffusion import Samples, discrete, split, sum_dims
from diffjax.errors import UserError
from diffjax.methods.method import Method, class_of, example_keys
from diffjax.optim.state import TrainState, Tree
from diffjax.parallel import Axis


@dataclass(frozen=True, kw_only=True)
class DiscreteDiffusion(Method):
    """The bound at one random step per example, plus weighted cross-entropy (Austin et al. 2021, eq. 5).

    loss = T KL(q(x_s | x_t, x0) | p(x_s | x_t)) - cross_entropy log p(x0 | x_t) in nats, s = t - 1/T, a mean over an
    example's entries. Both terms are minimal at the true p(x0 | x_t). Raises UserError unless the data are categories.
    """

    kernel: Callable[..., discrete.DiscreteProcess] = discrete.binomial
    network: Callable[..., nn.Module] = models.MLP
    cross_entropy: float = 0.001  # weight relative to the bound, as in eq. 5 (lambda; images: 0.001). The released code
    # weighs it against one of the bound's T terms instead, which here is 0.001 T

    networks: ClassVar = ("denoiser",)
    samplers: ClassVar = {"discrete_ancestral": discrete.DiscreteAncestral}

    def __post_init__(self):
        if self.space.kind != "categories":
            raise UserError(
                f"method.name: 'discrete_diffusion' needs categories, and these data are {self.space.kind}; "
                "use 'diffusion', or data such as heartbeat"
            )
        if not self.cross_entropy >= 0:
            raise UserError(
                f"method.cross_entropy: {self.cross_entropy} must be at least 0; 0 trains on the bound alone"
            )
        _ = self.process  # builds the kernel, whose checks should fail before anything runs

    @cached_property
    def process(self) -> discrete.DiscreteProcess:
        return self.kernel(self.space.values)

    def make(self, network, axis=Axis()):  # noqa: B008
        """The network, with one output per entry and free logit."""
        if self.space.values == 2:
            return super().make(network, axis)
        component = class_of(network)
        if "outputs" not in inspect.signature(component).parameters:
            raise UserError(
                f"method.network: {component.__name__} has one output per entry, which suffices for 2 values only; "
                f"these data have {self.space.values}"
            )
        return super().make(partial(network, outputs=self.space.values - 1), axis)

    def init(self, key, batch):
        x = self.space.to_model(batch["x"][0, :1])
        variables = self.make(self.network).init(key, self.network_input(x), jnp.ones(1))
        return TrainState.create({"denoiser": variables}, self.optimizers, averaged=self.networks)

    def step(self, state, batch, key, axis):
        network, process = self.make(self.network, axis), self.process

        def loss(variables, batch):
            key_t, key_x, key_dropout = split(example_keys(key, state.step, batch), 3)
            x0 = self.space.to_model(batch["x"])
            t = jax.vmap(lambda key: jax.random.randint(key, (), 1, process.steps + 1))(key_t) / process.steps
            x_t = process.corrupt(x0, t, key_x)
            log_x0 = self._log_x0(network.apply(variables, self.network_input(x_t), 999 * t, None, key_dropout))
            entries = x0[0].size
            bound = process.steps * discrete.step_divergence(process, jnp.exp(log_x0), x0, x_t, t) / entries
            log_probs = jnp.take_along_axis(log_x0, x0[..., None], axis=-1)
            nll = -sum_dims(log_probs) / entries
            metrics = {"bound": jnp.mean(bound), "cross_entropy": jnp.mean(nll)}
            return jnp.mean(bound + self.cross_entropy * nll), {"metrics": metrics, "stats": {}}

        return self.train_network(state, batch, loss, axis)

    def network_input(self, x_t: Int[Array, "b ... d"]) -> Float[Array, "b ... _"]:
        """The network's input: -1 and 1 for two states; otherwise one-hot over the states, in the channels."""
        if self.process.states == 2:
            return 2.0 * x_t - 1
        return jax.nn.one_hot(x_t, self.process.states).reshape(*x_t.shape[:-1], -1)

    def _log_x0(self, output: Float[Array, "b ... _"]) -> Float[Array, "b ... _ k"]:
        """log p(x0 | x_t): the outputs are the logits of all values but the first, whose logit is 0."""
        logits = output.reshape(len(output), *self.space.shape, self.space.values - 1)
        return jax.nn.log_softmax(jnp.pad(logits, [(0, 0)] * (logits.ndim - 1) + [(1, 0)]))

    def denoiser(self, variables: dict[str, Tree]) -> Callable[[Array, Array], Array]:
        """`denoise(x_t [b, ...] int, t [b]) -> p(x0 | x_t) [b, ..., values]`."""
        network = self.make(self.network)

        def denoise(x_t, t):
            return jnp.exp(self._log_x0(network.apply(variables["denoiser"], self.network_input(x_t), 999 * t)))

        return denoise

    def bound(self, variables: dict[str, Tree], x: Array, keys: Key[Array, "b"], draws: int) -> discrete.Bound:
        """The terms of the bound on -log p of stored examples x [b, ...], in nats; see `diffjax.diffusion.discrete`."""
        return discrete.bound(self.process, self.denoiser(variables), self.space.to_model(x), keys, draws)

    def sample(self, variables, spec, keys, cond, trajectory=False) -> Samples:
        return spec(self.process, self.denoiser(variables), self.space.shape, keys, trajectory)

    def check_sampler(self, spec):
        spec.check(self.process)
