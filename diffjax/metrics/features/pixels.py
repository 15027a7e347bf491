"""Raw pixels as features, in [0, 1]."""

import math
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Shaped

from diffjax.metrics.features.extractor import Extractor, Outputs, check_pixels


def pixels(shape: tuple[int, int, int]) -> Extractor:
    """An extractor of h w c features in [0, 1] from images of shape [h, w, c], without resizing."""
    protocol = {"network": "pixels", "resize": "none", "range": "x / 255"}
    return Extractor("pixels", math.prod(shape), protocol, {}, _apply)


def _apply(variables: Any, images: Shaped[ArrayLike, "n h w c"]) -> Outputs:
    x = check_pixels(images)
    return Outputs(x.reshape(len(x), -1).astype(jnp.float32) / 255)
