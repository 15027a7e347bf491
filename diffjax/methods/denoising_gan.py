"""Denoising diffusion GANs (Xiao et al. 2021): few reverse steps, each too large to be Gaussian and learned by a GAN.

    x_s, x_t ~ q, one step of the chain apart
    the discriminator sees x_s together with x_t and t
    the generator fakes x_s: x0 = G(x_t, z, t), then x_s ~ q(x_s | x_t, x0)

The posterior supplies the chain's Gaussian noise, and z only what is not Gaussian. With a single step, from pure noise,
this is a GAN. With a thousand steps the reverse step is nearly Gaussian, z has no role, and this is DDPM.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Key

from diffjax.augment import AUGMENTS, NoAugment
from diffjax.diffusion import PROCESSES, Process, Samples, VPSteps, along, clock, fold_in, normal, split
from diffjax.errors import UserError
from diffjax.methods.game import Examples, Latent
from diffjax.methods.gan import GAN
from diffjax.methods.method import name_of, split_into
from diffjax.models.denoising_gan import DenoisingDiscriminator, DenoisingGenerator


@dataclass(frozen=True)
class DenoisingSteps:
    """The sampler of a denoising GAN: runs its own chain in reverse, with a new z at every step."""

    steps: int = 4  # network calls; must equal the number of steps in the chain

    def __post_init__(self):
        if self.steps < 1:
            raise UserError(f"sampler.steps: {self.steps} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class DenoisingGAN(GAN):
    """A GAN whose generator reverses one step of a chain at a time. Only the game differs from `GAN`."""

    generator: Callable[..., nn.Module] = DenoisingGenerator
    discriminator: Callable[..., nn.Module] = DenoisingDiscriminator
    process: Process = VPSteps()
    clock: Callable[[Process, Array], Array] = clock.index

    samplers: ClassVar = {"denoising_gan": DenoisingSteps}
    given: ClassVar = {slot: names | {"x_t", "t"} for slot, names in GAN.given.items()}

    def __post_init__(self):
        if not self.process.steps:
            name = name_of(self.process, PROCESSES)
            raise UserError(f"method.process: {name} has no steps to undo; take vp_steps, or a table")
        if self.packing > 1:
            raise UserError(f"method.packing: {self.packing} packed examples would differ in time; use 1")
        if not isinstance(self.augment, NoAugment):
            name = name_of(self.augment, AUGMENTS)
            raise UserError(f"method.augment: {name} would transform x_s, but not the x_t shown beside it; use none")
        super().__post_init__()

    def check_sampler(self, spec: DenoisingSteps) -> None:
        if spec.steps != self.process.steps:
            raise UserError(f"sampler.steps: {spec.steps} must be the {self.process.steps} of method.process")

    def example_inputs(self, x):
        return {"x_t": x, "t": jnp.zeros(len(x), x.dtype)}

    def draw_examples(self, generator, batch, keys, axis) -> Examples:
        """x_s and the generator's fake, both one step of the chain before x_t. Each example's step is uniform."""
        keys = split_into(ChainKeys, keys)
        x0, steps = self.space.to_model(batch["x"]), self.process.steps
        n = jax.vmap(lambda key: jax.random.randint(key, (), 1, steps + 1))(keys.step)
        s, t = (n - 1) / steps, n / steps

        x_s = self.process.corrupt(x0, normal(keys.x_s, x0), s)
        factor, variance = self.process.transition(s, t)
        x_t = along(factor, x0) * x_s + along(jnp.sqrt(variance), x0) * normal(keys.x_t, x0)

        step_inputs, cond = {"x_t": x_t, "t": self.clock(self.process, t)}, self.cond_of(batch)
        x0_hat, stats = self.generate(generator, keys.z, axis, **step_inputs, **self.inputs_for("generator", cond))
        fake = self.step_back(x0_hat, x_t, s, t, keys.fake)
        inputs = step_inputs | self.inputs_for("discriminator", cond)
        return Examples(x_s, fake, inputs, (x0, x0_hat), batch["label"], stats)

    def step_back(self, x0: Array, x_t: Array, s: Array, t: Array, keys: Key[Array, "b"]) -> Array:
        """Draws x_s ~ q(x_s | x_t, x0); at s = 0 it is x0."""
        mean, variance = self.process.posterior(x0, x_t, s, t)
        return mean + along(jnp.sqrt(variance), x_t) * normal(keys, x_t)

    def sample(self, variables, spec, keys, cond, trajectory=False) -> Samples:
        """Runs the chain in reverse from x_1 ~ sigma(1) N(0, I), where sigma(1) is nearly 1."""
        generator, steps = self.make(self.generator), self.process.steps
        start_keys, step_keys, label_keys = split(keys, 3)
        inputs = self.inputs_for("generator", self._draw_cond(label_keys) if cond is None else cond)
        x = normal(start_keys, jnp.zeros((len(keys), *self.space.shape), jnp.result_type(float)))

        def step(x_t, n):
            z_keys, noise_keys = split(fold_in(step_keys, n))
            s, t = (n - 1) / steps, n / steps
            clock_t = jnp.broadcast_to(self.clock(self.process, t), len(x_t))
            z = Latent()(z_keys, generator.latent)
            x0 = generator.apply(variables["generator"], z, x_t=x_t, t=clock_t, **inputs)
            return self.step_back(x0, x_t, s, t, noise_keys), (x_t, x0) if trajectory else (None, None)

        x, (x_t, x0_hat) = lax.scan(step, self.process.sigma(jnp.ones(())) * x, jnp.arange(steps, 0, -1))
        return Samples(x, jnp.full(len(x), steps), x_t, x0_hat)


class ChainKeys(NamedTuple):
    """One example's keys in one update: for its step, for the noise of x_s, of x_t and of the fake x_s, and for z."""

    step: Key[Array, "b"]
    x_s: Key[Array, "b"]
    x_t: Key[Array, "b"]
    fake: Key[Array, "b"]
    z: Key[Array, "b"]
