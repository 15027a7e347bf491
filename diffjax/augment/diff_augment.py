"""DiffAugment: a few plain transformations, always on."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from diffjax.augment.augment import Augment, History, Images, Keys, each
from diffjax.augment.draws import Draws, integer
from diffjax.augment.warp import Image
from diffjax.errors import UserError

Units = Float[Array, "3"]  # uniform in [0, 1)
SHIFT, BOX = 0.125, 0.5  # shares of a side: the largest translation, and the box that is cut out


@dataclass(frozen=True)
class DiffAugment(Augment):
    """Differentiable Augmentation for Data-Efficient GAN Training (Zhao et al. 2020), any number of channels.

    The words of the policy are applied in their order, each with probability p, which is 1 throughout training.
    """

    policy: tuple[str, ...] = ("color", "translation", "cutout")  # the paper's; some of these, in any order

    def __post_init__(self):
        for word in self.policy:
            if word not in POLICIES:
                raise UserError(f"augment.policy: {word!r} is not one of {', '.join(POLICIES)}")

    def strength(self, history: History, seen: ArrayLike) -> Float[Array, ""]:
        return jnp.ones(())

    def __call__(self, x: Images, keys: Keys, p: ArrayLike) -> Images:
        def one(x, key):
            draws = Draws.of(key, tuple(POLICIES))
            for word in self.policy:
                x = jnp.where(draws.coin(word, p), POLICIES[word](x, draws.values(word)), x)
            return x

        return each(one, x, keys).astype(x.dtype)


def color(x: Image, units: Units) -> Image:
    """Brightness by +-0.5, then saturation by 0 to 2, then contrast by 0.5 to 1.5; the image spans [-1, 1].

    Saturation scales each pixel's channels about their mean (nothing, if there is one), contrast the whole image.
    """
    brightness, saturation, contrast = units.astype(x.dtype)
    x = x + brightness - 0.5
    x = scaled_about(x.mean(-1, keepdims=True), x, 2 * saturation)
    return scaled_about(x.mean(), x, contrast + 0.5)


def scaled_about(middle, x, factor):
    return middle + factor * (x - middle)


def pixels(share: float, size: int) -> int:
    """A share of a side in whole pixels, a half rounded up, as in the authors' code."""
    return int(size * share + 0.5)


def translation(x: Image, units: Units) -> Image:
    """By up to an eighth of each side, in whole pixels; what comes in is 0."""
    for axis, unit in enumerate(units[:2]):
        size = x.shape[axis]
        most = pixels(SHIFT, size)
        at = jnp.arange(size) + integer(unit, -most, most + 1)
        inside = jnp.expand_dims((at >= 0) & (at < size), (1 - axis, 2))
        x = jnp.where(inside, jnp.take(x, jnp.clip(at, 0, size - 1), axis), 0)
    return x


def cutout(x: Image, units: Units) -> Image:
    """A box of half of each side set to 0, its centre anywhere in the image."""
    inside = True
    for axis, unit in enumerate(units[:2]):
        size = x.shape[axis]
        box = pixels(BOX, size)
        start = integer(unit, 0, size + 1 - box % 2) - box // 2
        at = jnp.arange(size)
        inside = inside & jnp.expand_dims((at >= start) & (at < start + box), (1 - axis, 2))
    return jnp.where(inside, 0, x)


POLICIES = {"color": color, "translation": translation, "cutout": cutout}
