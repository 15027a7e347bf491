"""A folder of pictures: every kind of file becomes the pixels a viewer would show, and every mishap is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffjax.data import Folder
from diffjax.data.text import decode
from diffjax.errors import UserError

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
COLOURS = np.stack([RAMP, RAMP.T, 255 - RAMP], -1)


def only(folder, **options):
    """The pixels of a folder's single image, which is read as training data."""
    return Folder(str(folder), **options).split("train")[0]["x"]


def fill(folder, count, size=(4, 4), first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        Image.new("RGB", size, (i, i, i)).save(folder / f"{i:03}.png")


def test_rgb_png_and_lossless_webp_come_back_exactly_and_jpeg_nearly(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    Image.fromarray(COLOURS).save(tmp_path / "b.webp", lossless=True)
    Image.fromarray(COLOURS).save(tmp_path / "c.JPG", quality=100, subsampling=0)
    png, webp, jpeg = Folder(str(tmp_path)).split("train").arrays()["x"]
    np.testing.assert_array_equal(png, COLOURS)
    np.testing.assert_array_equal(webp, COLOURS)
    np.testing.assert_allclose(jpeg.astype(int), COLOURS, atol=4)


def test_grey_becomes_three_equal_channels_or_stays_one(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only(tmp_path), np.stack([RAMP] * 3, -1))
    np.testing.assert_array_equal(only(tmp_path, channels=1), RAMP[..., None])


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path):
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only(tmp_path, channels=1)[..., 0], RAMP)


def test_a_palette_gives_its_colours(tmp_path):
    image = Image.fromarray(RAMP // 4).convert("L")
    image.putpalette(COLOURS.reshape(-1, 3).tobytes(), "RGB")
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(only(tmp_path), COLOURS)


def test_a_transparent_palette_entry_shows_white(tmp_path):
    image = Image.fromarray(RAMP // 4).convert("L")
    image.putpalette(COLOURS.reshape(-1, 3).tobytes(), "RGB")
    image.save(tmp_path / "a.png", transparency=0)
    expected = COLOURS.copy()
    expected[0, 0] = 255
    np.testing.assert_array_equal(only(tmp_path), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composed_on_white(tmp_path, mode):
    colour = COLOURS if mode == "RGBA" else RAMP[..., None]
    alpha = RAMP.T[..., None]
    Image.fromarray(np.concatenate([colour, alpha], -1), mode=None).save(tmp_path / "a.png")
    share = alpha / 255
    expected = np.broadcast_to(share * colour + (1 - share) * 255, (8, 8, 3))
    np.testing.assert_allclose(only(tmp_path), expected, atol=1)


def test_one_bit_images_are_black_and_white(tmp_path):
    Image.fromarray(RAMP > 100).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only(tmp_path, channels=1)[..., 0], 255 * (RAMP > 100))


def test_cmyk_is_ink_on_white(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    np.testing.assert_allclose(only(tmp_path), np.broadcast_to([255, 0, 0], (8, 8, 3)), atol=3)


UPRIGHT = {  # how each EXIF orientation has stored an upright picture
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_and_so_is_its_size(tmp_path, orientation):
    upright = COLOURS[:, :6]
    stored = np.ascontiguousarray(UPRIGHT[orientation](upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    assert Folder(str(tmp_path)).space.shape == (8, 6, 3)
    np.testing.assert_array_equal(only(tmp_path), upright)


def test_the_shorter_side_is_resized_with_antialiasing_and_the_centre_kept(tmp_path):
    x = np.zeros((16, 32, 3), np.uint8)
    x[:, 8:24] = np.where(np.indices((16, 16)).sum(0) % 2, 255, 0)[..., None]  # the middle is a checkerboard
    Image.fromarray(x).save(tmp_path / "a.png")
    np.testing.assert_allclose(only(tmp_path, size=4)[:, 1:3], 127.5, atol=1.5)  # away from the edge it averages out
    np.testing.assert_array_equal(only(tmp_path, size=16), x[:, 8:24])


def test_images_smaller_than_size_are_enlarged(tmp_path):
    fill(tmp_path, 1, size=(2, 3), first=9)
    np.testing.assert_array_equal(only(tmp_path, size=8), np.full((8, 8, 3), 9))


def test_sub_folders_are_the_classes_in_the_order_of_their_names(tmp_path):
    fill(tmp_path / "zebra" / "deeper", 3, first=0)
    fill(tmp_path / "ant", 2, first=100)
    (tmp_path / ".hidden").mkdir()
    source = Folder(str(tmp_path))
    assert source.space.num_classes == 2 and source.space.class_names == ("ant", "zebra")
    data = source.split("train").arrays()
    np.testing.assert_array_equal(data["label"], data["x"][:, 0, 0, 0] < 100)


def test_without_sub_folders_there_are_no_labels(tmp_path):
    fill(tmp_path, 3)
    source = Folder(str(tmp_path))
    assert source.space.num_classes == 0 and not source.split("train").arrays()["label"].any()


def test_the_heldout_split_is_a_seeded_tenth_and_both_splits_cover_all(tmp_path):
    fill(tmp_path, 40)

    def values(name, **options):
        return set(Folder(str(tmp_path), **options).split(name).arrays()["x"][:, 0, 0, 0].tolist())

    assert len(values("heldout")) == 4 and values("train") == set(range(40)) - values("heldout")
    assert values("heldout") == values("heldout") and values("heldout") != values("heldout", split_seed=1)


def test_a_damaged_file_is_named(tmp_path):
    fill(tmp_path, 3)
    whole = (tmp_path / "001.png").read_bytes()
    (tmp_path / "001.png").write_bytes(whole[:45])  # the header is there, the pixels are not
    with pytest.raises(UserError, match=r"001\.png cannot be read"):
        Folder(str(tmp_path)).split("train").arrays()
    (tmp_path / "001.png").write_bytes(b"no image at all")
    with pytest.raises(UserError, match=r"001\.png cannot be read"):
        _ = Folder(str(tmp_path)).space
    with pytest.raises(UserError, match=r"001\.png cannot be read"):
        Folder(str(tmp_path), size=4).split("train").arrays()


def test_differing_sizes_need_data_size(tmp_path):
    fill(tmp_path, 2)
    fill(tmp_path, 1, size=(6, 4), first=2)
    with pytest.raises(UserError, match=r"data\.size: 0, but .*000\.png is 4x4 and .*002\.png is 6x4"):
        _ = Folder(str(tmp_path)).space
    assert Folder(str(tmp_path), size=4).split("train").arrays()["x"].shape == (3, 4, 4, 3)


def test_missing_empty_and_ambiguous_folders_are_errors(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        _ = Folder(str(tmp_path / "nowhere")).space
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(UserError, match="not a folder"):
        _ = Folder(str(tmp_path / "notes.txt")).space
    with pytest.raises(UserError, match="holds no image"):
        _ = Folder(str(tmp_path)).space
    fill(tmp_path, 1)
    fill(tmp_path / "cats", 1)
    with pytest.raises(UserError, match=r"000\.png is in none"):
        _ = Folder(str(tmp_path)).space


def test_an_unreadable_folder_is_an_error(tmp_path, monkeypatch):
    def refuse(top, onerror, followlinks):  # what os.walk does when a folder may not be read; root may read them all
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "secret")))
        return iter(())

    monkeypatch.setattr("diffjax.data.folder.os.walk", refuse)
    with pytest.raises(UserError, match=r"cannot read .*secret: Permission denied"):
        _ = Folder(str(tmp_path)).space


def test_too_few_images_to_hold_any_out_is_said_when_they_are_asked_for(tmp_path):
    fill(tmp_path, 2)
    assert len(Folder(str(tmp_path)).split("train")) == 2
    with pytest.raises(UserError, match=r"data\.heldout: 0\.1 of 2 images"):
        Folder(str(tmp_path)).split("heldout")


@pytest.mark.parametrize("wrong", [{"size": -1}, {"channels": 4}, {"heldout": 1.0}])
def test_a_wrong_hyper_parameter_is_named(wrong, tmp_path):
    with pytest.raises(UserError, match=f"data.{next(iter(wrong))}"):
        Folder(str(tmp_path), **wrong)


def captioned(folder, texts):
    """A picture and a caption file for each text; None: no file."""
    for i, text in enumerate(texts):
        Image.new("RGB", (4, 4)).save(folder / f"{i}.png")
        if text is not None:
            (folder / f"{i}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return Folder(str(folder), heldout=0.5, caption=".txt")


def test_a_file_beside_each_image_is_its_caption(tmp_path):
    texts = ["a house\n by the sea", "été", "", "\ufeffwith a mark", "y" * 200, "été"]
    source = captioned(tmp_path, texts)
    read = decode(source.everything().arrays()["caption"])
    assert read == ["a house by the sea", "été", "", "with a mark", "y" * 128, "été"] and source.space.caption == 128
    held = decode(source.split("heldout").arrays()["caption"])
    assert source.space.prompts == tuple(dict.fromkeys(held)) and len(held) == 3
    assert Folder(str(tmp_path), caption="").space.caption == 0  # nobody asked for them


def test_it_is_said_how_many_captions_are_cut(tmp_path, capsys):
    _ = captioned(tmp_path, ["y" * 129, "é" * 65, "y" * 128, "", "y"]).space
    said = "2 of 5 captions are longer than the 128 bytes that are read; what comes after is cut (data.caption_bytes)"
    assert capsys.readouterr().err == f"data.caption: {said}\n"
    _ = Folder(str(tmp_path), caption=".txt", caption_bytes=130).space
    assert not capsys.readouterr().err


def test_a_sentence_about_the_class_is_a_caption_too(tmp_path):
    for name in ("cat", "7"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "x.png")
    source = Folder(str(tmp_path), caption="a picture of a {}", heldout=0.5)
    assert decode(source.everything().arrays()["caption"]) == ["a picture of a seven", "a picture of a cat"]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["a", None, None], "1.png has no 1.txt beside it; 2 of 3 images have no caption"),
        (["a", b"caf\xe9"], "1.txt is not UTF-8 \\(byte 4\\); save it as UTF-8"),
        (["a", b"a\0b"], "1.txt: .* has a zero byte"),
        (["", " \n", "\ufeff"], "all 3 .txt files of 'folder:.*' are empty; must describe what the images show"),
    ],
)
def test_a_caption_that_cannot_be_read_is_named(texts, said, tmp_path):
    with pytest.raises(UserError, match=f"data.caption: .*{said}"):
        _ = captioned(tmp_path, texts).space


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"caption": ".caption"}, "has no {} for the name of the class"),
        ({"caption": "a {}"}, "needs class names; "),
        ({"caption": ".txt", "caption_bytes": 0}, "data.caption_bytes: 0"),
    ],
)
def test_captions_that_cannot_be_are_said(options, said, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=said):
        _ = Folder(str(tmp_path), **options).space


def test_a_caption_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    source = captioned(tmp_path, ["a house"] * 2)

    def refuse(path, *_):  # root may read them all
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"data\.caption: .*0\.txt cannot be read \(Permission denied\)"):
        _ = source.space
