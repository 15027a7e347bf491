"""Resizes against loops that follow their definitions, and identities."""

import jax
import numpy as np
import pytest
from PIL import Image

from diffjax.errors import UserError
from diffjax.metrics.features.resize import RESIZES, resize

SHAPES = [(32, 32, 3), (7, 19, 3), (60, 41, 1)]


def images(shape, n=2):
    return np.random.default_rng(sum(shape)).integers(0, 256, (n, *shape)).astype(np.uint8)


def bilinear_loop(x, size, position):
    """Between the four pixels around `position(i, n)`, one output pixel at a time; x [h, w, c] in float64."""
    y = np.zeros((size, size, x.shape[2]))
    for i in range(size):
        for j in range(size):
            (top, down), (left, right) = (np.divmod(position(k, n), 1) for k, n in ((i, len(x)), (j, x.shape[1])))
            top, left = int(top), int(left)
            bottom, beyond = min(top + 1, len(x) - 1), min(left + 1, x.shape[1] - 1)
            upper = x[top, left] + (x[top, beyond] - x[top, left]) * right
            lower = x[bottom, left] + (x[bottom, beyond] - x[bottom, left]) * right
            y[i, j] = upper + (lower - upper) * down
    return y


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("protocol", "position"),
    [
        ("tf1", lambda size: lambda i, n: i * n / size),
        ("torch", lambda size: lambda i, n: min(max((i + 0.5) * n / size - 0.5, 0), n - 1)),
    ],
)
def test_bilinear_resizes_follow_their_grids(shape, protocol, position):
    x, size = images(shape, 1), 37
    expected = bilinear_loop(x[0].astype(float), size, position(size))
    np.testing.assert_allclose(resize(x, size, protocol)[0], expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [24, 75])
def test_clean_is_pillows_bicubic_in_floating_point_cut_to_the_range(shape, size):
    x = images(shape)
    float_images = [[Image.fromarray(c.astype(np.float32), "F") for c in np.moveaxis(image, -1, 0)] for image in x]
    resized = [[np.asarray(c.resize((size, size), Image.BICUBIC)) for c in image] for image in float_images]
    expected = np.moveaxis(np.array(resized), 1, -1).clip(0, 255)
    np.testing.assert_allclose(resize(x, size, "clean"), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("shape", [(16, 16, 3), (2, 3, 1), (300, 41, 1)])
@pytest.mark.parametrize("size", [16, 24, 75])
def test_pil_is_pillows_bicubic_of_8_bits_exactly(shape, size):
    """Also where sums are near halves, and of black and white only. One axis at a time, as Pillow 13 may swap them."""
    x = np.concatenate([images(shape), images(shape) // 128 * 255])
    pictures = [Image.fromarray(image[..., 0] if shape[2] == 1 else image) for image in x]
    along_rows = [picture.resize((size, shape[0]), Image.BICUBIC) for picture in pictures]
    expected = [np.asarray(picture.resize((size, size), Image.BICUBIC)) for picture in along_rows]
    np.testing.assert_array_equal(resize(x, size, "pil"), np.reshape(expected, (len(x), size, size, -1)))


@pytest.mark.parametrize("protocol", RESIZES)
def test_an_image_of_the_right_size_stays_as_it_is(protocol):
    x = images((33, 33, 3))
    np.testing.assert_array_equal(resize(x, 33, protocol), x)


@pytest.mark.parametrize("protocol", RESIZES)
@pytest.mark.parametrize("n", [5, 100])
def test_a_constant_image_stays_constant(protocol, n):
    matrix = RESIZES[protocol].matrix(n, 31)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(resize(np.full((1, n, n, 3), 200, np.uint8), 31, protocol), 200, rtol=1e-6)


def test_the_protocols_differ():
    x = images((64, 64, 3))
    found = [np.asarray(resize(x, 33, protocol)) for protocol in RESIZES]
    for i, one in enumerate(found):
        for other in found[:i]:
            assert np.abs(one - other).mean() > (0.1 if other is not found[2] else 1e-3)


def test_tf1_moves_the_image_and_antialias_sees_every_pixel():
    """TF1's first pixel is the image's first; without antialias most pixels of a large image go unseen."""
    impulse = np.zeros((1, 64, 64, 1), np.uint8)
    impulse[0, 1, 1] = 255
    seen = {protocol: float(np.abs(resize(impulse, 8, protocol)).sum()) for protocol in RESIZES}
    assert seen["tf1"] == seen["torch"] == 0 and min(seen["clean"], seen["pil"]) > 0
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[None, :, None, None] * 30, (1, 8, 8, 1))
    rows = {protocol: np.asarray(resize(ramp, 32, protocol))[0, :, 0, 0] for protocol in ("tf1", "torch")}
    np.testing.assert_allclose(rows["torch"], 210 - rows["torch"][::-1], atol=1e-3)
    assert abs(rows["tf1"] - (210 - rows["tf1"][::-1])).max() > 10


def test_it_compiles_and_names_a_protocol_unknown():
    x = images((9, 9, 3))
    compiled = jax.jit(resize, static_argnums=(1, 2))(x, 20, "clean")
    np.testing.assert_allclose(compiled, resize(x, 20, "clean"), rtol=1e-6, atol=1e-4)
    with pytest.raises(UserError, match="'cubic' is not one of tf1, torch, clean, pil"):
        resize(x, 20, "cubic")
