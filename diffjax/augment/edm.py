"""Non-leaky augmentation for diffusion models: the network is told what was done, and asked at sampling for nothing."""

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

# How far each goes (Karras et al. 2022, table 6).
SCALE_STD = 0.2  # of log2, normal
ANISO_STD = 0.2  # of log2, normal
ANISO_ROTATED = 0.5  # share of anisotropic scalings along axes other than the image's own
TRANSLATE_STD = 0.125  # of the image's side, normal


@dataclass(frozen=True)
class EdmAugment:
    """Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al. 2022, appendix F.2, table 6).

    Images [b, h, w, c] and a key for each -> (images, labels [b, 9] float32). The nine labels of an image are 0 where
    nothing was done to it; in the order of the published networks

        x-flip, y-flip, a0, cos a1 - 1, sin a1, a2 cos a3, a2 sin a3, a4, a5,

    with size 2^(0.2 a0), a turn by a1, aspect 2^(0.2 a2) along axes turned by a3, and a shift to the right and down by
    a4 and a5 eighths of the image's side; angles anticlockwise. Along turned axes the labels leave the sign of a2 open,
    as the published ones do. x-flips are always drawn (half of all images), the others with probability p. Without
    `mirror` there are none in x or y: digits and letters are others in a mirror.
    """

    p: float = 0.12  # CIFAR-10; FFHQ and AFHQ 0.15, appendix F.2; 0: nothing at all, x-flips included
    mirror: bool = True
    labels: ClassVar[int] = 9

    def __post_init__(self):
        if not 0 <= self.p <= 1:
            raise UserError(f"augment.p: {self.p} is not between 0 and 1")

    def __call__(self, x: Images, keys: Keys) -> tuple[Images, Float[Array, "b 9"]]:
        moved, labels = each(self.one, x, keys)
        return moved.astype(x.dtype), labels

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
        turned = (jnp.cos(angle) - 1, jnp.sin(angle), aspect * jnp.cos(axis), aspect * jnp.sin(axis))
        return x, jnp.stack([x_flip, y_flip, size, *turned, right, down]).astype(jnp.float32)
