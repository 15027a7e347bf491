"""Penalties on the discriminator's gradient, per example, added to its loss: penalty(at: PenaltyInputs) -> [b].

The gradient of an image's logit is computed as the gradient of the sum of all logits, so the critic should score each
image independently. BatchNorm makes that ill-posed; minibatch deviation mixes the gradients within a group slightly, as
in StyleGAN2. Norms sum over an image's pixels and channels, in model units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from diffjax.errors import UserError
from diffjax.ramp import cosine_ramp

Critic = Callable[[Float[Array, "b ..."]], Float[Array, "b"]]
Images = Float[Array, "b ..."]
Penalty = Float[Array, "b"]


class PenaltyInputs(NamedTuple):
    """What a penalty is evaluated on. A critic is the discriminator with every argument but the images bound."""

    critic: Critic  # of real images
    real: Images
    keys: Key[Array, "b"]  # one per example, so that random numbers do not depend on how the batch is divided
    fake: Images | None = None  # generated images; None for a penalty that uses real images only
    fake_critic: Critic | None = None  # of generated images, where it augments them differently; None: `critic`
    seen: ArrayLike = 0.0  # training images so far, for weights that change during a run


@dataclass(frozen=True)
class NoPenalty:
    """No penalty: zeros [b]."""

    def __call__(self, at: PenaltyInputs) -> Penalty:
        return jnp.zeros(len(at.real))


@dataclass(frozen=True)
class ZeroCentred:
    """The part common to R1, R2 and R1 + R2: gamma, and its schedule."""

    gamma: float = 10.0  # Mescheder et al. 2018, section 5.2; use less for finely structured data
    gamma_last: float = 0.0  # gamma from `ramp_images` on, reached along half a cosine; R3GAN: 0.05 to 0.005
    ramp_images: float = 0.0  # length of the ramp in images; 0: constant `gamma`

    def __post_init__(self):
        for field in ("gamma", "gamma_last"):
            if not (value := getattr(self, field)) >= 0:
                raise UserError(f"penalty.{field}: {value} must not be negative; 0 switches the penalty off")
        if not self.ramp_images >= 0:
            raise UserError(f"penalty.ramp_images: {self.ramp_images} must not be negative; 0 keeps gamma constant")
        if self.gamma_last and not self.ramp_images:
            raise UserError(
                f"penalty.gamma_last: {self.gamma_last} is never reached with penalty.ramp_images 0; "
                f"set ramp_images, or leave gamma_last at 0"
            )

    def gamma_after(self, seen: ArrayLike) -> Float[Array, ""]:
        """gamma after `seen` training images."""
        return cosine_ramp(seen, self.gamma, self.gamma_last, self.ramp_images)


@dataclass(frozen=True)
class R1(ZeroCentred):
    """(gamma / 2) |grad_x D(x)|^2 at the real images, D the logit (Mescheder et al. 2018, eq. 9). [b, ...] -> [b]."""

    def __call__(self, at: PenaltyInputs) -> Penalty:
        return 0.5 * self.gamma_after(at.seen) * squared_gradient(at.critic, at.real)


@dataclass(frozen=True)
class R2(ZeroCentred):
    """(gamma / 2) |grad_x D(x)|^2 at the generated images (Mescheder et al. 2018, eq. 10). [b, ...] -> [b].

    Raises UserError without generated images.
    """

    def __call__(self, at: PenaltyInputs) -> Penalty:
        return 0.5 * self.gamma_after(at.seen) * squared_gradient_at_fake(at, "r2")


@dataclass(frozen=True)
class R1R2(ZeroCentred):
    """R1 + R2 with one gamma (Huang et al. 2024, section 2). [b, ...] -> [b].

    Raises UserError without generated images.
    """

    def __call__(self, at: PenaltyInputs) -> Penalty:
        squared_norms = squared_gradient(at.critic, at.real) + squared_gradient_at_fake(at, "r1_r2")
        return 0.5 * self.gamma_after(at.seen) * squared_norms


@dataclass(frozen=True)
class UnitNorm:
    """The part common to WGAN-GP and DRAGAN: weight (|grad_x D(x)| - norm)^2, at points x that each chooses."""

    weight: float = 10.0  # lambda; Gulrajani et al. 2017, section 4, and Kodali et al. 2017
    norm: float = 1.0  # target norm of the gradient, a Lipschitz constant

    def __post_init__(self):
        if not self.weight >= 0:
            raise UserError(f"penalty.weight: {self.weight} must not be negative; 0 switches the penalty off")
        if not self.norm >= 0:
            raise UserError(f"penalty.norm: {self.norm} is the norm of a gradient and must not be negative")

    def around(self, critic: Critic, x: Images) -> Penalty:
        """weight (|grad_x D(x)| - norm)^2 for each image. [b, ...] -> [b]."""
        return self.weight * (safe_sqrt(squared_gradient(critic, x)) - self.norm) ** 2


@dataclass(frozen=True)
class GradientPenalty(UnitNorm):
    """WGAN-GP: weight (|grad_x D(x_hat)| - norm)^2 (Gulrajani et al. 2017, eq. 3). [b, ...] -> [b].

    x_hat = u real + (1 - u) fake, with one u ~ U[0, 1) per pair, from the example's key. Raises UserError without
    generated images.
    """

    def __call__(self, at: PenaltyInputs) -> Penalty:
        real, fake = at.real, generated(at, "wgan_gp")
        u = jax.vmap(lambda key: jax.random.uniform(key, (), real.dtype))(at.keys)
        u = u.reshape(-1, *[1] * (real.ndim - 1))
        return self.around(at.critic, u * real + (1 - u) * fake)


@dataclass(frozen=True)
class DRAGAN(UnitNorm):
    """weight (|grad_x D(real + delta)| - norm)^2, delta ~ N(0, noise^2 I) (Kodali et al. 2017, eq. 1). [b, ...] -> [b].

    This follows the paper's equation, whose c is noise^2, with each image's delta drawn from its key. The published
    code instead draws 0.5 s u, with u ~ U[0, 1) per pixel and s the standard deviation of all pixels in the batch, and
    then moves a random fraction of the way there. Its authors call both superseded by the equation (issues 5 and 6 of
    their repository). Here they would make an image's penalty depend on the other images on its device, and would
    brighten every image.
    """

    noise: float = 0.15  # model units; the root mean square of the code's 0.5 s u at s = 0.5 (CIFAR-10)

    def __post_init__(self):
        super().__post_init__()
        if not self.noise >= 0:
            raise UserError(f"penalty.noise: {self.noise} is a standard deviation and must not be negative")

    def __call__(self, at: PenaltyInputs) -> Penalty:
        delta = jax.vmap(lambda key: jax.random.normal(key, at.real.shape[1:], at.real.dtype))(at.keys)
        return self.around(at.critic, at.real + self.noise * delta)


def squared_gradient(critic: Critic, x: Images) -> Penalty:
    """|grad_x D(x)|^2 of each image, summed over its pixels and channels. [b, ...] -> [b]."""
    gradient = jax.grad(lambda x: jnp.sum(critic(x)))(x)
    return jnp.sum(gradient**2, axis=tuple(range(1, x.ndim)))


def squared_gradient_at_fake(at: PenaltyInputs, name: str) -> Penalty:
    """`squared_gradient` of the generated images, for the penalty `name`. [b]. Raises UserError without any."""
    return squared_gradient(at.fake_critic or at.critic, generated(at, name))


def generated(at: PenaltyInputs, name: str) -> Images:
    """The generated images. Raises UserError, naming the penalty, where there are none."""
    if at.fake is None:
        raise UserError(f"penalty: {name} needs generated images and was given none; r1 and dragan need none")
    return at.fake


def safe_sqrt(square: Penalty) -> Penalty:
    """sqrt with derivative 0 instead of infinity at exactly 0; NaN stays NaN.

    A norm has no gradient at 0, but 0 is one of its subgradients; the chain rule would give infinity times 0. The inner
    `where` keeps 0 out of the root: its infinite derivative would turn into NaN even in the branch that is not
    selected.
    """
    is_zero = square == 0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, square)))


def clip_weights(params: Any, c: float) -> Any:
    """Clips every parameter to [-c, c], biases included (Arjovsky et al. 2017, algorithm 1, line 7).

    A projection rather than a penalty, to be applied after the discriminator's update. Takes any tree and returns the
    same structure. The paper uses c = 0.01. Clipping holds the critic to some Lipschitz constant, which grows with c
    and with every layer.
    """
    return jax.tree.map(lambda w: jnp.clip(w, -c, c), params)
