"""Photos of every mode and size become what the model stores, and are told how."""

import numpy as np
import pytest
from PIL import Image, features

from diffjax.data.images import ORIENTATION
from diffjax.drawing.photos import read_mask, read_photo
from diffjax.errors import UserError

GREY, RGB = (4, 4, 1), (4, 4, 3)


def saved(tmp_path, image, name="photo.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def of(array, mode=None):
    return Image.fromarray(np.asarray(array), mode) if mode else Image.fromarray(np.asarray(array))


GRADIENT = np.arange(0, 256, 16, dtype=np.uint8).reshape(4, 4)
COLOURS = np.stack([GRADIENT, GRADIENT.T, 255 - GRADIENT], axis=-1)


@pytest.mark.parametrize(
    ("image", "name", "grey", "said"),
    [
        (of(GRADIENT), "a.png", GRADIENT, "unchanged"),
        (of(GRADIENT > 100), "a.png", np.where(GRADIENT > 100, 255, 0), "black and white"),
        (of(GRADIENT.astype(np.uint16) * 257), "a.png", GRADIENT, "16 bits scaled to 8"),
        (of(GRADIENT.astype(np.int32) * 257), "a.tiff", GRADIENT, "16 bits scaled to 8"),
        (of(GRADIENT.astype(np.float32)), "a.tiff", GRADIENT, "floats taken as greys"),
        (of(GRADIENT.astype(np.float32) / 255), "a.tiff", GRADIENT, "floats taken as greys"),
        (of(np.stack([GRADIENT, np.full((4, 4), 255, np.uint8)], -1)), "a.png", GRADIENT, "laid over white"),
        (of(np.stack([GRADIENT, np.zeros((4, 4), np.uint8)], -1)), "a.png", np.full((4, 4), 255), "laid over white"),
        (of(GRADIENT).convert("P"), "a.png", GRADIENT, "palette"),
        (of(COLOURS), "a.png", of(COLOURS).convert("L"), "colours made grey"),
        (of(GRADIENT).convert("RGB").convert("RGBA"), "a.png", GRADIENT, "colours made grey"),
    ],
    ids=["L", "1", "I;16", "I", "F", "F in 0..1", "LA", "LA clear", "P", "RGB", "RGBA"],
)
def test_a_photo_of_any_mode_becomes_grey(image, name, grey, said, tmp_path):
    photo = read_photo(saved(tmp_path, image, name), GREY)
    np.testing.assert_array_equal(photo.pixels[..., 0], grey)
    assert photo.pixels.dtype == np.uint8 and said in photo.note and photo.note.startswith(f"{name} (4x4, ")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"])
@pytest.mark.parametrize("shape", [GREY, RGB])
def test_every_mode_that_a_file_can_have_is_read(mode, shape, tmp_path):
    """A mid-grey in each mode is a mid-grey in the model's; colour spaces may round it."""
    grey = Image.new("RGB", (9, 7), (128, 128, 128))
    wide = {"I": np.int32, "I;16": np.uint16, "F": np.float32}
    if mode in wide:
        image = of(np.full((7, 9), 128 * 257 if mode != "F" else 128, wide[mode]))
    elif mode == "LAB":
        image = Image.merge("LAB", [Image.new("L", (9, 7), value) for value in (137, 128, 128)])  # L* = 53.6
    else:
        image = grey.convert(mode)
    photo = read_photo(saved(tmp_path, image, "a.tiff"), shape)
    assert photo.pixels.shape == shape
    if mode != "1":  # which dithers
        np.testing.assert_allclose(photo.pixels.astype(int), 128, atol=3)
    if mode == "LAB":
        assert features.check("littlecms2")


@pytest.mark.parametrize("mode", ["La", "PA", "RGBa", "RGBX", "HSV", "I;16B", "I;16L"])
def test_modes_that_only_memory_can_have_become_grey_and_rgb_too(mode):
    from diffjax.data.images import to_8_bits

    image = Image.new("LA", (3, 2), (128, 255)).convert(mode) if mode in ("La", "PA") else Image.new(mode, (3, 2))
    for wanted in ("L", "RGB"):
        out = to_8_bits(image, wanted)
        assert out.mode == wanted and out.size == (3, 2)


def test_colours_stay_and_greys_are_repeated_for_a_model_of_colours(tmp_path):
    np.testing.assert_array_equal(read_photo(saved(tmp_path, of(COLOURS)), RGB).pixels, COLOURS)
    photo = read_photo(saved(tmp_path, of(GRADIENT)), RGB)
    np.testing.assert_array_equal(photo.pixels, np.repeat(GRADIENT[..., None], 3, axis=-1))
    assert "grey repeated in three channels" in photo.note
    opaque = np.concatenate([COLOURS, np.full((4, 4, 1), 128, np.uint8)], axis=-1)
    half = read_photo(saved(tmp_path, of(opaque)), RGB)
    np.testing.assert_allclose(half.pixels.astype(int), COLOURS * (128 / 255) + 255 * (127 / 255), atol=1)
    assert "transparency laid over white" in half.note


def test_the_middle_is_cut_out_and_resized(tmp_path):
    wide = np.zeros((8, 20), np.uint8)
    wide[:, 6:14] = np.kron(GRADIENT, np.ones((2, 2), np.uint8))
    path = saved(tmp_path, of(wide))
    photo = read_photo(path, GREY, averaged=True)
    np.testing.assert_array_equal(photo.pixels[..., 0], GRADIENT)
    assert photo.note == (
        "photo.png (20x8, grey): cropped to its middle 8x8, reduced to 4x4 (means of areas, antialiased)"
    )
    assert photo.size == (20, 8)
    assert "cropped to its middle 16x8, enlarged to 32x16 (Lanczos" in read_photo(path, (16, 32, 1)).note
    assert "enlarged to 40x16" in (same := read_photo(path, (16, 40, 1))).note and "cropped" not in same.note


def test_fine_stripes_become_grey_and_not_aliases(tmp_path):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    pixels = read_photo(saved(tmp_path, of(stripes)), GREY).pixels
    np.testing.assert_allclose(pixels.astype(int), 128, atol=3)


def test_the_cameras_orientation_is_applied_before_all_else(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # turned a quarter to the right when shown
    image = of(np.repeat(GRADIENT, 2, axis=1))
    photo = read_photo(saved(tmp_path, image, exif=exif), (8, 4, 1))
    np.testing.assert_array_equal(photo.pixels[..., 0], np.rot90(np.asarray(image), -1))
    assert photo.size == (4, 8) and "turned upright as its EXIF orientation says" in photo.note


def test_of_a_film_the_first_frame_is_taken(tmp_path):
    path = saved(tmp_path, of(GRADIENT), "a.gif", save_all=True, append_images=[of(255 - GRADIENT)])
    photo = read_photo(path, GREY)
    np.testing.assert_array_equal(photo.pixels[..., 0], GRADIENT)
    assert "the first of 2 frames" in photo.note


def test_a_mask_is_cut_and_reduced_like_its_photo(tmp_path):
    photo = read_photo(saved(tmp_path, of(np.zeros((8, 20), np.uint8))), GREY)
    grey = np.zeros((8, 20), np.uint8)
    grey[:, :7] = 255  # half of the column of 6 and 7, the first that is not cut away
    grey[2:4, 8:10] = [[127, 127], [127, 255]]  # a quarter
    grey[4:6, 12:14] = 128
    painted, said = read_mask(saved(tmp_path, of(grey), "mask.png"), photo)
    expected = np.zeros((4, 4), bool)
    expected[:, 0] = expected[2, 3] = True
    np.testing.assert_array_equal(painted[..., 0], expected)
    assert "5 of 16 pixels will be painted" in said


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.full((8, 21), 255, np.uint8), "is 21x8, the photo 20x8; must have the photo's size"),
        (np.full((4, 4), 255, np.uint8), "is 4x4, the photo 20x8"),
        (np.full((8, 20), 127, np.uint8), r"must be white \(grey 128 or more\) where to paint; no pixel"),
    ],
)
def test_a_mask_that_does_not_fit_is_an_error(mask, said, tmp_path):
    photo = read_photo(saved(tmp_path, of(np.zeros((8, 20), np.uint8))), GREY)
    with pytest.raises(UserError, match=said):
        read_mask(saved(tmp_path, of(mask), "mask.png"), photo)


def test_what_cannot_be_read_is_one_line(tmp_path):
    whole = saved(tmp_path, of(np.random.RandomState(0).randint(0, 255, (32, 32)).astype(np.uint8))).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[:200])
    (tmp_path / "text.png").write_text("no picture\nat all")
    saved(tmp_path, of(np.full((4, 4), np.nan, np.float32)), "nan.tiff")
    for name in ("half.png", "text.png", "nan.tiff"):
        with pytest.raises(UserError, match="^`image`: .* cannot be read as an image: ") as error:
            read_photo(tmp_path / name, GREY)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="`image`: no such file"):
        read_photo(tmp_path / "nowhere.png", GREY)
    with pytest.raises(UserError, match="`image`: .* is a folder; must be a picture"):
        read_photo(tmp_path, GREY)
