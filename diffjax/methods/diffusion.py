"""Diffusion: one network learns to undo known noise."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array

from diffjax import models
from diffjax.augment import EdmAugment, NoAugment
from diffjax.diffusion import (
    EDM,
    SAMPLERS,
    Denoiser,
    LearnedTable,
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
from diffjax.diffusion.grid import karras, log_snr
from diffjax.diffusion.process import along
from diffjax.diffusion.target import F, Target
from diffjax.diffusion.times import LogNormal, Times, evenly_spread, independent
from diffjax.diffusion.variance import Small, Variance
from diffjax.diffusion.weighting import VLB, Weighting
from diffjax.errors import UserError
from diffjax.methods.method import Method, keys_of
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
        if self.conditional and not self.space.num_classes and not self.space.caption:
            raise UserError("method.conditional: the data set has no labels, nor captions; it must be false")
        if not 0 <= self.label_dropout <= 1:
            raise UserError(f"method.label_dropout: {self.label_dropout} is not a probability")
        if self.reverse_variance.outputs == 2 and not self.process.steps:
            raise UserError("method.reverse_variance: learning it needs the steps of a table; this process has none")
        if not isinstance(self.process, Process) and not isinstance(self.weighting, VLB):
            raise UserError(
                "method.weighting: a learned schedule would move to wherever another loss is small; it must be vlb"
            )
        self.times.init(self.process.steps)  # its own checks, before anything runs
        self.check_text("network")
        self._check_augment()
        self._check_super_resolution()

    def _check_augment(self) -> None:
        if isinstance(self.augment, NoAugment):
            return
        if not isinstance(self.augment, EdmAugment):
            raise UserError("method.augment: a diffusion model would learn what is done to its images; edm, or none")
        if self.space.kind != "images":
            raise UserError(f"method.augment: {self.space.kind} cannot be augmented, only images; use 'none'")
        if "hints" not in inspect.signature(self.network).parameters:
            raise UserError("method.network: cannot be told of augmentation; use a UNet, or method.augment.name=none")

    def _check_super_resolution(self) -> None:
        factor = self.super_resolution
        if not factor:
            return
        if self.space.kind != "images" or factor < 2 or any(side % factor for side in self.space.shape[:2]):
            raise UserError(f"method.super_resolution: {factor} is not a factor of both sides of {self.space.shape}")
        if not self.label_dropout:
            raise UserError("method.label_dropout: 0, but a model that always sees a small image draws nothing alone")

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
        label = self.shown(jax.tree.map(lambda x: x[0, :1], batch))
        variables = self.make(self.network).init(key, self._beside(x), jnp.ones(1, x.dtype), label)
        key_process, key_weighting = jax.random.split(jax.random.fold_in(key, SHARED))
        learned = {"process": self.process.init(key_process), "weighting": self.weighting.init(key_weighting)}
        params = dict(variables["params"]) | {name: tree for name, tree in learned.items() if tree}
        history = self.times.init(self.process.steps)
        state = TrainState.create(
            {"denoiser": dict(variables) | {"params": params}}, self.optimizers, averaged=self.networks
        )
        return state.replace(extra=state.extra | {"times": history}) if history else state

    def step(self, state, batch, key, axis):
        network = self.make(self.network, axis)
        times_now = self.times.bind(state.extra.get("times", {}))
        integral = self.weighting.per_log_snr or times_now.importance  # over uniform t: p(t) is divided out

        def losses(variables, batch):
            """Of each example: what is minimised, and (t, the loss at t) for the times to remember."""
            noise, hide, dropout, change = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(
                keys_of(key, state.step, batch)
            )
            x0, told = self._changed(self.space.to_model(batch["x"]), change)
            label = self._hidden(self.shown(batch), hide)
            reduced = self._reduced(x0, hide)
            process = self.process_of({"denoiser": variables})
            loss_of = denoising_loss(self._parts(process), self.weighting, self.decoder)
            t, eps = self._draw(times_now, process, noise, x0, batch, jax.random.fold_in(key, state.step))

            def predict(x, t):
                shown = self._beside(x, reduced)
                return network.apply(variables, shown, self.clock(process, t), label, dropout, **told)

            at_t = loss_of(predict, x0, t, eps, variables["params"].get("weighting", {}))
            # No gradient to p(t): to a schedule that is learned, the density is a way to sample, not a thing to move.
            whole = at_t / jax.lax.stop_gradient(times_now.density(t, process)) if integral else at_t
            if "process" in variables["params"]:
                whole += end_terms(process, x0, eps, self.decoder)
            return whole, (t, at_t)

        def loss(variables, batch):
            inner = set(getattr(self.process, "inner", ())) & set(variables["params"].get("process", ()))
            if not inner:
                of_each, examples = losses(variables, batch)
                return jnp.mean(of_each), {"metrics": {}, "stats": {}, "examples": examples}
            # The schedule between its ends minimises the variance of the bound's estimate, and nothing else does.
            of_each, examples = losses(held(variables, inner), batch)
            square = jnp.mean(losses(held(variables, inner, others=True), batch)[0] ** 2)
            value = jnp.mean(of_each) + square - jax.lax.stop_gradient(square)
            return value, {"metrics": {}, "stats": {}, "examples": examples}

        def remember(extra, examples):
            return extra | {"times": self.times.update(extra["times"], *examples)}

        only = jax.tree.map(lambda x: x[0], batch)
        state, metrics, norm = update(
            state, "denoiser", loss, only, self.optimizers["denoiser"], axis, self.accumulate,
            remember=remember if "times" in state.extra else None,
        )  # fmt: skip
        return state.advance(self.ema, self.batch_size, metrics["loss"], norm), metrics | {"gradient_norm": norm}

    def _draw(self, times_now, process, keys, x0, batch, shared):
        """t and eps of each example."""
        key_t, key_eps = jax.vmap(jax.random.split, out_axes=1)(keys)
        if self.low_discrepancy:
            u = evenly_spread(jax.random.fold_in(shared, SHARED), batch["position"] / self.batch_size)
        else:
            u = independent(key_t)
        return jax.lax.stop_gradient(times_now.quantile(u, process)), normal(key_eps, x0)

    def _changed(self, x0, keys):
        """Training images, augmented, and what the network is told of it."""
        if isinstance(self.augment, NoAugment):
            return x0, {}
        x0, hints = self.augment(x0, keys)
        return x0, {"hints": hints}

    def _hidden(self, label, keys):
        """Labels or captions, with a share replaced by what means "none"; None for a network that sees none."""
        if label is None:
            return None
        hidden = jax.vmap(lambda key: jax.random.bernoulli(key, self.label_dropout))(keys)
        return jnp.where(jnp.expand_dims(hidden, range(1, label.ndim)), self.null, label)

    def _reduced(self, x0, keys):
        """The small images, enlarged again, with a share replaced by grey; None for a network that sees none."""
        if not self.super_resolution:
            return None
        hidden = jax.vmap(lambda key: jax.random.bernoulli(key, self.label_dropout))(fold_in(keys, 1))
        return jnp.where(along(hidden, x0), 0.0, editing.smoothed(x0, self.super_resolution))

    def _beside(self, x, image=None):
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
            shown = self._beside(self.target.input(x_t, t, process), image)
            if self.conditional and label is None:
                label = guidance.everyone(self.null, len(x_t))
            output = network.apply(variables["denoiser"], shown, self.clock(process, t), label)
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
        shown = self._beside(self.target.input(x_t, t, process))
        _, kept = self.make(self.network).apply(
            variables["denoiser"], shown, self.clock(process, t), label, mutable="intermediates"
        )
        b, height, width, _ = x_t.shape

        def enlarged(weights):  # [b, heads, pixels, 1 + n] of a grid whose cells are squares of the image's pixels
            side = round((height * width / weights.shape[2]) ** 0.5)
            grid = weights.mean(axis=1).reshape(b, height // side, width // side, -1)
            return grid.repeat(side, axis=1).repeat(side, axis=2)

        layers = [enlarged(weights) for weights in jax.tree.leaves(kept["intermediates"])]
        return sum(layers) / len(layers)

    def sample(self, variables, spec, keys, label, trajectory=False) -> Samples:
        process = self.process_of(variables)
        start, walk = jax.vmap(jax.random.split, out_axes=1)(keys)
        grid = spec.grid(process, spec.steps)
        x = process.sigma(grid[0]) * normal(start, jnp.zeros((len(keys), *self.space.shape), grid.dtype))
        return spec(process, self.denoiser(variables, spec).given(label), x, grid, walk, trajectory)

    def draws_by_label(self, spec):
        return super().draws_by_label(spec) or nested.innermost(spec.guidance) is guidance.classifier

    def check_sampler(self, spec):
        kind = nested.innermost(spec.guidance)
        if kind is guidance.classifier and not self.space.num_classes:
            raise UserError("sampler.guidance.name: the data set has no labels for a classifier to tell")
        if kind is guidance.classifier and self.reads:
            raise UserError("sampler.guidance.name: a classifier tells labels, and this model is asked by captions")
        if kind is guidance.classifier_free or (kind is guidance.classifier and self.conditional):
            self._check_guidance("sampler.guidance.name")
        if spec.clip and self.space.kind != "images":
            raise UserError(f"sampler.clip: holds x0 to [-1, 1], the range of images; these are {self.space.kind}")
        if getattr(spec, "variance", "") == "learned":
            self._check_learned_variance(spec)
        self._check_grid(spec)

    def _check_learned_variance(self, spec: Sampler) -> None:
        if self.reverse_variance.outputs == 1:
            raise UserError("sampler.variance: this model has learned none (method.reverse_variance); small or large")
        if nested.outermost(spec.guidance) in (guidance.interval, guidance.rounded):
            name = nested.outermost(spec.guidance).__name__
            raise UserError(f"sampler.variance: 'learned' is not known under guidance by {name}; small or large")

    def _check_grid(self, spec: Sampler) -> None:
        if isinstance(self.process, LearnedTable) and getattr(spec.grid, "func", spec.grid) in (karras, log_snr):
            raise UserError(
                "sampler.grid: a learned table has no known noise levels; take linear, quadratic or explicit"
            )
        process = self.process.bind(self.process.init(jax.random.key(0)))
        if np.any(np.diff(spec.grid(process, spec.steps)) >= 0):
            raise UserError(
                f"sampler.grid: its {spec.steps} steps do not fall strictly on this process; take fewer, or the grid"
                " linear"
            )

    def _check_guidance(self, field: str) -> None:
        if not self.conditional:
            raise UserError(f"{field}: this model is trained without labels (method.conditional=false)")
        if not self.label_dropout:
            raise UserError(f"{field}: this model never sees a hidden label (method.label_dropout=0)")

    def with_guidance(self, spec: Sampler, scale: float) -> Sampler:
        """`spec` guided at this scale, classifier-free if it has none; an error where the model cannot be guided."""
        if nested.innermost(spec.guidance) in (guidance.none, guidance.classifier_free):
            self._check_guidance("--guidance")
        return replace(spec, guidance=nested.with_scale(spec.guidance, scale))

    def with_negative(self, spec: Sampler, prompt: str) -> Sampler:
        """`spec` guided away from a prompt, and not from the empty one; an error where nothing is guided away from it.

        D_n + s (D_c - D_n) leads away from the negative prompt for s above 1: 1 is the model as it is, 0 is D_n itself.
        """
        if not self.reads:
            raise UserError("--negative: this model was trained without captions")
        if nested.innermost(spec.guidance) is not guidance.classifier_free or nested.scale_of(spec.guidance) == 1:
            raise UserError("--negative: nothing is guided away from it; give a --guidance above 1, such as 3")
        if not nested.scale_of(spec.guidance) > 1:
            raise UserError(
                f"--negative: guidance {nested.scale_of(spec.guidance):g} would draw towards it; give a --guidance"
                " above 1, such as 3"
            )
        null = self.told(self.captions([prompt]))[0]
        return replace(spec, guidance=nested.with_null(spec.guidance, null))
