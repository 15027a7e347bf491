"""Diffusion: one network learns to undo known noise."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from diffjax import models
from diffjax.diffusion import (
    EDM,
    SAMPLERS,
    Denoiser,
    Prediction,
    Process,
    Sampler,
    Samples,
    clock,
    denoising_loss,
    guidance,
    normal,
    weighting,
)
from diffjax.diffusion.target import F, Target
from diffjax.diffusion.times import LogNormal, Times
from diffjax.errors import UserError
from diffjax.methods.method import Method, keys_of
from diffjax.parallel import Axis
from diffjax.state import TrainState, update


@dataclass(frozen=True, kw_only=True)
class Diffusion(Method):
    """Denoising score matching. Process, target, weighting and times are independent switches; EDM's by default."""

    process: Process = EDM()
    target: Target = F()
    weighting: Callable = weighting.edm
    times: Times = LogNormal()
    clock: Callable = clock.log_noise  # the number by which the network is told t
    network: Callable[..., nn.Module] = models.UNet
    conditional: bool = False  # show the network the labels
    label_dropout: float = 0.1  # share of labels hidden in training, so that classifier-free guidance can be used

    networks: ClassVar = ("denoiser",)
    samplers: ClassVar = SAMPLERS

    def __post_init__(self):
        if self.conditional and not self.space.num_classes:
            raise UserError("method.conditional: the data set has no labels; it must be false")
        if not 0 <= self.label_dropout <= 1:
            raise UserError(f"method.label_dropout: {self.label_dropout} is not a probability")

    def init(self, key, batch):
        x = self.space.to_model(batch["x"][0, :1])
        label = batch["label"][0, :1] if self.conditional else None
        variables = self.make(self.network).init(key, x, jnp.ones(1, x.dtype), label)
        return TrainState.create({"denoiser": variables}, self.optimizers, averaged=self.networks)

    def step(self, state, batch, key, axis):
        network = self.make(self.network, axis)
        loss_of = denoising_loss(self.process, self.target, self.weighting, self.times)

        def loss(variables, batch):
            noise, hide, dropout = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(
                keys_of(key, state.step, batch)
            )
            label = self._hidden(batch["label"], hide) if self.conditional else None

            def predict(x, t):
                return network.apply(variables, x, self.clock(self.process, t), label, dropout)

            losses = loss_of(predict, self.space.to_model(batch["x"]), noise)
            return jnp.mean(losses), {"metrics": {}, "stats": {}}

        only = jax.tree.map(lambda x: x[0], batch)
        state, metrics, norm = update(state, "denoiser", loss, only, self.optimizers["denoiser"], axis, self.accumulate)
        return state.advance(self.ema, self.batch_size, metrics["loss"], norm), metrics | {"gradient_norm": norm}

    def _hidden(self, label, keys):
        """Labels, with a share replaced by the one that means "no label"."""
        hidden = jax.vmap(lambda key: jax.random.bernoulli(key, self.label_dropout))(keys)
        return jnp.where(hidden, self.space.num_classes, label)

    def denoiser(self, variables: dict, spec: Sampler | None = None) -> Denoiser:
        """E[x0 | x_t] as the network sees it; with a sampler's settings, guided and clipped as they say."""
        network = self.make(self.network, Axis())

        def predict(x_t, t, label):
            t = jnp.broadcast_to(t, len(x_t))
            shown = self.target.input(x_t, t, self.process)
            if self.conditional and label is None:
                label = jnp.full(len(x_t), self.space.num_classes)
            output = network.apply(variables["denoiser"], shown, self.clock(self.process, t), label)
            return Prediction(self.target.to_x0(output, x_t, t, self.process))

        denoiser = Denoiser(predict)
        if spec is None:
            return denoiser
        guided = spec.guidance(denoiser, self.space.num_classes)
        return guidance.clip_x0(guided) if spec.clip else guided

    def sample(self, variables, spec, keys, label, trajectory=False) -> Samples:
        start, walk = jax.vmap(jax.random.split, out_axes=1)(keys)
        times = spec.grid(self.process, spec.steps)
        x = self.process.sigma(times[0]) * normal(start, jnp.zeros((len(keys), *self.space.shape), times.dtype))
        denoise = self.denoiser(variables, spec).given(label)
        return spec(self.process, denoise, x, times, walk, trajectory)

    def check_sampler(self, spec):
        if getattr(spec.guidance, "func", spec.guidance) is not guidance.none:
            self._check_guidance("sampler.guidance.name")

    def _check_guidance(self, field: str) -> None:
        if not self.conditional:
            raise UserError(f"{field}: this model is trained without labels (method.conditional=false)")
        if not self.label_dropout:
            raise UserError(f"{field}: this model never sees a hidden label (method.label_dropout=0)")

    def with_guidance(self, spec: Sampler, scale: float) -> Sampler:
        """`spec` with classifier-free guidance of this scale; an error where the model cannot be guided."""
        self._check_guidance("--guidance")
        return replace(spec, guidance=lambda denoiser, null: guidance.classifier_free(denoiser, null, scale=scale))
