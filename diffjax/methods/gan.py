"""Generative adversarial training (Goodfellow et al. 2014): a generator and a discriminator, updated in turn.

    d_steps times:  the discriminator descends  loss(D(x), D(G(z))) + penalty,  each time on its own real batch
    once:           the generator descends      loss(D(x), D(G(z))),            on yet another real batch

against the discriminator as it now is. Of simultaneous updates the generator's is against the discriminator as it was
when the step began, and of the same real batch and noise as the discriminator's last.

Samples come from the exponential moving average of the generator. What a GAN plays with, a generator's answer to noise
alone, is said by `extra_inputs`, `play` and `sample`; everything else holds for any game of two networks.
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

from diffjax.adversarial import R1, NonSaturating, Watchman, clip_weights, pack, unpack
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

OWN = 2**31  # beyond the places of all components of z: folded into z's key, it makes a key that z has nothing of


@dataclass(frozen=True, kw_only=True)
class GAN(Method):
    """A game of two networks. A step is one update of the generator, after `d_steps` of the discriminator."""

    generator: Callable[..., nn.Module] = MlpGenerator
    discriminator: Callable[..., nn.Module] = MlpDiscriminator
    loss: Any = NonSaturating()
    penalty: Callable[..., Array] = R1()
    augment: Augment = NoAugment()  # of whatever the discriminator sees, real or generated
    watchman: Watchman = Watchman()
    d_steps: int = 1  # discriminator updates per generator update
    lazy: int = 1  # the penalty comes every so many steps, as much stronger, as an update of its own; 1: always
    path_length: float = 0.0  # weight of evening out the way from styles to images; StyleGAN2: 2; 0: none
    path_length_every: int = 4  # that comes every so many steps, as much stronger, as an update of G's own
    simultaneous: bool = False  # the generator answers the discriminator as it was before this step, on its examples
    packing: int = 1  # examples that the discriminator judges as one (PacGAN)
    conditional: bool = False  # show both networks the labels (Mirza & Osindero 2014), or captions where there are any
    auxiliary: float = 0.0  # weight of naming the class, which D then does instead of being shown it (ACGAN); 0: none
    clip_weights: float = 0.0  # D's weights are cut to +- this after every update (WGAN); 0: not

    networks: ClassVar = ("generator", "discriminator")
    input_names: ClassVar[tuple[str, ...]] = ()  # those of `extra_inputs`
    samplers: ClassVar = {"generator": Latent}

    def __post_init__(self):
        rules.check(self)

    # ------------------------------------------------------------------------------------------- what the run asks it

    @property
    def batches_per_step(self) -> int:
        return self.turns.generator + 1

    @property
    def turns(self) -> Turns:
        """The turns of a step from the generator's on, which at once with the discriminator's last is that turn."""
        return Turns.starting(self.d_steps - self.simultaneous)

    @property
    def group(self) -> int:
        return self.packing * max(getattr(self.critic(), "minibatch_std", 0), 1)

    def optimizer(self, network: str, spec: Optimizer, images: int) -> optax.GradientTransformation:
        """The discriminator takes d_steps updates in a step, and every `lazy` steps one more, of its penalty alone.

        The generator takes one, and every `path_length_every` steps one more, of its paths alone.
        """
        if network == "discriminator":
            updates, more = self.d_steps, 1 / self.lazy if self.lazy > 1 else 0.0
        else:
            updates, more = 1, 1 / self.path_length_every if self.path_length else 0.0
        updates += more
        return spec.interleaved(more / updates).build(self.batch_size / updates, images)

    def check_sampler(self, spec: Latent) -> None:
        if spec.psi != 1 and not self.styled:
            name = kind_of(self.generator).__name__
            raise UserError(f"sampler.psi: {spec.psi} goes towards the mean style, and {name} has no styles; use 1")

    @property
    def styled(self) -> bool:
        """Whether the generator makes styles of z, and images of styles."""
        return hasattr(kind_of(self.generator), "styles")

    def complaint(self, values: dict[str, float]) -> str:
        return self.watchman(values)

    @property
    def patience(self) -> float:
        return self.watchman.patience or math.inf

    # ------------------------------------------------------------------------------------------------------- training

    def init(self, key, batch):
        g_key, d_key = jax.random.split(key)
        first = jax.tree.map(lambda x: x[0, :1], batch)
        x, cond = self.space.to_model(first["x"]), self.cond_of(first)
        generator, own = self.make(self.generator), self.example_inputs(x)
        z, packed = jnp.zeros((1, generator.latent), x.dtype), pack(jnp.repeat(x, self.packing, axis=0), self.packing)
        variables = {
            "generator": generator.init(g_key, z, **own, **self.inputs_for("generator", cond)),
            "discriminator": self.critic().init(d_key, packed, **own, **self.inputs_for("discriminator", cond)),
        }
        state = TrainState.create(variables, self.optimizers, averaged=("generator",))
        paths = {"path_length": jnp.zeros((), self.precision.params)} if self.path_length else {}
        return state.replace(extra=state.extra | {"augment": self.augment.init()} | paths)

    def step(self, state, batch, key, axis):
        """`batch` holds a real batch for each turn of the discriminator, and one for a generator's turn of its own."""
        before, turns = state, []
        for i in range(self.d_steps):
            state, metrics = self._d_turn(i, state, batch, key, axis)
            turns.append(metrics)
        d_metrics = jax.tree.map(lambda *values: sum(values) / self.d_steps, *turns)
        if self.lazy > 1:
            state, d_metrics["penalty"] = update_on_penalty(self, state, batch, key, axis)
        state, g_metrics = self._g_turn(state, before if self.simultaneous else state, batch, key, axis)
        if self.path_length:
            state, g_metrics["path_penalty"] = update_on_path_lengths(self, state, batch, key, axis)
            g_metrics["path_length"] = state.extra["path_length"]

        metrics = d_metrics | g_metrics
        metrics |= self.watchman.signs(metrics)
        return state.advance(self.ema, self.batch_size, *metrics.values()), metrics

    def _d_turn(self, i: int, state: TrainState, batch: Batch, key: Array, axis: Axis) -> tuple[TrainState, Metrics]:
        """The discriminator's i-th update in a step: its weights, then the history that augmentations follow."""
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
        """The generator's update."""
        i = self.turns.generator
        return self.descend("generator", self.g_loss, i, state, against, batch, self.turn(i, state, key, axis))

    def turn(self, i: int, state: TrainState, key: Array, axis: Axis) -> Turn:
        """The i-th turn of this step: it draws from a key of its own."""
        seen = state.step * jnp.float32(self.batch_size)
        p = self.augment.strength(state.extra["augment"], seen)
        return Turn(jax.random.fold_in(key, i), state.step, seen, p, axis)

    def descend(
        self, player: str, loss_of: Callable, i: int, state: TrainState, against: TrainState, batch: Batch, turn: Turn
    ) -> tuple[TrainState, Metrics]:
        """One player's update, on the i-th real batch, against the other as it stands in `against`."""
        other = against.params[{"discriminator": "generator", "generator": "discriminator"}[player]]

        def loss(variables, batch):
            return loss_of(variables, other, batch, turn)

        own = jax.tree.map(lambda x: x[i], batch)
        state, metrics, norm = update(
            state, player, loss, own, self.optimizers[player], turn.axis, self.accumulate, self.group
        )
        if player == "discriminator" and self.clip_weights:
            variables = dict(state.params[player])
            variables["params"] = clip_weights(variables["params"], self.clip_weights)
            state = state.replace(params=state.params | {player: variables})
        del metrics["loss"]  # the players' losses have names of their own
        return state, metrics | {f"{player[0]}_gradient_norm": norm}

    def d_loss(self, variables: Tree, generator: Tree, batch: Batch, turn: Turn) -> tuple[Array, dict]:
        """The discriminator's mean loss, with its penalty unless that is lazy; and what it logs and keeps."""
        keys = turn.keys(batch)
        played = self.play(generator, batch, keys.play, turn.axis)
        real, stats = self.discriminate(variables, played.real, played.inputs, keys.real, turn)
        fake, stats = self.discriminate(variables | stats, played.fake, played.inputs, keys.fake, turn)

        loss = jnp.mean(self.loss.discriminator(real.logit, fake.logit))
        classes = self._classes(real, played.label) + self._classes(fake, played.label)
        penalty = self.mean_penalty(variables, played, keys, turn) if self.lazy == 1 else jnp.zeros_like(loss)
        labels = self.space.num_classes if self.conditional else 0
        above = jnp.where(real.logit == fake.logit, 0.5, real.logit > fake.logit)
        metrics = {
            "d_loss": loss,  # without the penalty, so that losses of different penalties can be compared
            "penalty": penalty,
            "d_real": jnp.mean(real.logit),
            "d_fake": jnp.mean(fake.logit),
            "logit_gap": jnp.mean(real.logit) - jnp.mean(fake.logit),
            "d_pairs": jnp.mean(above, dtype=loss.dtype),  # pairs told apart, whatever logit the loss calls even
            "real_moments": moments_of(played.compared[0], played.label, labels),
            "fake_moments": moments_of(played.compared[1], played.label, labels),
        }
        if (even := self.loss.even) is not None:
            right = jnp.concatenate([real.logit > even, fake.logit < even])
            metrics["d_accuracy"] = jnp.mean(right, dtype=loss.dtype)
            metrics["sign"] = jnp.mean(jnp.sign(real.logit - even), dtype=loss.dtype)
        if self.auxiliary:
            metrics["d_class_loss"] = classes
        return loss + self.auxiliary * classes + penalty, {"metrics": metrics, "stats": stats}

    def g_loss(self, variables: Tree, discriminator: Tree, batch: Batch, turn: Turn) -> tuple[Array, dict]:
        """The generator's mean loss, and what it logs and keeps. Real logits that the loss ignores cost nothing."""
        keys = turn.keys(batch)
        played = self.play(variables, batch, keys.play, turn.axis)
        real, _ = self.discriminate(discriminator, played.real, played.inputs, keys.real, turn)
        fake, _ = self.discriminate(discriminator, played.fake, played.inputs, keys.fake, turn)
        loss, classes = jnp.mean(self.loss.generator(real.logit, fake.logit)), self._classes(fake, played.label)
        metrics = {"g_loss": loss} | ({"g_class_loss": classes} if self.auxiliary else {})
        return loss + self.auxiliary * classes, {"metrics": metrics, "stats": played.stats}

    def mean_penalty(self, variables: Tree, played: Round, keys: Keys, turn: Turn) -> Array:
        """The mean penalty. Its gradients are with respect to examples before their augmentation, packed ones whole.

        Real and generated examples are augmented as for the loss, whose forward passes are so the penalty's too; what
        lies between them is augmented as the real ones at the same places.
        """

        def critic(keys):
            def logits(packed):
                return self.discriminate(variables, unpack(packed, self.packing), played.inputs, keys, turn)[0].logit

            return logits

        real, fake = (pack(x, self.packing) for x in (played.real, played.fake))
        own = keys.penalty[:: self.packing]
        return jnp.mean(self.penalty(critic(keys.real), real, fake, own, turn.seen, critic(keys.fake)))

    def _classes(self, judged: Judged, label: Array) -> Array:
        """The mean cross entropy of the labels, for a discriminator that names classes (Odena et al. 2017, eq. 2)."""
        if not self.auxiliary:
            return jnp.zeros(())
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(judged.classes, label))

    # ------------------------------------------------------------------------------------------------------- the game

    def critic(self, axis: Axis = Axis()) -> nn.Module:  # noqa: B008
        """The discriminator: of packed examples, and with class logits if it is to name classes."""
        known = {"shape": (*self.space.shape[:-1], self.packing * self.space.shape[-1])}
        if self.auxiliary:
            known |= {"num_classes": 0, "outputs": 1 + self.space.num_classes}
        return self.make(self.discriminator, axis, **known)

    def discriminate(
        self, variables: Tree, x: Array, inputs: dict[str, Array], keys: Key[Array, "b"], turn: Turn
    ) -> tuple[Judged, Tree]:
        """What the discriminator, in training, says of examples [b, ...], augmented; and its statistics after it."""
        packed = pack(self.augment(x, keys, turn.p), self.packing)
        network = self.critic(turn.axis)
        logits, stats = network.apply(variables, packed, **inputs, train=True, mutable=statistics(variables))
        return Judged(logits[:, 0], logits[:, 1:]) if self.auxiliary else Judged(logits, None), stats

    def example_inputs(self, x: Array) -> dict[str, Array]:
        """What both networks are given beside z and x [1, ...]: nothing. (An example, for their first weights.)"""
        return {}

    def play(self, generator: Tree, batch: Batch, keys: Key[Array, "b"], axis: Axis) -> Round:
        """Real examples beside G(z), each with its own z and the same label, or caption."""
        cond, real = self.cond_of(batch), self.space.to_model(batch["x"])
        fake, stats = self.generate(generator, keys, axis, **self.inputs_for("generator", cond))
        return Round(real, fake, self.inputs_for("discriminator", cond), (real, fake), batch["label"], stats)

    def generate(self, variables: Tree, keys: Key[Array, "b"], axis: Axis, **inputs: Array) -> tuple[Array, Tree]:
        """G(z, inputs) in training, and the generator's statistics after it.

        Of packed examples it makes each place of the packs by itself, a batch of its own to batch normalisation, and
        keeps the mean of their statistics (PacGAN, in its code).
        """
        network, m = self.make(self.generator, axis), self.packing
        given = {"z": Latent()(keys, network.latent), **inputs, **self.own_keys(keys)}

        def make(given):
            return network.apply(variables, **given, train=True, mutable=statistics(variables))

        if m == 1:
            return make(given)
        places = jax.tree.map(lambda x: x.reshape(-1, m, *x.shape[1:]), given)
        x, stats = jax.vmap(make, in_axes=1, out_axes=(1, 0))(places)
        return x.reshape(-1, *x.shape[2:]), jax.tree.map(partial(jnp.mean, axis=0), stats)

    def own_keys(self, keys: Key[Array, "b"]) -> dict[str, Array]:
        """For a generator that draws noise of its own, the examples' keys: others than those that z is drawn with."""
        takes = "keys" in inspect.signature(kind_of(self.generator).__call__).parameters
        return {"keys": fold_in(keys, OWN)} if takes else {}

    def inputs_for(self, player: str, cond: Array | None) -> dict[str, Array]:
        """The label or caption, where the networks are to see one, and the discriminator is not to find it out."""
        finds_out = player == "discriminator" and self.auxiliary
        return {"label": cond} if self.conditional and not finds_out else {}

    def sample(self, variables, spec, keys, cond, trajectory=False) -> Samples:
        """G(z), from the generator's variables. Where a conditional one is given no labels, each key draws its own."""
        generator = self.make(self.generator)
        noise, choice = jax.vmap(jax.random.split, out_axes=1)(keys)
        inputs = self.inputs_for("generator", self._drawn(choice) if cond is None else cond) | self.own_keys(noise)
        inputs |= {"psi": spec.psi} if self.styled else {}
        x0 = generator.apply(variables["generator"], spec(noise, generator.latent), **inputs)
        return Samples(x0, nfe=jnp.ones(len(x0), jnp.int32))

    def _drawn(self, keys: Key[Array, "b"]) -> Array:
        """Labels, or prompts of the data's, all equally likely."""
        known = self.cond_for(self.requested(None))
        count = 1 if known is None else len(known)
        number = jax.vmap(lambda key: jax.random.randint(key, (), 0, count))(keys)
        return number if known is None else jnp.asarray(known[:])[number]
