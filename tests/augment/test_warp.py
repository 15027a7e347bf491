import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from diffjax.augment import blit
from diffjax.augment.warp import (
    MARGIN,
    compose,
    downsampling,
    filter_of,
    mirrored,
    rotation,
    scaling,
    translation,
    upsampling,
    warp,
)

SYM6 = (  # Daubechies' table of the least asymmetric orthogonal wavelet with six vanishing moments
    (0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633)
    + (0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252)
    + (-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148)
)

moved_by = jax.jit(warp)


def image(h=10, w=10, c=3):
    return np.random.default_rng(h * w).normal(size=(h, w, c))


def test_the_filter_has_the_magnitude_of_sym6_and_no_phase():
    taps = filter_of(124)
    response = np.fft.fft(taps)
    np.testing.assert_allclose(response.imag, 0, atol=1e-14)
    np.testing.assert_allclose(response.real, abs(np.fft.fft(SYM6, 124)), atol=1e-7)
    np.testing.assert_allclose(taps[1:], taps[:0:-1], atol=1e-16)


@pytest.mark.parametrize("size", [4, 5, 32])
def test_the_even_shifts_of_the_filter_are_orthonormal(size):
    taps = filter_of(4 * size - 4)
    shifts = np.stack([np.roll(taps, 2 * k) for k in range(2 * size - 2)])
    np.testing.assert_allclose(shifts @ shifts.T, np.eye(2 * size - 2), atol=1e-14)


@pytest.mark.parametrize("size", [4, 5, 32])
def test_down_after_up_is_the_identity(size):
    fine = upsampling(size)[mirrored(np.arange(-MARGIN, 2 * size - 1 + MARGIN), 2 * size - 1)]
    np.testing.assert_allclose(downsampling(size) @ fine, np.eye(size), atol=1e-13)


def test_upsampling_a_wave_gives_the_wave_by_the_filters_response_and_little_of_its_mirror_image():
    """Pixels hold cos(n t) and its alias cos(n (2 pi - t)) alike; t is half the wave's angle per pixel."""
    n = np.arange(63)
    for k, kept, left in ((0, 1, 0), (4, 1.0, 3e-5), (8, 0.998, 0.06), (12, 0.97, 0.25)):  # k / 62 per pixel
        t = 2 * np.pi * k / 124
        response, alias = (abs(np.exp(1j * at * np.arange(12)) @ SYM6) / np.sqrt(2) for at in (t, np.pi - t))
        found = upsampling(32) @ np.cos(2 * t * np.arange(32))
        np.testing.assert_allclose(found, response * np.cos(n * t) + alias * np.cos(n * (np.pi - t)), atol=1e-6)
        assert response >= kept - 1e-9 and alias <= left + 1e-6


@pytest.mark.parametrize("shape", [(4, 4, 1), (7, 10, 3)])
def test_the_identity_warp_is_the_identity_to_rounding(shape, x64):
    x = image(*shape)
    np.testing.assert_allclose(moved_by(jnp.asarray(x), jnp.eye(3)), x, atol=1e-13)


@pytest.mark.parametrize("size", [8, 9])
def test_quarter_turns_and_flips_through_the_warp_are_those_of_the_pixels(size, x64):
    x = image(size, size)
    for k in range(4):
        np.testing.assert_allclose(moved_by(x, rotation(k * jnp.pi / 2)), np.rot90(x, k), atol=1e-12)
    np.testing.assert_allclose(moved_by(x, scaling(-1.0, 1.0)), x[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(moved_by(x, scaling(1.0, -1.0)), x[::-1], atol=1e-12)


def test_an_integer_translation_through_the_warp_is_that_of_the_pixels(x64):
    """But for the tails of the filter, which beyond the margin see the border mirrored (their weight is 0.0008)."""
    x = jnp.asarray(image(12, 9))
    np.testing.assert_allclose(moved_by(x, translation(-2.0, 3.0)), blit.shift(x, 2, -3), atol=5e-3)


def test_a_fractional_translation_of_a_slow_wave_is_the_wave_translated(x64):
    """Bilinear interpolation at half pixels: by a whole half pixel nothing is lost, between them (pi f)^2 / 8."""
    at = np.arange(32)
    for k, by, error in ((1, 0.25, 1.3e-3), (3, 0.25, 0.012), (6, 0.25, 0.047), (3, 0.5, 5e-5), (6, 0.5, 1e-3)):
        f = k / 62  # periods a pixel: mirrored at the first and last pixel the wave goes on

        def wave(by, f=f):
            return np.broadcast_to(np.cos(2 * np.pi * f * (at - by))[None, :, None], (4, 32, 1))

        moved = moved_by(jnp.asarray(wave(0.0)), translation(-by, 0.0))
        np.testing.assert_allclose(moved, wave(by), atol=error)


def test_a_rotated_and_scaled_blob_is_where_scipy_puts_it(x64):
    """Against SciPy's cubic splines, a resampling of another kind: a smooth picture leaves little between them."""
    row, column = np.mgrid[:24, :24] - 11.5
    x = np.exp(-((column - 3) ** 2 / 18 + (row + 2) ** 2 / 32))
    inverse = compose(scaling(0.8, 0.9), rotation(0.7), translation(-1.3, 0.4))
    found = moved_by(jnp.asarray(x)[..., None], inverse)[..., 0]
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])  # SciPy counts rows first, from the corner
    matrix = swap @ np.asarray(inverse) @ swap
    offset = matrix[:2, 2] + 11.5 - matrix[:2, :2] @ [11.5, 11.5]
    np.testing.assert_allclose(found, ndimage.affine_transform(x, matrix[:2, :2], offset, mode="mirror"), atol=0.01)


def test_the_warp_is_linear_in_the_image_and_its_gradient_is_its_adjoint(x64):
    inverse = compose(rotation(0.4), scaling(0.7, 1.2), translation(1.3, -2.2))
    x, y = jnp.asarray(image(7, 10)), jnp.asarray(image(10, 7).reshape(7, 10, 3))
    moved, back = jax.vjp(lambda x: moved_by(x, inverse), x)
    np.testing.assert_allclose(jnp.vdot(moved, y), jnp.vdot(x, back(y)[0]), rtol=1e-12)
    np.testing.assert_allclose(moved_by(2 * x - 3 * y, inverse), 2 * moved - 3 * moved_by(y, inverse), atol=1e-12)


def test_pixels_moved_whole_are_numpys():
    x = image(6, 6)
    flip, turn, shift = (jax.jit(move) for move in (blit.flip, blit.turn, blit.shift))
    np.testing.assert_array_equal(flip(jnp.asarray(x), 1, 0), np.float32(x[:, ::-1]))
    np.testing.assert_array_equal(flip(jnp.asarray(x), 0, 1), np.float32(x[::-1]))
    np.testing.assert_array_equal(flip(jnp.asarray(x), 1, 1), np.float32(x[::-1, ::-1]))
    for quarters in range(4):
        np.testing.assert_array_equal(turn(jnp.asarray(x), quarters), np.float32(np.rot90(x, quarters)))
    padded = np.pad(x, ((5, 5), (5, 5), (0, 0)), mode="reflect")
    for right, down in ((0, 0), (2, -3), (-5, 5)):
        expected = padded[5 - down : 11 - down, 5 - right : 11 - right]
        np.testing.assert_array_equal(shift(jnp.asarray(x), right, down), np.float32(expected))


def test_an_oblong_image_turns_by_halves():
    x = jnp.asarray(image(4, 6))
    for quarters in range(4):
        np.testing.assert_array_equal(blit.turn(x, quarters), np.rot90(x, 2 * quarters))
