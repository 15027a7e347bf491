"""Generative adversarial training (Goodfellow et al. 2014): a generator and a discriminator, updated in turn.

    d_steps times:  the discriminator descends  loss(D(x), D(G(z))) + penalty,  each time on its own real batch
    once:           the generator descends      loss(D(x), D(G(z))),            on yet another real batch

Samples come from the exponential moving average of the generator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from diffjax.adversarial import R1, NonSaturating
from diffjax.diffusion import Samples
from diffjax.errors import UserError
from diffjax.methods.method import Batch, Method, Metrics, keys_of
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.parallel import Axis
from diffjax.state import TrainState, Tree, update


@dataclass(frozen=True)
class Latent:
    """How a generator draws: z ~ N(0, I), each component held to |z_i| <= truncation, and one network call."""

    steps: int = 1  # network calls; a generator draws in one
    truncation: float = 0.0  # 0: none; from 2 down to 0.04 trades variety for fidelity (Brock et al. 2019, section 3.1)

    def __post_init__(self):
        if self.steps != 1:
            raise UserError(f"sampler.steps: {self.steps} must be 1, a generator draws in one network call")
        if not self.truncation >= 0:
            raise UserError(f"sampler.truncation: {self.truncation} must not be negative; 0 truncates nothing")

    def __call__(self, keys: Key[Array, "b"], size: int) -> Float[Array, "b {size}"]:
        """z [b, size], each row from its own key."""
        bound = self.truncation
        if bound:
            return jax.vmap(lambda key: jax.random.truncated_normal(key, -bound, bound, (size,), float))(keys)
        return jax.vmap(lambda key: jax.random.normal(key, (size,), float))(keys)


@dataclass(frozen=True, kw_only=True)
class GAN(Method):
    """A game of two networks. A step is one update of the generator, after `d_steps` of the discriminator."""

    generator: Callable[..., nn.Module] = MlpGenerator
    discriminator: Callable[..., nn.Module] = MlpDiscriminator
    loss: NonSaturating = NonSaturating()
    penalty: Callable[..., Array] = R1()
    d_steps: int = 1  # discriminator updates per generator update
    conditional: bool = False  # show both networks the labels (Mirza & Osindero 2014)

    networks: ClassVar = ("generator", "discriminator")
    samplers: ClassVar = {"generator": Latent}

    def __post_init__(self):
        if self.d_steps < 1:
            raise UserError(f"method.d_steps: {self.d_steps} must be at least 1")
        if self.conditional and not self.space.num_classes:
            raise UserError("method.conditional: the data set has no labels; it must be false")

    @property
    def batches_per_step(self) -> int:
        return self.d_steps + 1

    def init(self, key, batch):
        g_key, d_key = jax.random.split(key)
        x, label = self._shown({name: value[0, :1] for name, value in batch.items()})
        generator, discriminator = self.make(self.generator), self.make(self.discriminator)
        variables = {
            "generator": generator.init(g_key, jnp.zeros((1, generator.latent), x.dtype), label),
            "discriminator": discriminator.init(d_key, x, label),
        }
        return TrainState.create(variables, self.optimizers, averaged=("generator",))

    def step(self, state, batch, key, axis):
        """`batch` holds d_steps + 1 real batches: one for each turn of the discriminator, the last the generator's."""
        turns = []
        for turn in range(self.d_steps):
            state, metrics = self._turn("discriminator", turn, state, batch, key, axis)
            turns.append(metrics)
        d_metrics = jax.tree.map(lambda *values: sum(values) / self.d_steps, *turns)
        state, g_metrics = self._turn("generator", self.d_steps, state, batch, key, axis)

        metrics = d_metrics | g_metrics
        return state.advance(self.ema, self.batch_size, *metrics.values()), metrics

    def _turn(
        self, player: str, turn: int, state: TrainState, batch: Batch, key: Array, axis: Axis
    ) -> tuple[TrainState, Metrics]:
        """One player's update against the other as it stands, on real batch and noise of its own."""
        other = {"discriminator": "generator", "generator": "discriminator"}[player]
        loss_of = {"discriminator": self.d_loss, "generator": self.g_loss}[player]
        key = jax.random.fold_in(key, turn)

        def loss(variables, batch):
            return loss_of(variables, state.params[other], batch, keys_of(key, state.step, batch), axis)

        own = jax.tree.map(lambda x: x[turn], batch)
        state, metrics, norm = update(state, player, loss, own, self.optimizers[player], axis, self.accumulate)
        del metrics["loss"]  # the players' losses have names of their own
        return state, metrics | {f"{player[0]}_gradient_norm": norm}

    def d_loss(
        self, variables: Tree, generator: Tree, batch: Batch, keys: Key[Array, "b"], axis: Axis
    ) -> tuple[Array, dict]:
        """The discriminator's mean loss plus its mean penalty, and what it logs and keeps."""
        noise, chance = jax.vmap(jax.random.split, out_axes=1)(keys)
        x, label = self._shown(batch)
        fake, _ = self._generate(generator, noise, label, axis)
        real_logits, stats = self._judge(variables, x, label, axis)
        fake_logits, stats = self._judge(variables | stats, fake, label, axis)

        loss = jnp.mean(self.loss.discriminator(real_logits, fake_logits))
        penalty = jnp.mean(self.penalty(lambda x: self._judge(variables, x, label, axis)[0], x, fake, chance))
        right = jnp.concatenate([real_logits > 0, fake_logits < 0])
        metrics = {
            "d_loss": loss,  # without the penalty, so that losses of different penalties can be compared
            "penalty": penalty,
            "d_real": jnp.mean(real_logits),
            "d_fake": jnp.mean(fake_logits),
            "d_accuracy": jnp.mean(right, dtype=loss.dtype),
        }
        return loss + penalty, {"metrics": metrics, "stats": stats}

    def g_loss(
        self, variables: Tree, discriminator: Tree, batch: Batch, keys: Key[Array, "b"], axis: Axis
    ) -> tuple[Array, dict]:
        """The generator's mean loss, and what it logs and keeps. Real logits that the loss ignores cost nothing."""
        noise, _ = jax.vmap(jax.random.split, out_axes=1)(keys)
        x, label = self._shown(batch)
        fake, stats = self._generate(variables, noise, label, axis)
        real_logits, _ = self._judge(discriminator, x, label, axis)
        fake_logits, _ = self._judge(discriminator, fake, label, axis)
        loss = jnp.mean(self.loss.generator(real_logits, fake_logits))
        return loss, {"metrics": {"g_loss": loss}, "stats": stats}

    def _shown(self, batch: Batch) -> tuple[Array, Array | None]:
        """The real examples in model units, and the labels if the networks are to see them."""
        return self.space.to_model(batch["x"]), batch["label"] if self.conditional else None

    def _generate(self, variables: Tree, keys: Key[Array, "b"], label: Array | None, axis: Axis) -> tuple[Array, Tree]:
        """G(z) [b, *shape] in training mode, and the generator's statistics after it."""
        generator = self.make(self.generator, axis)
        return generator.apply(
            variables, Latent()(keys, generator.latent), label, train=True, mutable=_statistics(variables)
        )

    def _judge(self, variables: Tree, x: Array, label: Array | None, axis: Axis) -> tuple[Array, Tree]:
        """The logits of x [b, ...] in training mode, and the discriminator's statistics after it."""
        discriminator = self.make(self.discriminator, axis)
        return discriminator.apply(variables, x, label, train=True, mutable=_statistics(variables))

    def sample(self, variables, spec, keys, label, trajectory=False) -> Samples:
        """G(z), from the generator's variables. Where a conditional one is given no labels, each key draws its own."""
        generator = self.make(self.generator)
        noise, choice = jax.vmap(jax.random.split, out_axes=1)(keys)
        if self.conditional and label is None:
            label = jax.vmap(lambda key: jax.random.randint(key, (), 0, self.space.num_classes))(choice)
        x = generator.apply(variables["generator"], spec(noise, generator.latent), label if self.conditional else None)
        return Samples(x, nfe=1)


def _statistics(variables: Tree) -> list[str]:
    """The collections that training keeps without descending on them, such as BatchNorm's."""
    return [name for name in variables if name != "params"]
