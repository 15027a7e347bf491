"""Images of any size as a feature network was fed them: the resizes of published protocols, as two matrices each.

    y = R x C^T for each channel, R [size, h], C [size, w], applied on the device in float32 (never in fewer bits)

tf1    bilinear between the pixels around i * h / size, no antialias: TensorFlow 1 as it was; torch-fidelity
torch  bilinear between the pixels around (i + 1/2) h / size - 1/2, no antialias: pytorch-fid
clean  bicubic with antialias in floating point, cut to 0..255: clean-fid; dgm-eval with --clean_resize
pil    bicubic with antialias as Pillow resizes 8-bit images, rounded along rows and then along columns: dgm-eval, and
       EDM2's exact variant. (Pillow 13 takes the columns first where they shrink much more; published numbers do not.)

They are different metrics: beyond 6 FID apart on faces. Only those with antialias see all pixels of a large image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float64, Shaped

from diffjax.errors import UserError

BITS = 22  # of the fraction in Pillow's 8-bit weights
LOW = 7  # of these, the bits of the smaller part: both parts of a sum of products are then exact in float32


@dataclass(frozen=True)
class Resize:
    """One axis of a resize as a matrix [size, n] for (n, size), and what becomes of the result."""

    matrix: Callable[[int, int], Float64[np.ndarray, "size n"]]
    clip: bool = False  # cut to 0..255; interpolation without negative weights stays there by itself
    integer: bool = False  # in Pillow's integer arithmetic, to 8 bits, each axis by itself


def resize(images: Shaped[ArrayLike, "n h w c"], size: int, protocol: str) -> Float[Array, "n size size c"]:
    """Pixels 0..255, uint8 or float, as float32 of size x size, by one of the protocols above.

    Raises UserError for a protocol unknown.
    """
    if protocol not in RESIZES:
        raise UserError(f"resize: {protocol!r} is not one of {', '.join(RESIZES)}")
    how = RESIZES[protocol]
    x = jnp.asarray(images, jnp.float32)
    rows, columns = (how.matrix(n, size) for n in x.shape[1:3])
    along = _integer if how.integer else _along
    x = along("jw,nhwc->nhjc", columns, x)  # in Pillow's order: it rounds in between
    x = along("ih,nhjc->nijc", rows, x)
    return jnp.clip(x, 0, 255) if how.clip else x


def _along(axes: str, matrix: np.ndarray, x: Array) -> Array:
    return jnp.einsum(axes, jnp.asarray(matrix, jnp.float32), x, precision=lax.Precision.HIGHEST)


def _integer(axes: str, matrix: np.ndarray, x: Array) -> Array:
    """Pillow's 8-bit arithmetic: weights as multiples of 2^-22, the sum rounded to nearest, halves up, cut to 0..255.

    A sum has 31 bits, a float32 24. With weights k = 2^7 a + b, |b| <= 64, the sums of a x (below 2^15 * 255 times the
    weights' absolute sum, 1.3) and of b x (1000 weights or fewer) have 24 each, and are put together as integers.
    """
    weights = np.trunc(matrix * 2**BITS + np.copysign(0.5, matrix))
    high = np.rint(weights / 2**LOW)
    low = weights - high * 2**LOW
    high, low = (_along(axes, part, x).astype(jnp.int32) for part in (high, low))
    total = (high << LOW) + low + (1 << (BITS - 1))
    return jnp.clip(total >> BITS, 0, 255).astype(jnp.float32)


def _between(positions: np.ndarray, n: int) -> np.ndarray:
    """The matrix of linear interpolation at these positions, in pixels from the centre of the first of n."""
    size, row = len(positions), np.arange(len(positions))
    before = np.floor(positions).astype(int)
    share = positions - before
    matrix = np.zeros((size, n))
    np.add.at(matrix, (row, before), 1 - share)
    np.add.at(matrix, (row, np.minimum(before + 1, n - 1)), share)
    return matrix


def _tf1(n: int, size: int) -> np.ndarray:
    scale = np.float32(n / size)  # the grid is one of float32 numbers there, and so here
    return _between(np.arange(size, dtype=np.float32) * scale, n)


def _torch(n: int, size: int) -> np.ndarray:
    scale, half = np.float32(n / size), np.float32(0.5)  # and here
    return _between(np.clip((np.arange(size, dtype=np.float32) + half) * scale - half, 0, n - 1), n)


def _pillow(n: int, size: int) -> np.ndarray:
    """Bicubic (a = -1/2), widened by the scale when it shrinks, over the pixels inside; weights that sum to 1."""
    scale = n / size
    wide = max(scale, 1.0)
    centre = (np.arange(size)[:, None] + 0.5) * scale
    first = np.trunc(np.maximum(centre - 2 * wide + 0.5, 0))
    end = np.trunc(np.minimum(centre + 2 * wide + 0.5, n))
    pixel = np.arange(n)
    x = np.abs(pixel - centre + 0.5) / wide
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0)) * ((pixel >= first) & (pixel < end))
    return weights / weights.sum(axis=1, keepdims=True)


RESIZES = {
    "tf1": Resize(_tf1),
    "torch": Resize(_torch),
    "clean": Resize(_pillow, clip=True),
    "pil": Resize(_pillow, integer=True),
}
