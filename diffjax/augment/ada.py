"""ADA: augmentation whose probability adapts to the discriminator's overfitting, or follows a ramp."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from diffjax.augment.augment import Augment, History, Images, Keys, each
from diffjax.augment.blit import flip, shift, turn
from diffjax.augment.colour import recolour
from diffjax.augment.draws import Draws, happens
from diffjax.augment.warp import Image, compose, rotation, scaling, translation, warp
from diffjax.errors import UserError
from diffjax.ramp import cosine_ramp

SHARES = (
    ("xflip", "rotate90", "xint")
    + ("scale", "rotate", "aniso", "xfrac")
    + ("brightness", "contrast", "lumaflip", "hue", "saturation", "cutout")
)
DRAWS = (*SHARES, "rotate after")  # "rotate" is the first of the two rotations

# Strength of each transformation (Karras et al. 2020, appendix B). Lengths are fractions of the image's side.
XINT_MAX = 0.125  # uniform
SCALE_STD = 0.2  # of log2, normal
ANISO_STD = 0.2  # of log2, normal
XFRAC_STD = 0.125  # normal
BRIGHTNESS_STD = 0.2  # normal; the image spans [-1, 1]
CONTRAST_STD = 0.5  # of log2, normal
SATURATION_STD = 1.0  # of log2, normal
CUTOUT_SIZE = 0.5


@dataclass(frozen=True)
class Ada(Augment):
    """Training Generative Adversarial Networks with Limited Data (Karras et al. 2020, section 3 and appendix B).

    Each transformation is applied with probability p times its share. p follows r_t = E[sign D(real)], a measure of the
    discriminator's overfitting: it rises while r_t is above the target and falls while r_t is below, at a rate that
    takes it from 0 to 1 in `images` images. Above 1 it counts as 1, but has to come down from there. With target 0, p
    ramps from `p` to `p_last` instead, as in R3GAN. The defaults are the paper's choice, "bgc". Its frequency filters
    and noise are not part of "bgc" and are left out.
    """

    target: float = 0.6  # target of r_t, section 3; 0: p does not adapt
    every: int = 4  # discriminator updates between adjustments, section 3
    images: float = 500_000.0  # training images in which p can go from 0 to 1, section 3
    p: float = 0.0  # initial probability
    p_last: float = 0.0  # probability at the end of the ramp; R3GAN on CIFAR-10: 0.55
    ramp_images: float = 0.0  # length of the ramp in images; 0: no ramp; R3GAN on CIFAR-10: 20 million
    xflip: float = 1.0  # shares: relative probabilities, all 1 in the paper
    rotate90: float = 1.0
    xint: float = 1.0
    scale: float = 1.0
    rotate: float = 1.0
    aniso: float = 1.0
    xfrac: float = 1.0
    brightness: float = 1.0  # R3GAN on CIFAR-10: 0.5 for all five colour transformations
    contrast: float = 1.0
    lumaflip: float = 1.0
    hue: float = 1.0
    saturation: float = 1.0
    cutout: float = 0.0  # R3GAN on CIFAR-10: 1

    def __post_init__(self):
        for field in ("target", "p", "p_last", *SHARES):
            if not 0 <= getattr(self, field) <= 1:
                raise UserError(f"augment.{field}: {getattr(self, field)} must be between 0 and 1")
        if self.every < 1:
            raise UserError(f"augment.every: {self.every} must be at least 1 update")
        if not self.images > 0:
            raise UserError(f"augment.images: {self.images} must be positive")
        if not self.ramp_images >= 0:
            raise UserError(f"augment.ramp_images: {self.ramp_images} must not be negative; 0 means no ramp")
        if self.p_last and not self.ramp_images:
            raise UserError(
                f"augment.p_last: {self.p_last} is never reached with augment.ramp_images 0; set ramp_images"
            )
        if self.target and self.ramp_images:
            raise UserError(
                f"augment.ramp_images: {self.ramp_images} must be 0 while p adapts; set augment.target to 0 for a ramp"
            )

    def init(self) -> History:
        if not self.target:
            return {}
        return {"p": jnp.float32(self.p), "signs": jnp.float32(0), "updates": jnp.int32(0)}

    def strength(self, history: History, seen: ArrayLike) -> Float[Array, ""]:
        return history["p"] if self.target else cosine_ramp(seen, self.p, self.p_last, self.ramp_images)

    def update(self, history: History, signs: ArrayLike, batch_size: float | int) -> History:
        if not self.target:
            return history
        total, updates = history["signs"] + jnp.float32(signs), history["updates"] + 1
        is_due = updates >= self.every
        direction = jnp.sign(total / updates - self.target)
        p = jnp.maximum(history["p"] + direction * (batch_size * self.every / self.images), 0)
        return {
            "p": jnp.where(is_due, p, history["p"]),
            "signs": jnp.where(is_due, 0, total),
            "updates": jnp.where(is_due, 0, updates),
        }

    def __call__(self, x: Images, keys: Keys, p: ArrayLike) -> Images:
        def transform(x, key):
            draws = Draws.of(key, DRAWS)
            for stage in (self.blit, self.move, self.paint, self.cut):
                x = stage(x, draws, p)
            return x

        return each(transform, x, keys).astype(x.dtype)

    def blit(self, x: Image, draws: Draws, p: ArrayLike) -> Image:
        """Whole-pixel transformations: x-flip, quarter turns, integer translation."""
        x = flip(x, draws.integer("xflip", self.xflip * p, 2))
        x = turn(x, draws.integer("rotate90", self.rotate90 * p, 4))
        h, w, _ = x.shape
        right, down = XINT_MAX * draws.uniform("xint", self.xint * p)[:2]
        return shift(x, jnp.round(right * w).astype(jnp.int32), jnp.round(down * h).astype(jnp.int32))

    def move(self, x: Image, draws: Draws, p: ArrayLike) -> Image:
        """Isotropic scale, rotation, anisotropic scale, rotation, fractional translation: a single warp for all five.

        Each of the two rotations has probability 1 - sqrt(1 - p), so that at least one happens with probability p.
        """
        if not (self.scale or self.rotate or self.aniso or self.xfrac):
            return x
        h, w, _ = x.shape
        p_rotation = 1 - jnp.sqrt(jnp.maximum(1 - self.rotate * p, 0))
        values = (
            draws.normal("scale", self.scale * p)[0],
            draws.uniform("rotate", p_rotation)[0],
            draws.normal("aniso", self.aniso * p)[0],
            draws.uniform("rotate after", p_rotation)[0],
            *draws.normal("xfrac", self.xfrac * p)[:2],
        )
        size, angle_1, aspect, angle_2, right, down = values
        size, aspect = 2 ** (SCALE_STD * size), 2 ** (ANISO_STD * aspect)
        inverse = compose(
            scaling(1 / size, 1 / size),
            rotation(jnp.pi * angle_1),
            scaling(1 / aspect, aspect),
            rotation(jnp.pi * angle_2),
            translation(-XFRAC_STD * w * right, -XFRAC_STD * h * down),
        )
        return jnp.where(happens(*values), warp(x, inverse), x)

    def paint(self, x: Image, draws: Draws, p: ArrayLike) -> Image:
        """Colour transformations. Hue and saturation do nothing to images of one channel."""
        if not (self.brightness or self.contrast or self.lumaflip or self.hue or self.saturation):
            return x
        values = (
            draws.normal("brightness", self.brightness * p)[0],
            draws.normal("contrast", self.contrast * p)[0],
            draws.integer("lumaflip", self.lumaflip * p, 2),
            draws.uniform("hue", self.hue * p)[0],
            draws.normal("saturation", self.saturation * p)[0],
        )
        brightness, contrast, luma_flip, hue, saturation = values
        contrast, saturation = 2 ** (CONTRAST_STD * contrast), 2 ** (SATURATION_STD * saturation)
        recoloured = recolour(x, BRIGHTNESS_STD * brightness, contrast, luma_flip, jnp.pi * hue, saturation)
        return jnp.where(happens(*values), recoloured, x)

    def cut(self, x: Image, draws: Draws, p: ArrayLike) -> Image:
        """Sets a box of half of each side, centred anywhere in the image, to 0."""
        if not self.cutout:
            return x
        h, w, _ = x.shape
        x_centre, y_centre = draws.values("cutout")[:2]
        columns = abs((jnp.arange(w) + 0.5) / w - x_centre) < CUTOUT_SIZE / 2
        rows = abs((jnp.arange(h) + 0.5) / h - y_centre) < CUTOUT_SIZE / 2
        box = (rows[:, None] & columns[None, :])[..., None]
        return jnp.where(box & draws.coin("cutout", self.cutout * p), 0, x)
