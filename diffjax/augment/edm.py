"""Non-leaky augmentation for diffusion models: the network is told the transformation, and sampling asks for none."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from diffjax.augment.augment import Images, Keys, each
from diffjax.augment.blit import flip
from diffjax.augment.draws import Draws, happens
from diffjax.augment.warp import Image, compose, rotation, scaling, translation, warp
from diffjax.errors import UserError

DRAWS = ("xflip", "yflip", "scale", "rotate", "aniso", "axis", "translate")

# Strength of each transformation (Karras et al. 2022, table 6).
SCALE_STD = 0.2  # of log2, normal
ANISO_STD = 0.2  # of log2, normal
ANISO_ROTATED = 0.5  # fraction of anisotropic scalings along rotated axes
TRANSLATE_STD = 0.125  # of the image's side, normal


@dataclass(frozen=True)
class EdmAugment:
    """Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al. 2022, appendix F.2, table 6).

    Images [b, h, w, c] and one key each -> (images, labels [b, 9] float32). An image's nine labels are all 0 where
    nothing was done to it. In the order of the published networks they are

        x-flip, y-flip, a0, cos a1 - 1, sin a1, a2 cos a3, a2 sin a3, a4, a5,

    where 2^(0.2 a0) is the scale, a1 the rotation, 2^(0.2 a2) the aspect along axes rotated by a3, and a4 and a5 the
    shift to the right and down in eighths of the image's side. Angles are anticlockwise. For rotated axes the labels
    leave the sign of a2 ambiguous, as in the published code. x-flips are always drawn (half of all images are flipped),
    the others with probability p. `mirror=False` leaves out flips in x and y, which would turn digits and letters into
    other symbols.
    """

    p: float = 0.12  # CIFAR-10; FFHQ and AFHQ 0.15, appendix F.2; 0: no augmentation, not even x-flips
    mirror: bool = True
    labels: ClassVar[int] = 9  # numbers that tell the network the transformation

    def __post_init__(self):
        if not 0 <= self.p <= 1:
            raise UserError(f"augment.p: {self.p} must be between 0 and 1")

    def __call__(self, x: Images, keys: Keys) -> tuple[Images, Float[Array, "b 9"]]:
        images, labels = each(self.one, x, keys)
        return images.astype(x.dtype), labels

    def one(self, x: Image, key: Key[Array, ""]) -> tuple[Image, Float[Array, "9"]]:
        draws, p = Draws.of(key, DRAWS), self.p
        h, w, _ = x.shape
        x_flip = draws.integer("xflip", float(p > 0 and self.mirror), 2)
        y_flip = draws.integer("yflip", p if self.mirror else 0.0, 2)
        size = draws.normal("scale", p)[0]
        angle = jnp.pi * draws.uniform("rotate", p)[0]
        aspect = draws.normal("aniso", p)[0]
        axis = jnp.pi * draws.uniform("axis", ANISO_ROTATED)[0]
        right, down = draws.normal("translate", p)[:2]

        inverse = compose(
            scaling(2 ** (-SCALE_STD * size), 2 ** (-SCALE_STD * size)),
            rotation(angle),
            rotation(-axis),
            scaling(2 ** (-ANISO_STD * aspect), 2 ** (ANISO_STD * aspect)),
            rotation(axis),
            translation(-TRANSLATE_STD * w * right, -TRANSLATE_STD * h * down),
        )
        x = flip(x, x_flip, y_flip)
        x = jnp.where(happens(size, angle, aspect, right, down), warp(x, inverse), x)
        angle_labels = (jnp.cos(angle) - 1, jnp.sin(angle), aspect * jnp.cos(axis), aspect * jnp.sin(axis))
        return x, jnp.stack([x_flip, y_flip, size, *angle_labels, right, down]).astype(jnp.float32)
