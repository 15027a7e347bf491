"""Diffusion models: a network is trained to denoise, and samples are drawn with any sampler of `diffjax.diffusion`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    weighting,
)
from diffjax.diffusion.process import along
from diffjax.diffusion.target import F, Target
from diffjax.diffusion.times import LogNormal, Times, evenly_spread, independent
from diffjax.diffusion.variance import Small, Variance
from diffjax.diffusion.weighting import Weighting
from diffjax.errors import UserError
from diffjax.methods import diffusion_rules as rules
from diffjax.methods.method import Batch, Method, example_keys, split_into
from diffjax.parallel import Axis
from diffjax.state import TrainState, Tree, update

SHARED = 2**31 - 1  # folded into a key in place of an example's position, for what the batch shares


def held(variables: Tree, inner: set[str], others: bool = False) -> Tree:
    """The variables with no gradient to the `inner` parameters of a learned process; with `others`, to all the rest."""

    def hold(path, x):
        names = [getattr(key, "key", "") for key in path]
        is_inner = "process" in names and names[-1] in inner
        return jax.lax.stop_gradient(x) if is_inner != others else x

    return jax.tree_util.tree_map_with_path(hold, variables)


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
        if isinstance(self.augment, EdmAugment):
            fields["hints"] = self.augment.labels
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

        single_batch = jax.tree.map(lambda x: x[0], batch)
        state, metrics, norm = update(
            state, "denoiser", loss, single_batch, self.optimizers["denoiser"], axis, self.accumulate,
            remember=update_history if "times" in state.extra else None,
        )  # fmt: skip
        return state.advance(self.ema, self.batch_size, metrics["loss"], norm), metrics | {"gradient_norm": norm}

    def loss(self, variables: Tree, batch: Batch, context: StepContext) -> tuple[Array, dict]:
        """The mean loss. A learned schedule, between its ends, only gets gradients from the loss's second moment.

        They are those of the variance of the bound's estimate, because the schedule between its ends does not change
        the mean (Kingma et al. 2021, appendix I.2).
        """
        inner = set(getattr(self.process, "inner", ())) & set(variables["params"].get("process", ()))
        losses, examples = self.losses(held(variables, inner) if inner else variables, batch, context)
        value = jnp.mean(losses)
        if inner:
            square = jnp.mean(self.losses(held(variables, inner, others=True), batch, context)[0] ** 2)
            value += square - jax.lax.stop_gradient(square)
        return value, {"metrics": {}, "stats": {}, "examples": examples}

    def losses(
        self, variables: Tree, batch: Batch, context: StepContext
    ) -> tuple[Float[Array, "b"], tuple[Array, Array]]:
        """The objective of each example; and (t, the loss at t) for the history of the times."""
        network, process = self.make(self.network, context.axis), self.process_of({"denoiser": variables})
        keys = context.keys(batch)
        x0, hints = self._augmented(self.space.to_model(batch["x"]), keys.augment)
        cond, reduced = self._hidden(self.cond_of(batch), keys.hide), self._reduced(x0, keys.hide)
        t, eps = self._draw(context, process, keys.noise, x0, batch)

        def predict(x_t, t):
            network_input = self.network_input(x_t, reduced)
            return network.apply(variables, network_input, self.clock(process, t), cond, keys.dropout, **hints)

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
        key_t, key_eps = jax.vmap(jax.random.split, out_axes=1)(keys)
        if self.low_discrepancy:
            batch_key = jax.random.fold_in(jax.random.fold_in(context.key, context.step), SHARED)
            u = evenly_spread(batch_key, batch["position"] / self.batch_size)
        else:
            u = independent(key_t)
        return jax.lax.stop_gradient(context.times.quantile(u, process)), normal(key_eps, x0)

    def _augmented(self, x0, keys):
        """Augmented training images, and the network's arguments that describe the augmentation."""
        if isinstance(self.augment, NoAugment):
            return x0, {}
        x0, hints = self.augment(x0, keys)
        return x0, {"hints": hints}

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
        """The network's E[x0 | x_t]; with a sampler `spec`, guided and clipped by its settings."""
        image = spec.photo if isinstance(spec, editing.Seeing) else None
        network = self.make(self.network)
        process = self.process_of(variables)

        def predict(x_t, t, label):
            t = jnp.broadcast_to(t, len(x_t))
            network_input = self.network_input(self.target.input(x_t, t, process), image)
            if self.conditional and label is None:
                label = guidance.everyone(self.null, len(x_t))
            output = network.apply(variables["denoiser"], network_input, self.clock(process, t), label)
            return self._parts(process).prediction(output, x_t, t)

        denoiser = Denoiser(predict)
        if spec is None:
            return denoiser
        guided = spec.guidance(denoiser, self.null, process)
        return guidance.clip_x0(guided) if spec.clip else guided

    def attention(self, variables: dict, x_t: Array, t: Array, label: Array) -> Array:
        """Each pixel's attention to its caption: x_t [b, h, w, c], t [], captions [b, n] -> [b, h, w, 1 + n].

        The last axis is over the caption's bytes, or over tokens if `label` [b, 1 + n, d + 1] is the embedding by a
        frozen encoder; its first entry belongs to no byte, and it sums to 1. Maps are enlarged to the size of the image
        and averaged over heads and layers.
        """
        process, t = self.process_of(variables), jnp.broadcast_to(t, len(x_t))
        network_input = self.network_input(self.target.input(x_t, t, process))
        _, variables_out = self.make(self.network).apply(
            variables["denoiser"], network_input, self.clock(process, t), label, mutable="intermediates"
        )
        b, height, width, _ = x_t.shape

        def enlarged(weights):  # [b, heads, cells, 1 + n], each cell a square of pixels
            side = round((height * width / weights.shape[2]) ** 0.5)
            grid = weights.mean(axis=1).reshape(b, height // side, width // side, -1)
            return grid.repeat(side, axis=1).repeat(side, axis=2)

        layers = [enlarged(weights) for weights in jax.tree.leaves(variables_out["intermediates"])]
        return sum(layers) / len(layers)

    def sample(self, variables, spec, keys, cond, trajectory=False) -> Samples:
        process = self.process_of(variables)
        key_prior, key_steps = jax.vmap(jax.random.split, out_axes=1)(keys)
        grid = spec.grid(process, spec.steps)
        x = process.sigma(grid[0]) * normal(key_prior, jnp.zeros((len(keys), *self.space.shape), grid.dtype))
        return spec(process, self.denoiser(variables, spec).given(cond), x, grid, key_steps, trajectory)

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
