"""DiffAugment: a few simple transformations, always on."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from diffjax.augment.augment import Augment, History, Images, Keys, each
from diffjax.augment.draws import Draws, integer
from diffjax.augment.warp import Image
from diffjax.errors import UserError

Units = Float[Array, "3"]  # uniform in [0, 1)
SHIFT, BOX = 0.125, 0.5  # fractions of a side: the largest translation, and the box of cutout


@dataclass(frozen=True)
class DiffAugment(Augment):
    """Differentiable Augmentation for Data-Efficient GAN Training (Zhao et al. 2020), for any number of channels.

    The transformations of the policy are applied in order, each with probability p, which is 1 throughout training.
    """

    policy: tuple[str, ...] = ("color", "translation", "cutout")  # any subset in any order; all three in the paper

    def __post_init__(self):
        for name in self.policy:
            if name not in POLICIES:
                raise UserError(f"augment.policy: {name!r} is not one of {', '.join(POLICIES)}")

    def strength(self, history: History, seen: ArrayLike) -> Float[Array, ""]:
        return jnp.ones(())

    def __call__(self, x: Images, keys: Keys, p: ArrayLike) -> Images:
        def transform(x, key):
            draws = Draws.of(key, tuple(POLICIES))
            for name in self.policy:
                x = jnp.where(draws.coin(name, p), POLICIES[name](x, draws.values(name)), x)
            return x

        return each(transform, x, keys).astype(x.dtype)


def color(x: Image, units: Units) -> Image:
    """Brightness by +-0.5, then saturation by 0 to 2, then contrast by 0.5 to 1.5, for images in [-1, 1].

    Saturation scales each pixel's channels about their mean (it does nothing to a single channel), contrast the whole
    image about its mean.
    """
    brightness, saturation, contrast = units.astype(x.dtype)
    x = x + brightness - 0.5
    x = scaled_about(x.mean(-1, keepdims=True), x, 2 * saturation)
    return scaled_about(x.mean(), x, contrast + 0.5)


def scaled_about(middle, x, factor):
    return middle + factor * (x - middle)


def pixels(share: float, size: int) -> int:
    """A fraction of a side in whole pixels, with halves rounded up as in the authors' code."""
    return int(size * share + 0.5)


def translation(x: Image, units: Units) -> Image:
    """Shifts by up to an eighth of each side, in whole pixels; fills with 0."""
    for axis, unit in enumerate(units[:2]):
        size = x.shape[axis]
        max_shift = pixels(SHIFT, size)
        source = jnp.arange(size) + integer(unit, -max_shift, max_shift + 1)
        valid = jnp.expand_dims((source >= 0) & (source < size), (1 - axis, 2))
        x = jnp.where(valid, jnp.take(x, jnp.clip(source, 0, size - 1), axis), 0)
    return x


def cutout(x: Image, units: Units) -> Image:
    """Sets a box of half of each side, centred anywhere in the image, to 0."""
    mask = True
    for axis, unit in enumerate(units[:2]):
        size = x.shape[axis]
        box = pixels(BOX, size)
        start = integer(unit, 0, size + 1 - box % 2) - box // 2
        i = jnp.arange(size)
        mask = mask & jnp.expand_dims((i >= start) & (i < start + box), (1 - axis, 2))
    return jnp.where(mask, 0, x)


POLICIES = {"color": color, "translation": translation, "cutout": cutout}
