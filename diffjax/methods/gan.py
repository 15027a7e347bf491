"""Generative adversarial training (Goodfellow et al. 2014): a generator and a discriminator, updated alternately.

    d_steps times:  the discriminator descends  loss(D(x), D(G(z))) + penalty,  each time on a new real batch
    once:           the generator descends      loss(D(x), D(G(z))),            on one more real batch

The generator's update is against the updated discriminator. With `simultaneous` it is against the discriminator from
the start of the step, on the same batch and noise as the discriminator's last update.

Samples come from the exponential moving average of the generator. `example_inputs`, `draw_examples` and `sample` define
the game, here a generator that maps noise to examples. Everything else holds for any game of two networks;
`denoising_gan` is another.
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
from diffjax.adversarial.diversity import moments_of, spread
from diffjax.augment import Augment, NoAugment
from diffjax.diffusion import Samples, fold_in, split
from diffjax.errors import UserError
from diffjax.methods import gan_rules as rules
from diffjax.methods.game import (
    DiscriminatorOutput,
    Examples,
    Keys,
    Latent,
    UpdateContext,
    UpdateIndices,
    nth,
    statistics,
)
from diffjax.methods.lazy import update_on_path_lengths, update_on_penalty
from diffjax.methods.method import Batch, Method, Metrics, class_of
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.optim.optimizers import Optimizer
from diffjax.optim.state import TrainState, Tree, update
from diffjax.parallel import Axis

NOISE = 2**31  # a counter beyond those of z's components: folding it into z's key gives a key independent of z


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
    simultaneous: bool = False  # G's update is against D from the start of the step, on the same examples
    packing: int = 1  # examples that the discriminator judges jointly (PacGAN)
    conditional: bool = False  # show both networks labels (Mirza & Osindero 2014), or captions if the data have any
    auxiliary: float = 0.0  # weight of the class loss (ACGAN): D then predicts the class and is not shown it; 0: none
    clip_weights: float = 0.0  # D's weights are clipped to +- this after every update (WGAN); 0: no clipping

    networks: ClassVar = ("generator", "discriminator")
    samplers: ClassVar = {"generator": Latent}
    given: ClassVar = {"generator": {"z", "label", "train"}, "discriminator": {"x", "label", "train"}}

    def __post_init__(self):
        rules.check(self)

    # ----------------------------------------------------------------------------------- interface to the training loop

    @property
    def batches_per_step(self) -> int:
        return self.update_indices.generator + 1

    @property
    def update_indices(self) -> UpdateIndices:
        """The indices of a step's updates from the generator's on, which `simultaneous` shares with D's last update."""
        first = self.d_steps - self.simultaneous
        return UpdateIndices(generator=first, penalty=first + 1, path_lengths=first + 2)

    @property
    def group(self) -> int:
        return self.packing * max(getattr(self.critic(), "minibatch_std", 0), 1)

    @property
    def steps_differ(self) -> bool:
        return self.lazy > 1 or self.path_length > 0

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
            name = class_of(self.generator).__name__
            raise UserError(f"sampler.psi: {spec.psi} goes towards the mean style, and {name} has no styles; use 1")

    @property
    def styled(self) -> bool:
        """Whether the generator maps z to styles, and styles to images."""
        return hasattr(class_of(self.generator), "styles")

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
        """All updates of a step. Each update of D, and that of G unless `simultaneous`, has a real batch of its own."""
        first_state, d_metrics = state, []
        for i in range(self.d_steps):
            state, metrics = self._update_discriminator(i, state, batch, key, axis)
            d_metrics.append(metrics)
        metrics = jax.tree.map(lambda *values: sum(values) / self.d_steps, *d_metrics)
        norms = []  # of the gradients of lazy updates: checked, but not logged, as they are 0 in most steps
        if self.lazy > 1:
            state, metrics["penalty"], norm = update_on_penalty(self, state, batch, key, axis)
            norms.append(norm)

        opponent = (first_state if self.simultaneous else state).params["discriminator"]
        state, g_metrics = self._update_generator(state, opponent, batch, key, axis)
        metrics |= g_metrics
        if self.path_length:
            state, metrics["path_penalty"], norm = update_on_path_lengths(self, state, batch, key, axis)
            metrics["path_length"] = state.extra["path_length"]
            norms.append(norm)

        metrics |= self.watchman.signs(metrics)
        return state.advance(self.ema, self.batch_size, *metrics.values(), *norms), metrics

    def _update_discriminator(
        self, i: int, state: TrainState, batch: Batch, key: Array, axis: Axis
    ) -> tuple[TrainState, Metrics]:
        """The discriminator's i-th update in a step: its weights, then the history of an adaptive augmentation."""
        context = self.context(i, state, key, axis)
        opponent = state.params["generator"]
        state, metrics = self.descend("discriminator", self.d_loss, state, opponent, nth(batch, i), context)
        metrics["diversity"] = spread(metrics.pop("fake_moments")) / spread(metrics.pop("real_moments"))
        sign = metrics.pop("sign", 0.0)
        if isinstance(self.augment, NoAugment):
            return state, metrics
        history = self.augment.update(state.extra["augment"], sign, self.batch_size / self.d_steps)
        return state.replace(extra=state.extra | {"augment": history}), metrics | {"augment_p": context.p}

    def _update_generator(
        self, state: TrainState, opponent: Tree, batch: Batch, key: Array, axis: Axis
    ) -> tuple[TrainState, Metrics]:
        """The generator's update, against the discriminator `opponent`."""
        i = self.update_indices.generator
        context = self.context(i, state, key, axis)
        return self.descend("generator", self.g_loss, state, opponent, nth(batch, i), context)

    def context(self, i: int, state: TrainState, key: Array, axis: Axis) -> UpdateContext:
        """The context of the i-th update of this step, with its own key."""
        images = state.step * jnp.float32(self.batch_size)
        p = self.augment.strength(state.extra["augment"], images)
        return UpdateContext(jax.random.fold_in(key, i), state.step, images, p, axis)

    def descend(
        self, network: str, loss_of: Callable, state: TrainState, opponent: Tree, batch: Batch, context: UpdateContext
    ) -> tuple[TrainState, Metrics]:
        """One update of a network on a real batch, against the other network's variables `opponent`."""

        def loss(variables, batch):
            return loss_of(variables, opponent, batch, context)

        state, metrics, grad_norm = update(
            state, network, loss, batch, self.optimizers[network], context.axis, self.accumulate, self.group
        )
        if network == "discriminator" and self.clip_weights:
            variables = dict(state.params[network])
            variables["params"] = clip_weights(variables["params"], self.clip_weights)
            state = state.replace(params=state.params | {network: variables})
        del metrics["loss"]  # each network's loss is logged under its own name
        return state, metrics | {f"{network[0]}_gradient_norm": grad_norm}

    # --------------------------------------------------------------------------------------------------------- losses

    def d_loss(self, variables: Tree, generator: Tree, batch: Batch, context: UpdateContext) -> tuple[Array, dict]:
        """The discriminator's mean loss, with its penalty unless that is lazy; its metrics and new statistics."""
        keys = context.keys(batch)
        examples = self.draw_examples(generator, batch, keys.generate, context.axis)
        real, stats = self.discriminate(variables, examples.real, examples.inputs, keys.real, context)
        fake, stats = self.discriminate(variables | stats, examples.fake, examples.inputs, keys.fake, context)

        loss = jnp.mean(self.loss.discriminator(real.logit, fake.logit))
        class_loss = self._class_loss(real, examples.label) + self._class_loss(fake, examples.label)
        penalty = self.mean_penalty(variables, examples, keys, context) if self.lazy == 1 else jnp.zeros_like(loss)

        # The logged loss is without the penalty, so that runs with different penalties can be compared.
        metrics = {"d_loss": loss, "penalty": penalty} | self._diagnostics(real.logit, fake.logit, examples)
        metrics |= {"d_class_loss": class_loss} if self.auxiliary else {}
        return loss + self.auxiliary * class_loss + penalty, {"metrics": metrics, "stats": stats}

    def g_loss(self, variables: Tree, discriminator: Tree, batch: Batch, context: UpdateContext) -> tuple[Array, dict]:
        """The generator's mean loss; its metrics and new statistics. XLA drops real logits that the loss ignores."""
        keys = context.keys(batch)
        examples = self.draw_examples(variables, batch, keys.generate, context.axis)
        real, _ = self.discriminate(discriminator, examples.real, examples.inputs, keys.real, context)
        fake, _ = self.discriminate(discriminator, examples.fake, examples.inputs, keys.fake, context)

        loss = jnp.mean(self.loss.generator(real.logit, fake.logit))
        class_loss = self._class_loss(fake, examples.label)
        metrics = {"g_loss": loss} | ({"g_class_loss": class_loss} if self.auxiliary else {})
        return loss + self.auxiliary * class_loss, {"metrics": metrics, "stats": examples.stats}

    def _diagnostics(self, real: Array, fake: Array, examples: Examples) -> dict[str, Any]:
        """What is logged of the logits of both batches [b], and the moments from which `diversity` is computed."""
        num_classes = self.space.num_classes if self.conditional else 0
        order = jnp.where(real == fake, 0.5, real > fake)
        metrics = {
            "d_real": jnp.mean(real),
            "d_fake": jnp.mean(fake),
            "logit_gap": jnp.mean(real) - jnp.mean(fake),
            "d_pairs": jnp.mean(order, dtype=real.dtype),  # pairs ranked correctly; independent of the loss's threshold
            "real_moments": moments_of(examples.compared[0], examples.label, num_classes),
            "fake_moments": moments_of(examples.compared[1], examples.label, num_classes),
        }
        if (threshold := self.loss.even) is not None:
            correct = jnp.concatenate([real > threshold, fake < threshold])
            metrics["d_accuracy"] = jnp.mean(correct, dtype=real.dtype)
            metrics["sign"] = jnp.mean(jnp.sign(real - threshold), dtype=real.dtype)
        return metrics

    def mean_penalty(self, variables: Tree, examples: Examples, keys: Keys, context: UpdateContext) -> Array:
        """The mean penalty, with gradients with respect to examples before augmentation, or whole packs of them.

        Real and generated examples are augmented exactly as for the loss, so that both share their forward passes.
        Interpolations between them are augmented like the real examples at the same positions.
        """

        def make_critic(keys):
            def logits(packed):
                x = unpack(packed, self.packing)
                return self.discriminate(variables, x, examples.inputs, keys, context)[0].logit

            return logits

        inputs = PenaltyInputs(
            critic=make_critic(keys.real),
            real=pack(examples.real, self.packing),
            keys=keys.penalty[:: self.packing],
            fake=pack(examples.fake, self.packing),
            fake_critic=make_critic(keys.fake),
            seen=context.seen,
        )
        return jnp.mean(self.penalty(inputs))

    def _class_loss(self, output: DiscriminatorOutput, label: Array) -> Array:
        """The mean cross entropy of the labels under D's class logits (Odena et al. 2017, eq. 2), if it has any."""
        if not self.auxiliary:
            return jnp.zeros(())
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(output.class_logits, label))

    # ------------------------------------------------------------------------------------------------------- the game

    def critic(self, axis: Axis = Axis()) -> nn.Module:  # noqa: B008
        """The discriminator network, for packed examples and with class logits if it is an auxiliary classifier."""
        fields = {"shape": (*self.space.shape[:-1], self.packing * self.space.shape[-1])}
        if self.auxiliary:
            fields |= {"num_classes": 0, "outputs": 1 + self.space.num_classes}
        return self.make(self.discriminator, axis, **fields)

    def discriminate(
        self, variables: Tree, x: Array, inputs: dict[str, Array], keys: Key[Array, "b"], context: UpdateContext
    ) -> tuple[DiscriminatorOutput, Tree]:
        """The discriminator's output in training mode for augmented examples [b, ...], and its updated statistics."""
        packed = pack(self.augment(x, keys, context.p), self.packing)
        network = self.critic(context.axis)
        logits, stats = network.apply(variables, packed, **inputs, train=True, mutable=statistics(variables))
        parts = (logits[:, 0], logits[:, 1:]) if self.auxiliary else (logits, None)
        return DiscriminatorOutput(*parts), stats

    def example_inputs(self, x: Array) -> dict[str, Array]:
        """Example inputs of both networks besides z and x [1, ...], to initialise them with: none in this game."""
        return {}

    def draw_examples(self, generator: Tree, batch: Batch, keys: Key[Array, "b"], axis: Axis) -> Examples:
        """Real examples and G(z), with one z per example and the real examples' labels or captions."""
        cond, real = self.cond_of(batch), self.space.to_model(batch["x"])
        fake, stats = self.generate(generator, keys, axis, **self.inputs_for("generator", cond))
        return Examples(real, fake, self.inputs_for("discriminator", cond), (real, fake), batch["label"], stats)

    def generate(self, variables: Tree, keys: Key[Array, "b"], axis: Axis, **inputs: Array) -> tuple[Array, Tree]:
        """G(z, inputs) in training mode, and the generator's updated statistics.

        With packing, each position within the packs is generated as a batch of its own for batch normalisation, and the
        statistics are averaged (as in PacGAN's code).
        """
        network, m = self.make(self.generator, axis), self.packing
        given = {"z": Latent()(keys, network.latent), **inputs, **self.noise_keys(keys)}

        def forward(given):
            return network.apply(variables, **given, train=True, mutable=statistics(variables))

        if m == 1:
            return forward(given)
        packs = jax.tree.map(lambda x: x.reshape(-1, m, *x.shape[1:]), given)
        x, stats = jax.vmap(forward, in_axes=1, out_axes=(1, 0))(packs)
        return x.reshape(-1, *x.shape[2:]), jax.tree.map(partial(jnp.mean, axis=0), stats)

    def noise_keys(self, keys: Key[Array, "b"]) -> dict[str, Array]:
        """Keys for a generator that draws noise or dropout of its own, distinct from the keys that z is drawn with."""
        takes_keys = "keys" in inspect.signature(class_of(self.generator).__call__).parameters
        return {"keys": fold_in(keys, NOISE)} if takes_keys else {}

    def inputs_for(self, network: str, cond: Array | None) -> dict[str, Array]:
        """The label or caption, for a network that is shown it: not for a discriminator that must predict it."""
        predicts_label = network == "discriminator" and self.auxiliary
        return {"label": cond} if self.conditional and not predicts_label else {}

    def sample(self, variables, spec, keys, cond, trajectory=False) -> Samples:
        """G(z), from the generator's variables. Without given labels, a conditional generator draws one per key."""
        generator = self.make(self.generator)
        z_keys, cond_keys = split(keys)
        cond = self._draw_cond(cond_keys) if cond is None else cond
        inputs = self.inputs_for("generator", cond) | self.noise_keys(z_keys)
        inputs |= {"psi": spec.psi} if self.styled else {}
        x0 = generator.apply(variables["generator"], spec(z_keys, generator.latent), **inputs)
        return Samples(x0, nfe=jnp.ones(len(x0), jnp.int32))

    def _draw_cond(self, keys: Key[Array, "b"]) -> Array:
        """One uniformly random label, or prompt of the data, per key."""
        conds = self.cond_for(self.requested(None))
        count = 1 if conds is None else len(conds)
        index = jax.vmap(lambda key: jax.random.randint(key, (), 0, count))(keys)
        return index if conds is None else jnp.asarray(conds[:])[index]
