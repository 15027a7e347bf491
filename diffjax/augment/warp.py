"""Warps an image by any affine map: 2x upsampling, interpolation between pixels, downsampling with the same filter.

Follows "Training Generative Adversarial Networks with Limited Data" (Karras et al. 2020, appendix B), with two changes.

First, the filter. The paper's is sym6, a wavelet with six vanishing moments that is orthogonal but not symmetric: it
delays each frequency differently, so that a half turn through it shifts the image by 0.4 pixels and smears it. The
filter here is its zero-phase counterpart with the same magnitude response (which all orthogonal wavelets with six
vanishing moments share). It is still orthogonal, so that down after up is the identity, and now rotations by 90 degrees
and flips are exact too.

Second, the borders. The image is mirrored indefinitely, rather than once and then black. This needs no padding that
depends on the rest of the batch.

Everything here is linear in the image. The functions take one image; use `jax.vmap` for a batch.
"""

from functools import lru_cache, reduce
from math import comb

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

Image = Float[Array, "h w c"]
Matrix = Float[Array, "3 3"]

MARGIN = 6  # samples (half pixels) computed beyond the border; farther samples are taken as mirrored


def scaling(x: ArrayLike, y: ArrayLike) -> Matrix:
    """(u, v) -> (x u, y v), in homogeneous coordinates."""
    return matrix((x, 0, 0), (0, y, 0))


def rotation(angle: ArrayLike) -> Matrix:
    """(u, v) -> (u cos - v sin, u sin + v cos), in homogeneous coordinates.

    The angle is in radians. v points down, so this rotates clockwise.
    """
    return matrix((jnp.cos(angle), -jnp.sin(angle), 0), (jnp.sin(angle), jnp.cos(angle), 0))


def translation(x: ArrayLike, y: ArrayLike) -> Matrix:
    """(u, v) -> (u + x, v + y), in homogeneous coordinates."""
    return matrix((1, 0, x), (0, 1, y))


def matrix(*rows: tuple[ArrayLike, ArrayLike, ArrayLike]) -> Matrix:
    """The affine map with the two given rows; its third row is (0, 0, 1)."""
    numbers = [number for row in (*rows, (0, 0, 1)) for number in row]
    return jnp.stack([jnp.asarray(number, jnp.result_type(float, *numbers)) for number in numbers]).reshape(3, 3)


def compose(*matrices: Matrix) -> Matrix:
    """The matrix product, left to right, in full precision (the default of a GPU or TPU has fewer bits)."""
    return reduce(lambda a, b: jnp.matmul(a, b, precision=lax.Precision.HIGHEST), matrices)


def warp(x: Image, inverse: Matrix) -> Image:
    """out(q) = in(inverse q), where q = (column, row) in pixels from the image's centre. [h, w, c] -> [h, w, c]."""
    h, w, _ = x.shape
    up_rows, up_columns = (jnp.asarray(upsampling(size), x.dtype) for size in (h, w))
    down_rows, down_columns = (jnp.asarray(downsampling(size), x.dtype) for size in (h, w))

    column, row = (jnp.arange(-MARGIN, 2 * size - 1 + MARGIN) / 2 - (size - 1) / 2 for size in (w, h))
    (a, b, c), (d, e, f) = inverse[0], inverse[1]
    source_column = 2 * (a * column[None, :] + b * row[:, None] + c) + (w - 1)
    source_row = 2 * (d * column[None, :] + e * row[:, None] + f) + (h - 1)

    upsampled = between(up_rows, x, up_columns)
    return between(down_rows, bilinear(upsampled, source_row, source_column), down_columns)


def between(rows: Float[Array, "m h"], x: Image, columns: Float[Array, "n w"]) -> Float[Array, "m n c"]:
    """rows x columns^T for each channel: [h, w, c] -> [m, n, c]."""
    return jnp.einsum("mh,hwc,nw->mnc", rows, x, columns, precision=lax.Precision.HIGHEST)


def bilinear(x: Image, row: Float[Array, "m n"], column: Float[Array, "m n"]) -> Float[Array, "m n c"]:
    """Bilinear interpolation of the indefinitely mirrored image, at real-valued coordinates in its own pixels."""
    h, w, _ = x.shape
    (i, down), (j, right) = (split(mirrored(position, size), size) for position, size in ((row, h), (column, w)))
    down, right = (fraction[..., None].astype(x.dtype) for fraction in (down, right))
    # All four neighbours in one gather, whose gradient takes half the time of four gathers on a CPU.
    corners = jnp.concatenate([x[:-1, :-1], x[:-1, 1:], x[1:, :-1], x[1:, 1:]], -1)
    corners = corners.at[i, j].get(mode="promise_in_bounds")
    upper_left, upper_right, lower_left, lower_right = jnp.split(corners, 4, -1)
    upper = (1 - right) * upper_left + right * upper_right
    lower = (1 - right) * lower_left + right * lower_right
    return (1 - down) * upper + down * lower


def split(at, size):
    """Splits a coordinate in [0, size - 1] into the index of the pixel before it and a fraction in [0, 1]."""
    index = jnp.clip(jnp.floor(at), 0, size - 2)
    return index.astype(jnp.int32), at - index


def mirrored(at, size):
    """Reflects any coordinates about the first and the last pixel into [0, size - 1]."""
    return size - 1 - abs(size - 1 - at % (2 * size - 2))


@lru_cache
def upsampling(size: int) -> np.ndarray:
    """The matrix [2 size - 1, size] that samples the mirrored row of pixels at every half pixel."""
    taps = filter_of(4 * size - 4)
    n, k = np.arange(2 * size - 1)[:, None], np.arange(2 * size - 2)[None, :]
    result = np.zeros((2 * size - 1, size))
    np.add.at(result, (n, mirrored(k, size)), np.sqrt(2) * taps[(n - 2 * k) % len(taps)])
    return result


@lru_cache
def downsampling(size: int) -> np.ndarray:
    """The adjoint of upsampling: low-passes, then keeps every second sample. [size, 2 size - 1 + 2 MARGIN]."""
    taps = filter_of(4 * size - 4)
    j, m = np.arange(size)[:, None], np.arange(-len(taps) // 2, len(taps) // 2)[None, :]
    n = 2 * j + m
    in_range = (n >= -MARGIN) & (n < 2 * size - 1 + MARGIN)
    n = np.where(in_range, n, mirrored(n, 2 * size - 1))
    result = np.zeros((size, 2 * size - 1 + 2 * MARGIN))
    np.add.at(result, (j, n + MARGIN), taps[m % len(taps)] / np.sqrt(2))
    return result


def filter_of(period: int) -> np.ndarray:
    """Taps of the zero-phase half-band filter on a circle of `period` samples, tap n at index n mod period.

    H(w)^2 = 2 cos^12(w / 2) sum_{k < 6} C(5 + k, k) sin^2k(w / 2), Daubechies' response with six vanishing moments
    (Daubechies 1988), for which H(w)^2 + H(w + pi)^2 = 2: the even shifts of the taps are orthonormal.
    """
    half_angle = np.pi * np.arange(period) / period
    response = 2 * np.cos(half_angle) ** 12 * sum(comb(5 + k, k) * np.sin(half_angle) ** (2 * k) for k in range(6))
    return np.fft.ifft(np.sqrt(response)).real
