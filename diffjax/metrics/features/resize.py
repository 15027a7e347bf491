"""Resizes images for feature networks as in published protocols; each resize is a pair of matrices.

    y = R x C^T for each channel, R [size, h], C [size, w], applied on the device in float32 (never in fewer bits)

tf1    bilinear between the pixels around i * h / size, no antialias: TensorFlow 1; torch-fidelity
torch  bilinear between the pixels around (i + 1/2) h / size - 1/2, no antialias: pytorch-fid
clean  bicubic with antialias in floating point, clipped to 0..255: clean-fid; dgm-eval with --clean_resize
pil    bicubic with antialias as in Pillow for 8-bit images, rounded along rows and then along columns: dgm-eval, and
       EDM2's exact variant. (Pillow 13 does columns first if they shrink much more; published numbers do not.)

They give different metrics, over 6 FID apart on faces. Only antialiased ones use all pixels of a large image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float64, Shaped

from diffjax.errors import UserError

BITS = 22  # fraction bits of Pillow's fixed-point weights for 8-bit images
LOW = 7  # bits of the low part of a weight: sums of products with either part are then exact in float32


@dataclass(frozen=True)
class Resize:
    """A separable resize: the matrix [size, n] of one axis, from (n, size), and the arithmetic."""

    matrix: Callable[[int, int], Float64[np.ndarray, "size n"]]
    clip: bool = False  # clip to 0..255; interpolation without negative weights needs no clipping
    integer: bool = False  # Pillow's integer arithmetic, with rounding to 8 bits after each axis


def resize(images: Shaped[ArrayLike, "n h w c"], size: int, protocol: str) -> Float[Array, "n size size c"]:
    """Resizes pixels in 0..255, uint8 or float, to float32 of size x size, by one of the protocols above.

    Raises UserError for an unknown protocol.
    """
    if protocol not in RESIZES:
        raise UserError(f"resize: {protocol!r} is not one of {', '.join(RESIZES)}")
    method = RESIZES[protocol]
    x = jnp.asarray(images, jnp.float32)
    rows, columns = (method.matrix(n, size) for n in x.shape[1:3])
    apply_axis = _integer if method.integer else _along
    x = apply_axis("jw,nhwc->nhjc", columns, x)  # Pillow's order, which matters as it rounds in between
    x = apply_axis("ih,nhjc->nijc", rows, x)
    return jnp.clip(x, 0, 255) if method.clip else x


def _along(axes: str, matrix: np.ndarray, x: Array) -> Array:
    return jnp.einsum(axes, jnp.asarray(matrix, jnp.float32), x, precision=lax.Precision.HIGHEST)


def _integer(axes: str, matrix: np.ndarray, x: Array) -> Array:
    """Pillow's 8-bit arithmetic: weights are multiples of 2^-22; the sum is rounded, halves up, and clipped to 0..255.

    A sum has 31 bits, a float32 24. With weights k = 2^7 a + b, |b| <= 64, the sums of a x (below 2^15 * 255 times the
    weights' absolute sum, 1.3) and of b x (at most 1000 weights) have 24 bits each, and are combined as integers.
    """
    weights = np.trunc(matrix * 2**BITS + np.copysign(0.5, matrix))
    high = np.rint(weights / 2**LOW)
    low = weights - high * 2**LOW
    high, low = (_along(axes, weight, x).astype(jnp.int32) for weight in (high, low))
    total = (high << LOW) + low + (1 << (BITS - 1))
    return jnp.clip(total >> BITS, 0, 255).astype(jnp.float32)


def _between(positions: np.ndarray, n: int) -> np.ndarray:
    """The matrix of linear interpolation at positions given in pixels from the centre of the first of n."""
    size, row = len(positions), np.arange(len(positions))
    left = np.floor(positions).astype(int)
    fraction = positions - left
    matrix = np.zeros((size, n))
    np.add.at(matrix, (row, left), 1 - fraction)
    np.add.at(matrix, (row, np.minimum(left + 1, n - 1)), fraction)
    return matrix


def _tf1(n: int, size: int) -> np.ndarray:
    scale = np.float32(n / size)  # TensorFlow computes the grid in float32
    return _between(np.arange(size, dtype=np.float32) * scale, n)


def _torch(n: int, size: int) -> np.ndarray:
    scale, half = np.float32(n / size), np.float32(0.5)  # PyTorch does, too
    return _between(np.clip((np.arange(size, dtype=np.float32) + half) * scale - half, 0, n - 1), n)


def _pillow(n: int, size: int) -> np.ndarray:
    """Pillow's bicubic matrix (a = -1/2): widened by the scale when shrinking, normalised within the image."""
    scale = n / size
    support = max(scale, 1.0)
    centre = (np.arange(size)[:, None] + 0.5) * scale
    first = np.trunc(np.maximum(centre - 2 * support + 0.5, 0))
    end = np.trunc(np.minimum(centre + 2 * support + 0.5, n))
    pixels = np.arange(n)
    x = np.abs(pixels - centre + 0.5) / support
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0)) * ((pixels >= first) & (pixels < end))
    return weights / weights.sum(axis=1, keepdims=True)


RESIZES = {
    "tf1": Resize(_tf1),
    "torch": Resize(_torch),
    "clean": Resize(_pillow, clip=True),
    "pil": Resize(_pillow, integer=True),
}
