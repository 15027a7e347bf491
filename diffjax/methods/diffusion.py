"""Diffusion: one network learns to undo known noise."""

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

SHARED = 2**31 - 1  # in place of a position: the key that a whole batch shares


def held(variables: Tree, inner: set[str], others: bool = False) -> Tree:
    """The same variables, with no gradient to a learned process's `inner` parameters; or to all others."""

    def hold(path, x):
        names = [getattr(key, "key", "") for key in path]
        is_inner = "process" in names and names[-1] in inner
        return jax.lax.stop_gradient(x) if is_inner != others else x

    return jax.tree_util.tree_map_with_path(hold, variables)


class Keys(NamedTuple):
    """An example's randomness in one step: a key for each thing that is random."""

    noise: Key[Array, "b"]  # t and eps
    hide: Key[Array, "b"]  # whether its label is hidden, or its small image
    dropout: Key[Array, "b"]
    augment: Key[Array, "b"]


@dataclass(frozen=True)
class StepContext:
    """When and where a step is taken: what its loss depends on, besides the network and examples."""

    key: Key[Array, ""]  # the run's
    step: Array
    times: Times  # with the history that it remembers
    axis: Axis

    def keys(self, batch: Batch) -> Keys:
        return split_into(Keys, example_keys(self.key, self.step, batch))


@dataclass(frozen=True, kw_only=True)
class Diffusion(Method):
    """Denoising score matching. Every switch is independent of the others; EDM's by default."""

    process: Process = EDM()
    target: Target = F()
    reverse_variance: Variance = Small()
    weighting: Weighting = weighting.EDM()
    times: Times = LogNormal()
    low_discrepancy: bool = False  # one draw of t shared by the batch, evenly spread (Kingma et al. 2021, I.1)
    clock: Callable = clock.log_noise  # the number by which the network is told t
    network: Callable[..., nn.Module] = models.UNet
    conditional: bool = False  # show the network the labels; the captions, where the data have some
    label_dropout: float = 0.1  # share of either hidden in training, so that classifier-free guidance can be used
    augment: NoAugment | EdmAugment = NoAugment()  # of training images; the network is told what was done
    super_resolution: int = 0  # show it the image reduced by this factor (SR3, Saharia et al. 2021), as often; 0: no

    networks: ClassVar = ("denoiser",)
    samplers: ClassVar = SAMPLERS

    def __post_init__(self):
        rules.check(self)

    def check_sampler(self, spec):
        rules.check_sampler(self, spec)

    @property
    def decoder(self) -> Any:
        """p(x0 | x_1): a density for points, probabilities of the 256 values for images."""
        return bound.Discretised() if self.space.kind == "images" else bound.Density()

    def make(self, network, axis=Axis()):  # noqa: B008
        known = {"outputs": self.reverse_variance.outputs} if self.reverse_variance.outputs > 1 else {}
        if isinstance(self.augment, EdmAugment):
            known["hints"] = self.augment.labels
        return super().make(network, axis, **known)

    def process_of(self, variables: dict[str, Tree]) -> Process:
        """The process as these variables have it: a learned one's parameters stand beside the network's."""
        return self.process.bind(variables["denoiser"]["params"].get("process", {}))

    def init(self, key, batch):
        x = self.space.to_model(batch["x"][0, :1])
        cond = self.cond_of(jax.tree.map(lambda x: x[0, :1], batch))
        variables = self.make(self.network).init(key, self.network_input(x), jnp.ones(1, x.dtype), cond)
        key_process, key_weighting = jax.random.split(jax.random.fold_in(key, SHARED))
        learned = {"process": self.process.init(key_process), "weighting": self.weighting.init(key_weighting)}
        params = dict(variables["params"]) | {name: tree for name, tree in learned.items() if tree}
        history = self.times.init(self.process.steps)
        state = TrainState.create(
            {"denoiser": dict(variables) | {"params": params}}, self.optimizers, averaged=self.networks
        )
        return state.replace(extra=state.extra | {"times": history}) if history else state

    def step(self, state, batch, key, axis):
        context = StepContext(key, state.step, self.times.bind(state.extra.get("times", {})), axis)

        def loss(variables, batch):
            return self.loss(variables, batch, context)

        def remember(extra, examples):
            return extra | {"times": self.times.update(extra["times"], *examples)}

        only = jax.tree.map(lambda x: x[0], batch)
        state, metrics, norm = update(
            state, "denoiser", loss, only, self.optimizers["denoiser"], axis, self.accumulate,
            remember=remember if "times" in state.extra else None,
        )  # fmt: skip
        return state.advance(self.ema, self.batch_size, metrics["loss"], norm), metrics | {"gradient_norm": norm}

    def loss(self, variables: Tree, batch: Batch, context: StepContext) -> tuple[Array, dict]:
        """The mean loss; but a learned schedule between its ends is moved by the loss's second moment, and by no more.

        That has the variance's gradient: it is by the bound's estimate, whose mean the schedule inside does not change
        (Kingma et al. 2021, appendix I.2).
        """
        inner = set(getattr(self.process, "inner", ())) & set(variables["params"].get("process", ()))
        of_each, examples = self.losses(held(variables, inner) if inner else variables, batch, context)
        value = jnp.mean(of_each)
        if inner:
            square = jnp.mean(self.losses(held(variables, inner, others=True), batch, context)[0] ** 2)
            value += square - jax.lax.stop_gradient(square)
        return value, {"metrics": {}, "stats": {}, "examples": examples}

    def losses(
        self, variables: Tree, batch: Batch, context: StepContext
    ) -> tuple[Float[Array, "b"], tuple[Array, Array]]:
        """Of each example: what is minimised; and (t, the loss at t) for the times to remember."""
        network, process = self.make(self.network, context.axis), self.process_of({"denoiser": variables})
        keys = context.keys(batch)
        x0, hints = self._augmented(self.space.to_model(batch["x"]), keys.augment)
        cond, reduced = self._hidden(self.cond_of(batch), keys.hide), self._reduced(x0, keys.hide)
        t, eps = self._draw(context, process, keys.noise, x0, batch)

        def predict(x_t, t):
            seen = self.network_input(x_t, reduced)
            return network.apply(variables, seen, self.clock(process, t), cond, keys.dropout, **hints)

        loss_of = denoising_loss(self._parts(process), self.weighting, self.decoder)
        at_t = loss = loss_of(predict, x0, t, eps, variables["params"].get("weighting", {}))
        if self.weighting.per_log_snr or context.times.importance:  # an integral over uniform t: p(t) is divided out
            # No gradient to p(t): to a schedule that is learned, the density is a way to sample, not a thing to move.
            loss = at_t / jax.lax.stop_gradient(context.times.density(t, process))
        if "process" in variables["params"]:
            loss += end_terms(process, x0, eps, self.decoder)
        return loss, (t, at_t)

    def _draw(
        self, context: StepContext, process: Process, keys: Key[Array, "b"], x0: Array, batch: Batch
    ) -> tuple[Float[Array, "b"], Array]:
        """t and eps of each example."""
        key_t, key_eps = jax.vmap(jax.random.split, out_axes=1)(keys)
        if self.low_discrepancy:
            shared = jax.random.fold_in(jax.random.fold_in(context.key, context.step), SHARED)
            u = evenly_spread(shared, batch["position"] / self.batch_size)
        else:
            u = independent(key_t)
        return jax.lax.stop_gradient(context.times.quantile(u, process)), normal(key_eps, x0)

    def _augmented(self, x0, keys):
        """Training images, augmented, and what the network is told of it."""
        if isinstance(self.augment, NoAugment):
            return x0, {}
        x0, hints = self.augment(x0, keys)
        return x0, {"hints": hints}

    def _hidden(self, cond, keys):
        """Labels or captions, with a share replaced by what means "none"; None for a network that sees none."""
        if cond is None:
            return None
        hidden = jax.vmap(lambda key: jax.random.bernoulli(key, self.label_dropout))(keys)
        return jnp.where(jnp.expand_dims(hidden, range(1, cond.ndim)), self.null, cond)

    def _reduced(self, x0, keys):
        """The small images, enlarged again, with a share replaced by grey; None for a network that sees none."""
        if not self.super_resolution:
            return None
        hidden = jax.vmap(lambda key: jax.random.bernoulli(key, self.label_dropout))(fold_in(keys, 1))
        return jnp.where(along(hidden, x0), 0.0, editing.smoothed(x0, self.super_resolution))

    def network_input(self, x, image=None):
        """What the network is shown: x, and for super-resolution the `image` beside it, grey where there is none."""
        if not self.super_resolution:
            return x
        return jnp.concatenate([x, jnp.broadcast_to(0.0 if image is None else image, x.shape).astype(x.dtype)], axis=-1)

    def _parts(self, process: Process) -> Parametrisation:
        return Parametrisation(process, self.target, self.reverse_variance)

    def denoiser(self, variables: dict, spec: Sampler | None = None) -> Denoiser:
        """E[x0 | x_t] as the network sees it; with a sampler's settings, guided and clipped as they say."""
        image = spec.photo if isinstance(spec, editing.Seeing) else None
        network = self.make(self.network)
        process = self.process_of(variables)

        def predict(x_t, t, label):
            t = jnp.broadcast_to(t, len(x_t))
            seen = self.network_input(self.target.input(x_t, t, process), image)
            if self.conditional and label is None:
                label = guidance.everyone(self.null, len(x_t))
            output = network.apply(variables["denoiser"], seen, self.clock(process, t), label)
            return self._parts(process).prediction(output, x_t, t)

        denoiser = Denoiser(predict)
        if spec is None:
            return denoiser
        guided = spec.guidance(denoiser, self.null, process)
        return guidance.clip_x0(guided) if spec.clip else guided

    def attention(self, variables: dict, x_t: Array, t: Array, label: Array) -> Array:
        """To which byte of its caption each pixel attends: x_t [b, h, w, c], t [], captions [b, n] -> [b, h, w, 1 + n].

        Or to which token, where `label` is what a frozen encoder says of them, [b, 1 + n, d + 1]. The mean over heads
        and layers, each layer's map enlarged to the image's size; the first is of no byte. They add up to 1 over the
        last axis.
        """
        process, t = self.process_of(variables), jnp.broadcast_to(t, len(x_t))
        seen = self.network_input(self.target.input(x_t, t, process))
        _, kept = self.make(self.network).apply(
            variables["denoiser"], seen, self.clock(process, t), label, mutable="intermediates"
        )
        b, height, width, _ = x_t.shape

        def enlarged(weights):  # [b, heads, pixels, 1 + n] of a grid whose cells are squares of the image's pixels
            side = round((height * width / weights.shape[2]) ** 0.5)
            grid = weights.mean(axis=1).reshape(b, height // side, width // side, -1)
            return grid.repeat(side, axis=1).repeat(side, axis=2)

        layers = [enlarged(weights) for weights in jax.tree.leaves(kept["intermediates"])]
        return sum(layers) / len(layers)

    def sample(self, variables, spec, keys, cond, trajectory=False) -> Samples:
        process = self.process_of(variables)
        start, walk = jax.vmap(jax.random.split, out_axes=1)(keys)
        grid = spec.grid(process, spec.steps)
        x = process.sigma(grid[0]) * normal(start, jnp.zeros((len(keys), *self.space.shape), grid.dtype))
        return spec(process, self.denoiser(variables, spec).given(cond), x, grid, walk, trajectory)

    def draws_by_label(self, spec):
        return super().draws_by_label(spec) or nested.innermost(spec.guidance) is guidance.classifier

    def with_guidance(self, spec: Sampler, scale: float) -> Sampler:
        """`spec` guided at this scale, classifier-free if it has none; an error where the model cannot be guided."""
        if nested.innermost(spec.guidance) in (guidance.none, guidance.classifier_free):
            rules.check_guidance(self, "--guidance")
        return replace(spec, guidance=nested.with_scale(spec.guidance, scale))

    def with_negative(self, spec: Sampler, prompt: str) -> Sampler:
        """`spec` guided away from a prompt, and not from the empty one; an error where nothing is guided away from it.

        D_n + s (D_c - D_n) leads away from the negative prompt for s above 1: 1 is the model as it is, 0 is D_n itself.
        """
        if not self.reads_captions:
            raise UserError("--negative: this model was trained without captions")
        if nested.innermost(spec.guidance) is not guidance.classifier_free or nested.scale_of(spec.guidance) == 1:
            raise UserError("--negative: nothing is guided away from it; give a --guidance above 1, such as 3")
        if not nested.scale_of(spec.guidance) > 1:
            raise UserError(
                f"--negative: guidance {nested.scale_of(spec.guidance):g} would draw towards it; give a --guidance"
                " above 1, such as 3"
            )
        null = self.cond_for(self.captions([prompt]))[0]
        return replace(spec, guidance=nested.with_null(spec.guidance, null))
