"""What is added to the discriminator's loss, per example, to hold its gradient.

    penalty(critic, real, fake, keys, seen, of_fake=None) -> [b]

`critic(x [b, ...]) -> logits [b]` is the discriminator with everything but its images filled in. It should judge each
image alone, because the gradient of an image's logit is taken from the gradient of the sum of logits: BatchNorm makes
that ill-posed, minibatch deviation mixes a group's gradients a little, as in StyleGAN2.
`fake` may be None for a penalty that looks at real images only; `of_fake` is their critic where it is not the real
ones', because what is random in it, such as an augmentation, is their own. `keys` [b] are the examples' own, so that
what is drawn does not depend on how the batch is divided; `seen` counts the images of training so far, for weights that
change.
Norms sum over an image's pixels and channels, in model units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from diffjax.errors import UserError
from diffjax.ramp import cosine_ramp

Critic = Callable[[Float[Array, "b ..."]], Float[Array, "b"]]
Images = Float[Array, "b ..."]
Fake = Images | None
Keys = Key[Array, "b"]
Penalty = Float[Array, "b"]


@dataclass(frozen=True)
class NoPenalty:
    """Zeros [b]."""

    def __call__(
        self, critic: Critic, real: Images, fake: Fake, keys: Keys, seen: ArrayLike, of_fake: Critic | None = None
    ) -> Penalty:
        return jnp.zeros(len(real))


@dataclass(frozen=True)
class ZeroCentred:
    """What R1, R2 and both have in common: gamma, and how it changes in the course of a run."""

    gamma: float = 10.0  # Mescheder et al. 2018, section 5.2; smaller where the data are finely structured
    gamma_last: float = 0.0  # gamma from `ramp_images` on, on half a cosine from `gamma`; R3GAN: 0.05 to 0.005
    ramp_images: float = 0.0  # images; 0: `gamma` throughout

    def __post_init__(self):
        for field in ("gamma", "gamma_last"):
            if not (value := getattr(self, field)) >= 0:
                raise UserError(f"penalty.{field}: {value} must not be negative; 0 switches the penalty off")
        if not self.ramp_images >= 0:
            raise UserError(f"penalty.ramp_images: {self.ramp_images} must not be negative; 0 keeps gamma as it is")
        if self.gamma_last and not self.ramp_images:
            raise UserError(
                f"penalty.gamma_last: {self.gamma_last} is never reached with penalty.ramp_images 0; "
                f"say after how many images, or leave it at 0"
            )

    def at(self, seen: ArrayLike) -> Float[Array, ""]:
        """gamma after `seen` images of training."""
        return cosine_ramp(seen, self.gamma, self.gamma_last, self.ramp_images)


@dataclass(frozen=True)
class R1(ZeroCentred):
    """(gamma / 2) |grad_x D(x)|^2 at the real images, D the logit (Mescheder et al. 2018, eq. 9). [b, ...] -> [b]."""

    def __call__(
        self, critic: Critic, real: Images, fake: Fake, keys: Keys, seen: ArrayLike, of_fake: Critic | None = None
    ) -> Penalty:
        return 0.5 * self.at(seen) * squared_gradient(critic, real)


@dataclass(frozen=True)
class R2(ZeroCentred):
    """(gamma / 2) |grad_x D(x)|^2 at the generated images (Mescheder et al. 2018, eq. 10). [b, ...] -> [b].

    Raises UserError without generated images.
    """

    def __call__(
        self, critic: Critic, real: Images, fake: Fake, keys: Keys, seen: ArrayLike, of_fake: Critic | None = None
    ) -> Penalty:
        return 0.5 * self.at(seen) * squared_gradient(of_fake or critic, generated(fake, "r2"))


@dataclass(frozen=True)
class R1R2(ZeroCentred):
    """R1 + R2 with one gamma (Huang et al. 2024, section 2). [b, ...] -> [b].

    Raises UserError without generated images.
    """

    def __call__(
        self, critic: Critic, real: Images, fake: Fake, keys: Keys, seen: ArrayLike, of_fake: Critic | None = None
    ) -> Penalty:
        both = squared_gradient(critic, real) + squared_gradient(of_fake or critic, generated(fake, "r1_r2"))
        return 0.5 * self.at(seen) * both


@dataclass(frozen=True)
class UnitNorm:
    """What WGAN-GP and DRAGAN have in common: weight (|grad_x D(x)| - norm)^2 at points of their own."""

    weight: float = 10.0  # lambda; Gulrajani et al. 2017, section 4; Kodali et al. 2017 alike
    norm: float = 1.0  # of the gradient, that is asked for: a Lipschitz constant

    def __post_init__(self):
        if not self.weight >= 0:
            raise UserError(f"penalty.weight: {self.weight} must not be negative; 0 switches the penalty off")
        if not self.norm >= 0:
            raise UserError(f"penalty.norm: {self.norm} is the norm of a gradient and must not be negative")

    def around(self, critic: Critic, x: Images) -> Penalty:
        """weight (|grad_x D(x)| - norm)^2 of each image. [b, ...] -> [b]."""
        return self.weight * (safe_sqrt(squared_gradient(critic, x)) - self.norm) ** 2


@dataclass(frozen=True)
class GradientPenalty(UnitNorm):
    """WGAN-GP: weight (|grad_x D(x_hat)| - norm)^2 (Gulrajani et al. 2017, eq. 3). [b, ...] -> [b].

    x_hat = u real + (1 - u) fake, u ~ U[0, 1) drawn once for a pair, from the key of the example. Raises UserError
    without generated images.
    """

    def __call__(
        self, critic: Critic, real: Images, fake: Fake, keys: Keys, seen: ArrayLike, of_fake: Critic | None = None
    ) -> Penalty:
        fake = generated(fake, "wgan_gp")
        u = jax.vmap(lambda key: jax.random.uniform(key, (), real.dtype))(keys)
        u = u.reshape(-1, *[1] * (real.ndim - 1))
        return self.around(critic, u * real + (1 - u) * fake)


@dataclass(frozen=True)
class DRAGAN(UnitNorm):
    """weight (|grad_x D(real + delta)| - norm)^2, delta ~ N(0, noise^2 I) (Kodali et al. 2017, eq. 1). -> [b].

    The paper's equation, whose c is noise^2, each image's delta drawn from its key. The published code draws 0.5 s u,
    u ~ U[0, 1) a pixel, with s the standard deviation of all pixels in the batch, and then moves a random fraction of
    the way there; its authors call both superseded by the equation (their repository, issues 5 and 6). Here they would
    make an image's penalty depend on the other images on its device, and brighten every image besides.
    """

    noise: float = 0.15  # model units; as large as the code's 0.5 s u, root mean square, at s = 0.5 (CIFAR-10's)

    def __post_init__(self):
        super().__post_init__()
        if not self.noise >= 0:
            raise UserError(f"penalty.noise: {self.noise} is a standard deviation and must not be negative")

    def __call__(
        self, critic: Critic, real: Images, fake: Fake, keys: Keys, seen: ArrayLike, of_fake: Critic | None = None
    ) -> Penalty:
        delta = jax.vmap(lambda key: jax.random.normal(key, real.shape[1:], real.dtype))(keys)
        return self.around(critic, real + self.noise * delta)


def squared_gradient(critic: Critic, x: Images) -> Penalty:
    """|grad_x D(x)|^2 of each image, summed over its pixels. [b, ...] -> [b]."""
    gradient = jax.grad(lambda x: jnp.sum(critic(x)))(x)
    return jnp.sum(gradient**2, axis=tuple(range(1, x.ndim)))


def safe_sqrt(square: Penalty) -> Penalty:
    """sqrt, with the derivative 0 instead of infinity at exactly 0; what is not a number stays so.

    A norm has no gradient at 0, but 0 is one of its subgradients; the chain rule would make it infinity times 0. The
    inner `where` keeps the root itself away from 0: its derivative would be infinite even where it is not chosen.
    """
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))


def generated(fake: Fake, name: str) -> Images:
    """The generated images that a penalty of this name cannot do without."""
    if fake is None:
        raise UserError(f"penalty: {name} needs generated images and was given none; r1 and dragan need none")
    return fake


def clip_weights(params: Any, c: float) -> Any:
    """Every parameter to its nearest value in [-c, c], biases too (Arjovsky et al. 2017, algorithm 1, line 7).

    Not a penalty but a projection, for after the discriminator's update: any tree -> the same tree. The paper's c is
    0.01. It holds the critic to some Lipschitz constant, which grows with c and with every layer.
    """
    return jax.tree.map(lambda w: jnp.clip(w, -c, c), params)
