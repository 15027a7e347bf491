"""Diffusion models: a network is trained to denoise, and samples are drawn with any sampler of `diffjax.diffusion`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from diffjax import models
from diffjax.augment import EdmAugment, NoAugment
from diffjax.diffusion import (
    EDM,
    SAMPLERS,
    Denoiser,
    Parametrisation,
    Process,
    Sampler,
    Samples,
    bound,
    clock,
    denoising_loss,
    editing,
    end_terms,
    fold_in,
    guidance,
    nested,
    normal,
    split,
    weighting,
)
from diffjax.diffusion.learned import mean_loss
from diffjax.diffusion.process import along
from diffjax.diffusion.target import F, Target
from diffjax.diffusion.times import LogNormal, Times, evenly_spread, independent
from diffjax.diffusion.variance import Small, Variance
from diffjax.diffusion.weighting import Weighting
from diffjax.errors import UserError
from diffjax.methods import diffusion_rules as rules
from diffjax.methods.method import Batch, Method, example_keys, split_into
from diffjax.optim.state import TrainState, Tree
from diffjax.parallel import Axis

SHARED = 2**31 - 1  # folded into a key in place of an example's position, for what the batch shares


class Keys(NamedTuple):
    """The keys of the examples in one step, by use."""

    noise: Key[Array, "b"]  # t and eps
    hide: Key[Array, "b"]  # whether the label, or the small image, is hidden
    dropout: Key[Array, "b"]
    augment: Key[Array, "b"]


@dataclass(frozen=True)
class StepContext:
    """What the loss of a step depends on besides the variables and the examples."""

    key: Key[Array, ""]  # of the run
    step: Array
    times: Times  # bound to its history
    axis: Axis

    def keys(self, batch: Batch) -> Keys:
        return split_into(Keys, example_keys(self.key, self.step, batch))


@dataclass(frozen=True, kw_only=True)
class Diffusion(Method):
    """Denoising score matching. All fields can be chosen independently; the defaults are those of EDM."""

    process: Process = EDM()
    target: Target = F()
    reverse_variance: Variance = Small()
    weighting: Weighting = weighting.EDM()
    times: Times = LogNormal()
    low_discrepancy: bool = False  # evenly spread t from one draw for the batch (Kingma et al. 2021, I.1)
    clock: Callable = clock.log_noise  # maps t to the network's time input
    network: Callable[..., nn.Module] = models.UNet
    conditional: bool = False  # condition the network on labels, or on captions if the data have any
    label_dropout: float = 0.1  # share of labels, captions or small images hidden in training, for guidance
    augment: NoAugment | EdmAugment = NoAugment()  # of training images; the network is told the augmentation
    super_resolution: int = 0  # condition on the image reduced by this factor (SR3, Saharia et al. 2021); 0: off

    networks: ClassVar = ("denoiser",)
    samplers: ClassVar = SAMPLERS
    given: ClassVar = {"network": {"x", "t", "label", "keys"}}

    def __post_init__(self):
        rules.check(self)

    def check_sampler(self, spec):
        rules.check_sampler(self, spec)

    @property
    def decoder(self) -> Any:
        """p(x0 | x_1): a density for points, the probability of each of 256 values for images."""
        return bound.Discretised() if self.space.kind == "images" else bound.Density()

    def make(self, network, axis=Axis()):  # noqa: B008
        fields = {"outputs": self.reverse_variance.outputs} if self.reverse_variance.outputs > 1 else {}
        if self.augment.labels:
            fields["augment_dim"] = self.augment.labels
        return super().make(network, axis, **fields)

    def process_of(self, variables: dict[str, Tree]) -> Process:
        """The process with the parameters in these variables: those of a learned one are among the network's."""
        return self.process.bind(variables["denoiser"]["params"].get("process", {}))

    def init(self, key, batch):
        x = self.space.to_model(batch["x"][0, :1])
        cond = self.cond_of(jax.tree.map(lambda x: x[0, :1], batch))
        variables = self.make(self.network).init(key, self.network_input(x), jnp.ones(1, x.dtype), cond)
        key_process, key_weighting = jax.random.split(jax.random.fold_in(key, SHARED))
        extra_params = {"process": self.process.init(key_process), "weighting": self.weighting.init(key_weighting)}
        params = dict(variables["params"]) | {name: tree for name, tree in extra_params.items() if tree}
        history = self.times.init(self.process.steps)
        state = TrainState.create(
            {"denoiser": dict(variables) | {"params": params}}, self.optimizers, averaged=self.networks
        )
        return state.replace(extra=state.extra | {"times": history}) if history else state

    def step(self, state, batch, key, axis):
        context = StepContext(key, state.step, self.times.bind(state.extra.get("times", {})), axis)

        def loss(variables, batch):
            return self.loss(variables, batch, context)

        def update_history(extra, examples):
            return extra | {"times": self.times.update(extra["times"], *examples)}

        return self.train_network(state, batch, loss, axis, update_history if "times" in state.extra else None)

    def loss(self, variables: Tree, batch: Batch, context: StepContext) -> tuple[Array, dict]:
        """The mean loss; a learned schedule, between its ends, is trained to lower its variance."""
        inner = set(getattr(self.process, "inner", ())) & set(variables["params"].get("process", ()))
        value, examples = mean_loss(lambda variables: self.losses(variables, batch, context), variables, inner)
        return value, {"metrics": {}, "stats": {}, "examples": examples}

    def losses(
        self, variables: Tree, batch: Batch, context: StepContext
    ) -> tuple[Float[Array, "b"], tuple[Array, Array]]:
        """The objective of each example; and (t, the loss at t) for the history of the times."""
        network, process = self.make(self.network, context.axis), self.process_of({"denoiser": variables})
        keys = context.keys(batch)
        x0, augment_labels = self._augmented(self.space.to_model(batch["x"]), keys.augment)
        cond, reduced = self._hidden(self.cond_of(batch), keys.hide), self._reduced(x0, keys.hide)
        t, eps = self._draw(context, process, keys.noise, x0, batch)

        def predict(x_t, t):
            network_input = self.network_input(x_t, reduced)
            return network.apply(variables, network_input, self.clock(process, t), cond, keys.dropout, **augment_labels)

        loss_of = denoising_loss(self._parts(process), self.weighting, self.decoder)
        at_t = loss = loss_of(predict, x0, t, eps, variables["params"].get("weighting", {}))
        if self.weighting.per_log_snr or context.times.importance:  # an integral over uniform t: divide by p(t)
            # p(t) gets no gradient: for a learned schedule it is only the density that samples t.
            loss = at_t / jax.lax.stop_gradient(context.times.density(t, process))
        if "process" in variables["params"]:
            loss += end_terms(process, x0, eps, self.decoder)
        return loss, (t, at_t)

    def _draw(
        self, context: StepContext, process: Process, keys: Key[Array, "b"], x0: Array, batch: Batch
    ) -> tuple[Float[Array, "b"], Array]:
        """Draws t and eps of each example."""
        key_t, key_eps = split(keys)
        if self.low_discrepancy:
            batch_key = jax.random.fold_in(jax.random.fold_in(context.key, context.step), SHARED)
            u = evenly_spread(batch_key, batch["position"] / self.batch_size)
        else:
            u = independent(key_t)
        return jax.lax.stop_gradient(context.times.quantile(u, process)), normal(key_eps, x0)

    def _augmented(self, x0, keys):
        """Augmented training images, and the network's arguments that describe the augmentation."""
        if not self.augment.labels:
            return x0, {}
        x0, augment_labels = self.augment(x0, keys)
        return x0, {"augment_labels": augment_labels}

    def _hidden(self, cond, keys):
        """Labels or captions with a share replaced by `null`; None for an unconditional network."""
        if cond is None:
            return None
        mask = jax.vmap(lambda key: jax.random.bernoulli(key, self.label_dropout))(keys)
        return jnp.where(jnp.expand_dims(mask, range(1, cond.ndim)), self.null, cond)

    def _reduced(self, x0, keys):
        """Reduced and re-enlarged images with a share replaced by grey; None without super-resolution."""
        if not self.super_resolution:
            return None
        mask = jax.vmap(lambda key: jax.random.bernoulli(key, self.label_dropout))(fold_in(keys, 1))
        return jnp.where(along(mask, x0), 0.0, editing.smoothed(x0, self.super_resolution))

    def network_input(self, x, image=None):
        """The network's input: x, and for super-resolution `image` (grey if None) as additional channels."""
        if not self.super_resolution:
            return x
        return jnp.concatenate([x, jnp.broadcast_to(0.0 if image is None else image, x.shape).astype(x.dtype)], axis=-1)

    def _parts(self, process: Process) -> Parametrisation:
        return Parametrisation(process, self.target, self.reverse_variance)

    def denoiser(self, variables: dict, spec: Sampler | None = None) -> Denoiser:
        """The network's E[x0 | x_t]; with a sampler `spec`, guided and clipped by its settings.

        The photo of an `ImageConditioned` spec is shown to this model and to a second one that guides it.
        """
        image = spec.photo if isinstance(spec, editing.ImageConditioned) else None
        network = self.make(self.network)
        process = self.process_of(variables)

        def predict(x_t, t, label, image=image):
            t = jnp.broadcast_to(t, len(x_t))
            network_input = self.network_input(self.target.input(x_t, t, process), image)
            if self.conditional and label is None:
                label = guidance.null_labels(self.null, len(x_t))
            output = network.apply(variables["denoiser"], network_input, self.clock(process, t), label)
            return self._parts(process).prediction(output, x_t, t)

        denoiser = Denoiser(predict)
        if spec is None:
            return denoiser
        clip = guidance.clip_x0 if spec.clip else lambda denoiser: denoiser
        guide = spec.guidance if image is None else nested.with_other(spec.guidance, partial(_shown, image))
        if nested.innermost(spec.guidance) is guidance.classifier:
            # As in the released code of Dhariwal & Nichol 2021: the classifier's gradient is added to a clipped x0.
            return guide(clip(denoiser), self.null, process)
        return clip(guide(denoiser, self.null, process))

    def sample(self, variables, spec, keys, cond, trajectory=False) -> Samples:
        process = self.process_of(variables)
        key_prior, key_steps = split(keys)
        grid = spec.grid(process, spec.steps)
        x = process.sigma(grid[0]) * normal(key_prior, jnp.zeros((len(keys), *self.space.shape), grid.dtype))
        return spec(process, self.denoiser(variables, spec).with_label(cond), x, grid, key_steps, trajectory)

    def draws_by_label(self, spec):
        return super().draws_by_label(spec) or nested.innermost(spec.guidance) is guidance.classifier

    def with_guidance(self, spec: Sampler, scale: float) -> Sampler:
        """`spec` with this guidance scale, classifier-free by default. Raises UserError if it cannot be guided."""
        if nested.innermost(spec.guidance) in (guidance.none, guidance.classifier_free):
            rules.check_guidance(self, "`guidance`")
        return replace(spec, guidance=nested.with_scale(spec.guidance, scale))

    def with_negative(self, spec: Sampler, prompt: str) -> Sampler:
        """`spec` guided away from a prompt instead of from the empty one. Raises UserError unless guidance is above 1.

        D_n + s (D_c - D_n) leads away from the negative prompt for s > 1; s = 1 is D_c itself, and s = 0 is D_n.
        """
        if not self.reads_captions:
            raise UserError("`negative`: needs a model that was trained with captions")
        if nested.innermost(spec.guidance) is not guidance.classifier_free or nested.scale_of(spec.guidance) == 1:
            raise UserError("`negative`: needs classifier-free guidance above 1; give `guidance` above 1, such as 3")
        if not nested.scale_of(spec.guidance) > 1:
            raise UserError(
                f"`negative`: guidance {nested.scale_of(spec.guidance):g} leads towards the prompt; it must be above 1,"
                " such as `guidance=3`"
            )
        null = self.cond_for(self.captions([prompt]))[0]
        return replace(spec, guidance=nested.with_null(spec.guidance, null))


def _shown(image: Array, func: Callable, fields: dict[str, Any]) -> Any:
    """The second model of a guidance, shown `image` beside every x_t; a classifier sees none."""
    other = fields["other"]
    return other if func is guidance.classifier else other._replace(predict=partial(other.predict, image=image))
