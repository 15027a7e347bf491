import numpy as np
import pytest
from PIL import Image

from diffjax.drawing import pictures
from diffjax.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)


def test_a_sheet_holds_every_image_in_its_place():
    sheet = pictures.grid(IMAGES, columns=3, padding=2, upscale=4)
    assert sheet.dtype == np.uint8 and sheet.shape == (2 * 34 + 2, 3 * 34 + 2, 3)
    for i, image in enumerate(IMAGES):
        y, x = 2 + 34 * (i // 3), 2 + 34 * (i % 3)
        tile = sheet[y : y + 32, x : x + 32]
        np.testing.assert_array_equal(
            tile, np.kron(image[..., 0], np.ones((4, 4), np.uint8))[..., None].repeat(3, axis=2)
        )


def test_small_images_are_enlarged_and_large_ones_are_not():
    assert pictures.grid(IMAGES[:1]).shape == (60, 60, 3)
    assert pictures.grid(np.zeros((1, 28, 28, 3), np.uint8)).shape == (60, 60, 3)
    assert pictures.grid(np.zeros((1, 64, 64, 3), np.uint8)).shape == (68, 68, 3)


@pytest.mark.parametrize(
    "n, columns", [(1, 1), (2, 2), (3, 3), (10, 5), (16, 4), (25, 5), (50, 10), (64, 8), (7, 3), (11, 4)]
)
def test_a_sheet_is_nearly_square_without_gaps_where_possible(n, columns):
    assert pictures.grid(np.zeros((n, 2, 2, 1), np.uint8), upscale=1, padding=0).shape[1] == 2 * columns


def test_captions_and_rows_add_room_and_leave_the_images_whole():
    plain = pictures.grid(IMAGES, columns=3)
    named = pictures.grid(IMAGES, columns=3, captions=list("abcdef"), rows=["ten", "fifty"])
    assert named.shape[0] > plain.shape[0] and named.shape[1] > plain.shape[1]
    np.testing.assert_array_equal(named[2:58, -174:-118], plain[2:58, 2:58])


def test_a_row_is_as_high_as_what_names_it():
    """No line runs over a neighbour's, or off the sheet; the images stay in the middle of their row."""
    long = pictures.wrapped("so many words that they take line after line " * 4, 20, most=12)
    named = pictures.grid(IMAGES, columns=3, rows=[long, "short"])
    high = len(named) - 2 * 2 - 58  # the first row, without what is around it and without the second
    assert long.count("\n") == 8 and high > 9 * 11
    written = np.flatnonzero((named[:, :-174] != pictures.MOUNT).any(axis=(1, 2)))
    first, second = written[written < 2 + high], written[written >= 2 + high]
    assert first[0] > 2 and first[-1] < 1 + high and second[0] > high + 10 and second[-1] < len(named) - 10
    for i, image in enumerate(IMAGES):
        left, top = named.shape[1] - 174 + 58 * (i % 3), 2 + (high - 56) // 2 if i < 3 else 4 + high
        np.testing.assert_array_equal(named[top : top + 56, left : left + 56], enlarged(image))


def enlarged(image):
    return np.kron(image[..., 0], np.ones((7, 7), np.uint8))[..., None].repeat(3, axis=2)


def test_rows_of_any_length_stand_below_each_other_on_paper_under_a_title():
    sheet = pictures.table([IMAGES[:1], IMAGES[1:4]], [["one"], ["two", "three"]], title="step 1 of 2")
    plain = pictures.grid(IMAGES[:4], columns=2, captions=list("abcd"))
    assert sheet.shape[0] > plain.shape[0] and sheet.shape[1] > plain.shape[1]
    there = [(sheet[y : y + 56, 2:58] == enlarged(IMAGES[0])).all() for y in range(len(sheet) - 55)]
    assert sum(there) == 1
    top = there.index(True)
    assert (sheet[top : top + 56, 62:] == pictures.MOUNT).all()  # there is no second image in the first row
    assert (sheet[:top] != pictures.MOUNT).any()  # the title


def test_frames_of_one_film_are_of_one_size():
    small, large = np.zeros((4, 6, 3), np.uint8), np.zeros((5, 3, 3), np.uint8)
    frames = pictures.same_size([small, large])
    assert [frame.shape for frame in frames] == [(5, 6, 3)] * 2
    assert (frames[0][:4] == 0).all() and (frames[0][4:] == pictures.MOUNT).all()
    assert (frames[1][:, :3] == 0).all() and (frames[1][:, 3:] == pictures.MOUNT).all()


@pytest.mark.parametrize("broad", [True, False])
def test_a_label_never_shows_boxes_in_place_of_letters(broad, monkeypatch):
    if not broad:  # a machine that has no font but Pillow's
        for name in ("_broad", "_has_glyph", "_font"):
            monkeypatch.setattr(pictures, name, getattr(pictures, name).__wrapped__)
        monkeypatch.setattr(pictures, "_broad", lambda: "")
    broad = broad and bool(pictures._broad())
    assert pictures.legible("a red circle") == "a red circle"
    assert pictures.legible("круг été") == ("круг été" if broad else r"\u043a\u0440\u0443\u0433 \xe9t\xe9")
    assert pictures.legible("圆\u200b\ue000") == r"\u5706\u200b\ue000"  # nor what nobody would see
    assert pictures.wrapped("", 9) == '""' and pictures.wrapped("a\nb", 9) == r"a\nb"
    assert pictures.wrapped("one two three four five", 9, most=2) == "one two\nthree …"
    sheets = [pictures.grid(IMAGES[:1], rows=[text]) for text in ("круг", "диск", "圆", "红")]
    assert len({sheet.tobytes() for sheet in sheets}) == 4


def test_a_point_is_drawn_where_it_is():
    picture = pictures.scatter(np.array([[0.5, 0.25]]), limits=(-1, 1, -1, 1), size=200).astype(int)
    blueness = picture[..., 2] - picture[..., 0]
    rows, columns = np.nonzero(blueness > 60)
    assert abs(columns.mean() - 150) < 1 and abs(rows.mean() - 75) < 1  # y grows upwards


def test_units_are_equal_and_the_reference_sets_the_limits():
    reference = np.array([[0.0, 0.0], [10.0, 0.0]])
    picture = pictures.scatter(np.array([[5.0, 5.0], [5.0, -5.0]]), reference, size=248).astype(int)
    rows, _ = np.nonzero(picture[..., 2] - picture[..., 0] > 60)
    assert abs(rows[rows < 124].mean() - 24) < 1 and abs(rows[rows >= 124].mean() - 224) < 1  # 20 pixels a unit


def test_points_outside_or_not_finite_are_counted_not_drawn():
    limits = (-1, 1, -1, 1)
    inside = np.zeros((3, 2))
    both = np.concatenate([inside, [[5.0, 0.0], [np.nan, 0.0], [0.0, -np.inf]]])
    one, two = pictures.scatter(inside, limits=limits), pictures.scatter(both, limits=limits)
    assert (one != two).any() and (one[60:] == two[60:]).all()  # only the note in the corner differs
    assert pictures.scatter(np.full((2, 2), np.nan)).shape == (512, 512, 3)


def test_a_png_comes_back_as_it_went(tmp_path):
    for shape in ((5, 7, 3), (5, 7, 1), (5, 7)):
        picture = RNG.integers(0, 256, shape, dtype=np.uint8)
        pictures.save_png(tmp_path / "new" / "a.png", picture)
        expected = picture if shape[2:] == (3,) else picture.reshape(5, 7)  # grey stays grey
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "a.png")), expected)


def test_a_write_that_fails_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    pictures.save_png(tmp_path / "a.png", IMAGES[0])
    old = (tmp_path / "a.png").read_bytes()

    def half(self, path, *_, **__):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="disk full"):
        pictures.save_png(tmp_path / "a.png", IMAGES[1])
    assert (tmp_path / "a.png").read_bytes() == old and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("colour", [False, True])
def test_a_film_keeps_its_frames_its_colours_and_its_time(tmp_path, colour):
    """In grey exactly; in colour to the distance of 256 colours."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    frames = [np.roll(ramp, 5 * i) * np.array([1, 0, 1] if colour else [1, 1, 1], np.uint8) for i in range(10)]
    pictures.save_gif(tmp_path / "a.gif", frames, seconds=2, hold_last=1)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 10 and film.info["loop"] == 0
        durations = []
        for i in range(10):
            film.seek(i)
            durations.append(film.info["duration"])
            error = np.asarray(film.convert("RGB")).astype(int) - frames[i]
            assert abs(error).max() <= (4 if colour else 0)
    assert durations == [200] * 9 + [1200]


def test_the_last_frame_of_a_film_has_its_own_colours_whatever_noise_came_before(tmp_path):
    noise = RNG.integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    result = np.full((64, 64, 3), pictures.MOUNT, np.uint8)
    for i, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 0, 0), (255, 255, 255))):
        result[10 * i : 10 * i + 8, 8:-8] = colour
    pictures.save_gif(tmp_path / "a.gif", [*noise, result])
    with Image.open(tmp_path / "a.gif") as film:
        film.seek(9)
        np.testing.assert_array_equal(np.asarray(film.convert("RGB")), result)


def test_rules_and_frames_can_be_seen_on_their_backgrounds():
    assert all(abs(a - b) >= 15 for a, b in zip(pictures.RULE, pictures.PAPER, strict=True))
    sheet = pictures.scatter(np.zeros((1, 2)))
    assert (sheet[0] == pictures.RULE).all() and (sheet == pictures.PAPER).all(axis=-1).mean() > 0.9


def test_more_frames_than_a_browser_shows_are_thinned_out(tmp_path):
    frames = [np.full((4, 4, 1), i, np.uint8) for i in range(200)]
    pictures.save_gif(tmp_path / "a.gif", frames, seconds=0.5, hold_last=0)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames <= 25


def test_what_is_no_picture_is_refused(tmp_path):
    for images in (IMAGES.astype(np.float32), IMAGES[0, 0], np.zeros((2, 4, 4, 2), np.uint8), IMAGES[:0]):
        with pytest.raises(UserError, match="images"):
            pictures.grid(images)
    with pytest.raises(UserError, match="captions: 2 given for 6"):
        pictures.grid(IMAGES, captions=["a", "b"])
    with pytest.raises(UserError, match="limits"):
        pictures.scatter(np.zeros((1, 2)), limits=(1, 0, 0, 1))
    with pytest.raises(UserError, match="differ in size"):
        pictures.save_gif(tmp_path / "a.gif", [IMAGES[0], IMAGES[0, :4]])


def test_categories_are_rows_of_cells_from_white_to_black_with_masks_in_blue():
    sheet = pictures.rows(np.array([[0, 1, 2], [3, 0, 2]], np.uint8), values=3, cell=4)
    assert sheet.shape == (8, 12, 3) and sheet.dtype == np.uint8
    np.testing.assert_array_equal(sheet[2, 2::4], [[255] * 3, [128] * 3, [0] * 3])
    np.testing.assert_array_equal(sheet[6, 2::4], [pictures.BLUE, [255] * 3, [0] * 3])
