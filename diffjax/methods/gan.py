"""Generative adversarial training (Goodfellow et al. 2014): a generator and a discriminator, updated in turn.

    d_steps times:  the discriminator descends  loss(D(x), D(G(z))) + penalty,  each time on a new real batch
    once:           the generator descends      loss(D(x), D(G(z))),            on one more real batch

Turns alternate: the generator plays against the updated discriminator. With `simultaneous` it plays against the
discriminator from the start of the step, on the same batch and noise as the discriminator's last turn.

Samples come from the exponential moving average of the generator. `example_inputs`, `play` and `sample` define the
game, here a generator that maps noise to examples. Everything else holds for any game of two networks; `denoising_gan`
is another.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Key

from diffjax.adversarial import R1, NonSaturating, PenaltyInputs, Watchman, clip_weights, pack, unpack
from diffjax.augment import Augment, NoAugment
from diffjax.diffusion import Samples, fold_in
from diffjax.errors import UserError
from diffjax.methods import gan_rules as rules
from diffjax.methods.game import Judged, Keys, Latent, Round, Turn, Turns, kind_of, moments_of, spread, statistics
from diffjax.methods.lazy import update_on_path_lengths, update_on_penalty
from diffjax.methods.method import Batch, Method, Metrics
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.optim import Optimizer
from diffjax.parallel import Axis
from diffjax.state import TrainState, Tree, update

OWN = 2**31  # a counter beyond those of z's components: folding it into z's key gives a key independent of z


@dataclass(frozen=True, kw_only=True)
class GAN(Method):
    """A game of two networks. One step is `d_steps` updates of the discriminator, then one update of the generator."""

    generator: Callable[..., nn.Module] = MlpGenerator
    discriminator: Callable[..., nn.Module] = MlpDiscriminator
    loss: Any = NonSaturating()
    penalty: Callable[[PenaltyInputs], Array] = R1()
    augment: Augment = NoAugment()  # of everything the discriminator sees, real or generated
    watchman: Watchman = Watchman()
    d_steps: int = 1  # discriminator updates per generator update
    lazy: int = 1  # steps between updates on the penalty alone, weighted by this interval; 1: in every update
    path_length: float = 0.0  # weight of path length regularisation; StyleGAN2: 2; 0: none
    path_length_every: int = 4  # steps between G's updates on path lengths alone, weighted by this interval
    simultaneous: bool = False  # the generator plays against D from the start of the step, on the same examples
    packing: int = 1  # examples that the discriminator judges jointly (PacGAN)
    conditional: bool = False  # show both networks labels (Mirza & Osindero 2014), or captions if the data have any
    auxiliary: float = 0.0  # weight of the class loss (ACGAN): D then predicts the class and is not shown it; 0: none
    clip_weights: float = 0.0  # D's weights are clipped to +- this after every update (WGAN); 0: no clipping

    networks: ClassVar = ("generator", "discriminator")
    input_names: ClassVar[tuple[str, ...]] = ()  # the names in `example_inputs`
    samplers: ClassVar = {"generator": Latent}

    def __post_init__(self):
        rules.check(self)

    # ----------------------------------------------------------------------------------- interface to the training loop

    @property
    def batches_per_step(self) -> int:
        return self.turns.generator + 1

    @property
    def turns(self) -> Turns:
        """The indices of a step's turns from the generator's on, which `simultaneous` shares with D's last turn."""
        return Turns.starting(self.d_steps - self.simultaneous)

    @property
    def group(self) -> int:
        return self.packing * max(getattr(self.critic(), "minibatch_std", 0), 1)

    def optimizer(self, network: str, spec: Optimizer, images: int) -> optax.GradientTransformation:
        """Builds a network's optimiser for all its updates in a step.

        The discriminator takes `d_steps` updates per step, plus one on its penalty alone every `lazy` steps. The
        generator takes one, plus one on its path lengths alone every `path_length_every` steps.
        """
        if network == "discriminator":
            updates, extra = self.d_steps, 1 / self.lazy if self.lazy > 1 else 0.0
        else:
            updates, extra = 1, 1 / self.path_length_every if self.path_length else 0.0
        updates += extra
        return spec.interleaved(extra / updates).build(self.batch_size / updates, images)

    def check_sampler(self, spec: Latent) -> None:
        if spec.psi != 1 and not self.styled:
            name = kind_of(self.generator).__name__
            raise UserError(f"sampler.psi: {spec.psi} goes towards the mean style, and {name} has no styles; use 1")

    @property
    def styled(self) -> bool:
        """Whether the generator maps z to styles, and styles to images."""
        return hasattr(kind_of(self.generator), "styles")

    def complaint(self, values: dict[str, float]) -> str:
        return self.watchman(values)

    @property
    def patience(self) -> float:
        return self.watchman.patience or math.inf

    # ------------------------------------------------------------------------------------------------------- training

    def init(self, key, batch):
        g_key, d_key = jax.random.split(key)
        example = jax.tree.map(lambda x: x[0, :1], batch)
        x, cond = self.space.to_model(example["x"]), self.cond_of(example)
        generator, inputs = self.make(self.generator), self.example_inputs(x)
        z, packed = jnp.zeros((1, generator.latent), x.dtype), pack(jnp.repeat(x, self.packing, axis=0), self.packing)
        variables = {
            "generator": generator.init(g_key, z, **inputs, **self.inputs_for("generator", cond)),
            "discriminator": self.critic().init(d_key, packed, **inputs, **self.inputs_for("discriminator", cond)),
        }
        state = TrainState.create(variables, self.optimizers, averaged=("generator",))
        extra = {"path_length": jnp.zeros((), self.precision.params)} if self.path_length else {}
        return state.replace(extra=state.extra | {"augment": self.augment.init()} | extra)

    def step(self, state, batch, key, axis):
        """Runs all turns of a step. Each turn of D, and of G unless `simultaneous`, has a real batch of its own."""
        start_state, turn_metrics = state, []
        for i in range(self.d_steps):
            state, metrics = self._d_turn(i, state, batch, key, axis)
            turn_metrics.append(metrics)
        d_metrics = jax.tree.map(lambda *values: sum(values) / self.d_steps, *turn_metrics)
        if self.lazy > 1:
            state, d_metrics["penalty"] = update_on_penalty(self, state, batch, key, axis)
        state, g_metrics = self._g_turn(state, start_state if self.simultaneous else state, batch, key, axis)
        if self.path_length:
            state, g_metrics["path_penalty"] = update_on_path_lengths(self, state, batch, key, axis)
            g_metrics["path_length"] = state.extra["path_length"]

        metrics = d_metrics | g_metrics
        metrics |= self.watchman.signs(metrics)
        return state.advance(self.ema, self.batch_size, *metrics.values()), metrics

    def _d_turn(self, i: int, state: TrainState, batch: Batch, key: Array, axis: Axis) -> tuple[TrainState, Metrics]:
        """The discriminator's i-th update in a step: its weights, then the history of an adaptive augmentation."""
        turn = self.turn(i, state, key, axis)
        state, metrics = self.descend("discriminator", self.d_loss, i, state, state, batch, turn)
        metrics["diversity"] = spread(metrics.pop("fake_moments")) / spread(metrics.pop("real_moments"))
        sign = metrics.pop("sign", 0.0)
        if isinstance(self.augment, NoAugment):
            return state, metrics
        history = self.augment.update(state.extra["augment"], sign, self.batch_size / self.d_steps)
        return state.replace(extra=state.extra | {"augment": history}), metrics | {"augment_p": turn.p}

    def _g_turn(
        self, state: TrainState, against: TrainState, batch: Batch, key: Array, axis: Axis
    ) -> tuple[TrainState, Metrics]:
        """The generator's update, against the discriminator in `against`."""
        i = self.turns.generator
        return self.descend("generator", self.g_loss, i, state, against, batch, self.turn(i, state, key, axis))

    def turn(self, i: int, state: TrainState, key: Array, axis: Axis) -> Turn:
        """The i-th turn of this step, with its own key."""
        images = state.step * jnp.float32(self.batch_size)
        p = self.augment.strength(state.extra["augment"], images)
        return Turn(jax.random.fold_in(key, i), state.step, images, p, axis)

    def descend(
        self, player: str, loss_of: Callable, i: int, state: TrainState, against: TrainState, batch: Batch, turn: Turn
    ) -> tuple[TrainState, Metrics]:
        """One player's update on the i-th real batch, against the opponent's parameters in `against`."""
        opponent = against.params[{"discriminator": "generator", "generator": "discriminator"}[player]]

        def loss(variables, batch):
            return loss_of(variables, opponent, batch, turn)

        real_batch = jax.tree.map(lambda x: x[i], batch)
        state, metrics, grad_norm = update(
            state, player, loss, real_batch, self.optimizers[player], turn.axis, self.accumulate, self.group
        )
        if player == "discriminator" and self.clip_weights:
            variables = dict(state.params[player])
            variables["params"] = clip_weights(variables["params"], self.clip_weights)
            state = state.replace(params=state.params | {player: variables})
        del metrics["loss"]  # each player's loss is logged under its own name
        return state, metrics | {f"{player[0]}_gradient_norm": grad_norm}

    def d_loss(self, variables: Tree, generator: Tree, batch: Batch, turn: Turn) -> tuple[Array, dict]:
        """The discriminator's mean loss, with its penalty unless that is lazy; its metrics and new statistics."""
        keys = turn.keys(batch)
        game_round = self.play(generator, batch, keys.play, turn.axis)
        real, stats = self.discriminate(variables, game_round.real, game_round.inputs, keys.real, turn)
        fake, stats = self.discriminate(variables | stats, game_round.fake, game_round.inputs, keys.fake, turn)

        loss = jnp.mean(self.loss.discriminator(real.logit, fake.logit))
        classes = self._classes(real, game_round.label) + self._classes(fake, game_round.label)
        penalty = self.mean_penalty(variables, game_round, keys, turn) if self.lazy == 1 else jnp.zeros_like(loss)
        num_classes = self.space.num_classes if self.conditional else 0
        order = jnp.where(real.logit == fake.logit, 0.5, real.logit > fake.logit)
        metrics = {
            "d_loss": loss,  # without the penalty, so that runs with different penalties can be compared
            "penalty": penalty,
            "d_real": jnp.mean(real.logit),
            "d_fake": jnp.mean(fake.logit),
            "logit_gap": jnp.mean(real.logit) - jnp.mean(fake.logit),
            "d_pairs": jnp.mean(order, dtype=loss.dtype),  # pairs ranked correctly; independent of the loss's threshold
            "real_moments": moments_of(game_round.compared[0], game_round.label, num_classes),
            "fake_moments": moments_of(game_round.compared[1], game_round.label, num_classes),
        }
        if (threshold := self.loss.even) is not None:
            correct = jnp.concatenate([real.logit > threshold, fake.logit < threshold])
            metrics["d_accuracy"] = jnp.mean(correct, dtype=loss.dtype)
            metrics["sign"] = jnp.mean(jnp.sign(real.logit - threshold), dtype=loss.dtype)
        if self.auxiliary:
            metrics["d_class_loss"] = classes
        return loss + self.auxiliary * classes + penalty, {"metrics": metrics, "stats": stats}

    def g_loss(self, variables: Tree, discriminator: Tree, batch: Batch, turn: Turn) -> tuple[Array, dict]:
        """The generator's mean loss; its metrics and new statistics. XLA drops real logits that the loss ignores."""
        keys = turn.keys(batch)
        game_round = self.play(variables, batch, keys.play, turn.axis)
        real, _ = self.discriminate(discriminator, game_round.real, game_round.inputs, keys.real, turn)
        fake, _ = self.discriminate(discriminator, game_round.fake, game_round.inputs, keys.fake, turn)
        loss, classes = jnp.mean(self.loss.generator(real.logit, fake.logit)), self._classes(fake, game_round.label)
        metrics = {"g_loss": loss} | ({"g_class_loss": classes} if self.auxiliary else {})
        return loss + self.auxiliary * classes, {"metrics": metrics, "stats": game_round.stats}

    def mean_penalty(self, variables: Tree, played: Round, keys: Keys, turn: Turn) -> Array:
        """The mean penalty, with gradients with respect to examples before augmentation, or whole packs of them.

        Real and generated examples are augmented exactly as for the loss, so that both share their forward passes.
        Interpolations between them are augmented like the real examples at the same positions.
        """

        def make_critic(keys):
            def logits(packed):
                return self.discriminate(variables, unpack(packed, self.packing), played.inputs, keys, turn)[0].logit

            return logits

        inputs = PenaltyInputs(
            critic=make_critic(keys.real),
            real=pack(played.real, self.packing),
            keys=keys.penalty[:: self.packing],
            fake=pack(played.fake, self.packing),
            fake_critic=make_critic(keys.fake),
            seen=turn.seen,
        )
        return jnp.mean(self.penalty(inputs))

    def _classes(self, judged: Judged, label: Array) -> Array:
        """The mean cross entropy of the labels under D's class logits (Odena et al. 2017, eq. 2), if it has any."""
        if not self.auxiliary:
            return jnp.zeros(())
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(judged.classes, label))

    # ------------------------------------------------------------------------------------------------------- the game

    def critic(self, axis: Axis = Axis()) -> nn.Module:  # noqa: B008
        """The discriminator network, for packed examples and with class logits if it is an auxiliary classifier."""
        fields = {"shape": (*self.space.shape[:-1], self.packing * self.space.shape[-1])}
        if self.auxiliary:
            fields |= {"num_classes": 0, "outputs": 1 + self.space.num_classes}
        return self.make(self.discriminator, axis, **fields)

    def discriminate(
        self, variables: Tree, x: Array, inputs: dict[str, Array], keys: Key[Array, "b"], turn: Turn
    ) -> tuple[Judged, Tree]:
        """The discriminator's output in training mode for augmented examples [b, ...], and its updated statistics."""
        packed = pack(self.augment(x, keys, turn.p), self.packing)
        network = self.critic(turn.axis)
        logits, stats = network.apply(variables, packed, **inputs, train=True, mutable=statistics(variables))
        return Judged(logits[:, 0], logits[:, 1:]) if self.auxiliary else Judged(logits, None), stats

    def example_inputs(self, x: Array) -> dict[str, Array]:
        """Example inputs of both networks besides z and x [1, ...], to initialise them with: none in this game."""
        return {}

    def play(self, generator: Tree, batch: Batch, keys: Key[Array, "b"], axis: Axis) -> Round:
        """Real examples and G(z), with one z per example and the real examples' labels or captions."""
        cond, real = self.cond_of(batch), self.space.to_model(batch["x"])
        fake, stats = self.generate(generator, keys, axis, **self.inputs_for("generator", cond))
        return Round(real, fake, self.inputs_for("discriminator", cond), (real, fake), batch["label"], stats)

    def generate(self, variables: Tree, keys: Key[Array, "b"], axis: Axis, **inputs: Array) -> tuple[Array, Tree]:
        """G(z, inputs) in training mode, and the generator's updated statistics.

        With packing, each position within the packs is generated as a batch of its own for batch normalisation, and the
        statistics are averaged (as in PacGAN's code).
        """
        network, m = self.make(self.generator, axis), self.packing
        given = {"z": Latent()(keys, network.latent), **inputs, **self.own_keys(keys)}

        def forward(given):
            return network.apply(variables, **given, train=True, mutable=statistics(variables))

        if m == 1:
            return forward(given)
        packs = jax.tree.map(lambda x: x.reshape(-1, m, *x.shape[1:]), given)
        x, stats = jax.vmap(forward, in_axes=1, out_axes=(1, 0))(packs)
        return x.reshape(-1, *x.shape[2:]), jax.tree.map(partial(jnp.mean, axis=0), stats)

    def own_keys(self, keys: Key[Array, "b"]) -> dict[str, Array]:
        """Keys for a generator that draws its own noise, distinct from the keys that z is drawn with."""
        takes_keys = "keys" in inspect.signature(kind_of(self.generator).__call__).parameters
        return {"keys": fold_in(keys, OWN)} if takes_keys else {}

    def inputs_for(self, player: str, cond: Array | None) -> dict[str, Array]:
        """The label or caption, for a player that is shown it: not for a discriminator that must predict it."""
        predicts_label = player == "discriminator" and self.auxiliary
        return {"label": cond} if self.conditional and not predicts_label else {}

    def sample(self, variables, spec, keys, cond, trajectory=False) -> Samples:
        """G(z), from the generator's variables. Without given labels, a conditional generator draws one per key."""
        generator = self.make(self.generator)
        z_keys, label_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        inputs = self.inputs_for("generator", self._drawn(label_keys) if cond is None else cond) | self.own_keys(z_keys)
        inputs |= {"psi": spec.psi} if self.styled else {}
        x0 = generator.apply(variables["generator"], spec(z_keys, generator.latent), **inputs)
        return Samples(x0, nfe=jnp.ones(len(x0), jnp.int32))

    def _drawn(self, keys: Key[Array, "b"]) -> Array:
        """One uniformly random label, or prompt of the data, per key."""
        conds = self.cond_for(self.requested(None))
        count = 1 if conds is None else len(conds)
        index = jax.vmap(lambda key: jax.random.randint(key, (), 0, count))(keys)
        return index if conds is None else jnp.asarray(conds[:])[index]
