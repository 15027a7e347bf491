"""Pictures for people: sheets of images, scatter plots of 2-D data, and films of either, as uint8 arrays and files."""

import importlib.util
import math
import textwrap
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont, features

from diffjax.errors import UserError
from diffjax.whole import written_whole

SHARP_FROM = 56  # pixels: smaller images are enlarged by a whole number until their shorter side has this many
PAPER = (232, 232, 232)  # neutral: films of greys have them all; darker than white: two white images do not become one
INK = (64, 64, 64)
RULE = (227, 227, 227)
GREY = (153, 153, 153)
BLUE = (31, 90, 190)
FONT = "DejaVuSans.ttf"  # for what Pillow's own cannot write
NO_CHARACTER = "\U0010ffff"  # never one: how a font shows it is how it shows whatever it lacks
FASTEST = 0.02  # seconds a frame: browsers slow down any GIF that asks for less


def grid(
    images: UInt8[ArrayLike, "n h w c"],
    columns: int = 0,
    padding: int = 2,
    upscale: int = 0,
    captions: Sequence[str] = (),
    rows: Sequence[str] = (),
    title: str = "",
) -> UInt8[np.ndarray, "height width 3"]:
    """A sheet of n images, row by row, [n, h, w, c] with c = 1 or 3 -> RGB.

    columns: 0 makes the sheet nearly square. upscale: whole factor, pixels stay squares; 0 enlarges small images only.
    captions: lines under each image; rows: lines left of each row, which is as high as they need; title: a line above
    all. What no font here can write is shown by `legible`. Raises UserError when shapes or counts do not fit.
    """
    tiles = _rgb(images, 4)
    n, h, w, _ = tiles.shape
    if n == 0:
        raise UserError("images: there are none to show")
    columns = min(columns, n) if columns else _columns(n)
    lines = math.ceil(n / columns)
    for name, texts, count in (("captions", captions, n), ("rows", rows, lines)):
        if texts and len(texts) != count:
            raise UserError(f"{name}: {len(texts)} given for {count}; one each, or none")
    upscale = upscale or max(1, math.ceil(SHARP_FROM / min(h, w)))
    tiles = tiles.repeat(upscale, axis=1).repeat(upscale, axis=2)
    h, w = h * upscale, w * upscale

    captions, rows = ([legible(text) for text in texts] for texts in (captions, rows))
    font = _font_for([*captions, *rows, title], max(11, min(16, w // 5)))
    under = round(1.5 * font.size * max(1 + text.count("\n") for text in captions)) if captions else 0
    above = 2 * font.size if title else 0
    left = round(max((_length(font, text) for text in rows), default=-font.size) + font.size)
    wide = round(max((_length(font, text) for text in captions), default=0)) + 4 if captions else 0
    pitch = max(w, wide) + padding
    high = [max(h, _height(font, text)) for text in rows] or [h] * lines  # of the images, or of what names them
    tops = np.cumsum([padding + above, *(height + under + padding for height in high)]).tolist()
    width = max(left + columns * pitch + padding, math.ceil(font.getlength(title)) + 2 * padding)
    sheet = Image.new("RGB", (width, tops[-1]), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((padding + left, padding + above / 2), title, INK, font, anchor="lm")
    for i, tile in enumerate(tiles):
        line, column = divmod(i, columns)
        x, y = left + padding + column * pitch + (pitch - padding - w) // 2, tops[line] + (high[line] - h) // 2
        sheet.paste(Image.fromarray(tile), (x, y))
        if captions:
            draw.text((x + w / 2, y + h + under / 2), captions[i], INK, font, anchor="mm", align="center")
    for top, height, text in zip(tops, high, rows, strict=False):
        draw.text((left - font.size / 2, top + height / 2), text, INK, font, anchor="rm", align="right")
    return np.asarray(sheet)


def table(
    lines: Sequence[UInt8[ArrayLike, "k h w c"]],
    captions: Sequence[Sequence[str]] = (),
    rows: Sequence[str] = (),
    title: str = "",
) -> UInt8[np.ndarray, "height width 3"]:
    """A sheet with a row for each of several lists of images, of any lengths: what a shorter one leaves is paper.

    captions: a list for each row, of a line for each of its first images.
    """
    lines = [_rgb(images, 4) for images in lines]
    columns = max(map(len, lines))
    tiles = np.full((len(lines), columns, *lines[0].shape[1:]), PAPER, np.uint8)
    for row, images in zip(tiles, lines, strict=True):
        row[: len(images)] = images
    under = [text for of_row in captions for text in [*of_row, *[""] * (columns - len(of_row))]]
    return grid(tiles.reshape(-1, *tiles.shape[2:]), columns=columns, captions=under, rows=rows, title=title)


def same_size(frames: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[UInt8[np.ndarray, "height width 3"]]:
    """The frames of a film, those that are smaller with paper at their right and below."""
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    whole = np.full((len(frames), height, width, 3), PAPER, np.uint8)
    for larger, frame in zip(whole, frames, strict=True):
        larger[: frame.shape[0], : frame.shape[1]] = frame
    return list(whole)


# ------------------------------------------------------------------------------------------------------------ writing


def wrapped(text: str, width: int, most: int = 8) -> str:
    """A person's text as lines of `width` characters for a label, of `most` lines at most; the empty one is '""'."""
    text = legible(text.replace("\n", "\\n"))
    return textwrap.fill(text, width, max_lines=most, placeholder=" …") or '""'


def legible(text: str) -> str:
    """The text, and where no font that is at hand has a shape for one of its characters its code point: \\u5706.

    A box for each of them would make all such texts look alike.
    """
    return "".join(c if c == "\n" or _can_write(c) else c.encode("unicode_escape").decode() for c in text)


def _can_write(character: str) -> bool:
    """Whether someone could read a character in a picture: not without a shape, nor from the wrong side."""
    leftwards = unicodedata.bidirectional(character) in ("R", "AL")
    return character.isprintable() and (_has(character) or _has(character, True)) and (not leftwards or _turns())


@cache
def _turns() -> bool:
    return features.check("raqm") and features.check("fribidi")


@cache
def _has(character: str, broad: bool = False) -> bool:
    """Whether a font has a shape for a character, other than the box of what is no character."""
    font = _font(16, broad)
    shape, box = font.getmask(character), font.getmask(NO_CHARACTER)
    seen = shape.size != box.size or bytes(shape) != bytes(box)
    return character == " " or (seen and shape.getbbox() is not None)


def _font_for(texts: Sequence[str], size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own where it has all their characters, otherwise one that has more."""
    return _font(size, broad=not all(_has(c) for c in set("".join(texts)) - {"\n"}))


@cache
def _font(size: int, broad: bool = False) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, of ASCII and little more: the same on every machine. Or a `broad` one."""
    return ImageFont.truetype(_broad(), size) if broad and _broad() else ImageFont.load_default(size)


@cache
def _broad() -> str:
    """Where a font of more alphabets lies, if there is one: DejaVu Sans, the system's or matplotlib's."""
    places = [FONT]
    if (found := importlib.util.find_spec("matplotlib")) and found.origin:
        places.append(str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / FONT))
    for place in places:
        try:
            return ImageFont.truetype(place).path
        except OSError:
            continue
    return ""


def _length(font: ImageFont.FreeTypeFont, text: str) -> float:
    """The pixels that the longest line of a text takes."""
    return max(font.getlength(line) for line in text.split("\n"))


def _height(font: ImageFont.FreeTypeFont, text: str) -> int:
    """The pixels that all its lines take, and a little air."""
    _, top, _, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font)
    return math.ceil(bottom - top) + font.size // 2


# ------------------------------------------------------------------------------------------------- what is no image


def rows(sequences: UInt8[ArrayLike, "n d"], values: int, cell: int = 14) -> UInt8[np.ndarray, "height width 3"]:
    """Sequences [n, d] of categories, one a row, as square cells -> RGB.

    Values 0 .. values - 1 go from white to black; anything else, which is the mask, is blue.
    """
    sequences = np.asarray(sequences)
    colours = np.linspace(255, 0, values).round().repeat(3).reshape(-1, 3)
    colours = np.concatenate([colours, [BLUE]]).astype(np.uint8)[np.minimum(sequences, values)]
    n, d = sequences.shape
    sheet = np.full((n, cell, d, cell, 3), RULE, np.uint8)
    sheet[:, 1:, :, 1:] = colours[:, None, :, None]
    return sheet.reshape(n * cell, d * cell, 3)


def scatter(
    points: Float[ArrayLike, "n 2"],
    reference: Float[ArrayLike, "m 2"] | None = None,
    limits: tuple[float, ...] = (),
    size: int = 512,
    caption: str = "",
) -> UInt8[np.ndarray, "size size 3"]:
    """Points in blue over reference points in grey, on square axes of equal units: [n, 2] -> RGB [size, size, 3].

    limits: (left, right, bottom, top); () shows all of the reference, or of the points without one. Give the same to
    every frame of a film. Points outside, or not finite, are not drawn, and the upper right corner says how many.
    """
    points = np.asarray(points, np.float64).reshape(-1, 2)
    reference = np.zeros((0, 2)) if reference is None else np.asarray(reference, np.float64).reshape(-1, 2)
    left, right, bottom, top = _square(limits or _extent(reference if len(reference) else points))
    canvas = Image.new("RGB", (size, size), PAPER)
    draw, font = ImageDraw.Draw(canvas), _font(max(11, size // 40))
    for tick in _ticks(left, right):
        x = (tick - left) / (right - left) * size
        draw.line((x, 0, x, size), RULE)
        if 0.08 < x / size < 0.92:  # no numbers in the corners, where the two axes would write over each other
            draw.text((x + 4, size - 5), f"{tick:g}", GREY, font, anchor="ls")
    for tick in _ticks(bottom, top):
        y = (top - tick) / (top - bottom) * size
        draw.line((0, y, size, y), RULE)
        if 0.08 < y / size < 0.92:
            draw.text((5, y - 3), f"{tick:g}", GREY, font, anchor="ls")

    picture, outside = np.asarray(canvas, np.float64), 0
    for cloud, colour in ((reference, GREY), (points, BLUE)):
        place = (cloud - [left, top]) / [right - left, bottom - top]
        inside = ((place >= 0) & (place < 1)).all(axis=1)  # false for what is not finite
        cover = _dots(place[inside], size, opacity=min(0.85, max(0.12, 900 / max(1, len(cloud)))))[..., None]
        picture = picture * (1 - cover) + np.array(colour) * cover
        outside = int((~inside).sum())

    canvas = Image.fromarray(picture.round().astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, size - 1, size - 1), outline=RULE)
    heading = _font(max(12, size // 32))
    draw.text((size - 8, 8), caption, INK, heading, anchor="rt")
    if outside:
        draw.text((size - 8, 8 + 1.6 * heading.size), f"{outside} outside", GREY, font, anchor="rt")
    return np.asarray(canvas)


def _image(picture: UInt8[ArrayLike, "h w *c"]) -> Image.Image:
    """Grey where it has one channel or none, otherwise RGB."""
    rgb = _rgb(picture, 3)
    return Image.fromarray(rgb if np.shape(picture)[2:] == (3,) else rgb[..., 0])


def save_png(path: str | Path, picture: UInt8[ArrayLike, "h w c"]) -> None:
    """Writes a PNG whole or not at all: [h, w], [h, w, 1] or [h, w, 3]."""
    _save(path, "PNG", _image(picture), optimize=True)


def save_gif(
    path: str | Path, frames: Sequence[UInt8[ArrayLike, "h w c"]], seconds: float = 4.0, hold_last: float = 1.5
) -> None:
    """Writes a film that lasts `seconds`, then rests on its last frame for `hold_last` more, and repeats.

    All frames share one palette of 256 colours, so that nothing flickers; grey films are exact. More frames than a
    browser can show in that time are thinned out evenly; the first and the last stay.
    """
    if not len(frames):
        raise UserError("frames: a film has at least one")
    shown = np.linspace(0, len(frames) - 1, min(len(frames), max(2, int(seconds / FASTEST)))).round().astype(int)
    frames = [Image.fromarray(_rgb(frames[i], 3)) for i in shown]
    if len({frame.size for frame in frames}) > 1:
        raise UserError("frames: they differ in size; a film needs one size")
    pixels = np.concatenate([np.asarray(frame).reshape(-1, 1, 3) for frame in frames])
    if (pixels == pixels[..., :1]).all():
        first, *rest = (frame.convert("L") for frame in frames)
    else:
        palette = Image.fromarray(pixels[:: max(1, len(pixels) // 500_000)]).quantize(256)  # half a million are plenty
        first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    durations = [max(FASTEST, seconds / len(frames)) * 1000] * len(frames)  # Pillow counts in milliseconds
    durations[-1] += hold_last * 1000
    _save(path, "GIF", first, save_all=True, append_images=rest, duration=[round(d) for d in durations], loop=0)


def _save(path: str | Path, kind: str, image: Image.Image, **options) -> None:
    with written_whole(path) as unfinished:
        image.save(unfinished, kind, **options)


def _rgb(images: UInt8[ArrayLike, "..."], ndim: int) -> UInt8[np.ndarray, "... 3"]:
    images = np.asarray(images)
    if images.ndim == ndim - 1:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != ndim or images.shape[-1] not in (1, 3):
        raise UserError(f"images: {images.dtype} {images.shape}; they must be uint8 with 1 or 3 channels last")
    return np.broadcast_to(images, (*images.shape[:-1], 3))


def _columns(n: int) -> int:
    """The fewest columns that make the sheet no taller than wide; up to twice as many if that leaves no gap."""
    square = math.isqrt(n - 1) + 1
    return next((c for c in range(square, min(n, 2 * square) + 1) if n % c == 0), square)


def _extent(points: np.ndarray) -> tuple[float, ...]:
    """(left, right, bottom, top) around all finite points, with a margin."""
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return (-1.0, 1.0, -1.0, 1.0)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.12 * max(*(high - low), 1e-6)
    return tuple(np.stack([low - margin, high + margin], axis=1).ravel())


def _square(limits: tuple[float, ...]) -> tuple[float, ...]:
    """The limits with the shorter side widened about its middle: one unit is as long in both directions."""
    if len(limits) != 4 or not (limits[0] < limits[1] and limits[2] < limits[3]):
        raise UserError(f"limits: {limits} must be (left, right, bottom, top), each pair in order")
    left, right, bottom, top = limits
    x, y, half = (left + right) / 2, (bottom + top) / 2, max(right - left, top - bottom) / 2
    return (x - half, x + half, y - half, y + half)


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers inside, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / 6
    power = 10 ** math.floor(math.log10(rough))
    step = min((power, 2 * power, 5 * power, 10 * power), key=lambda s: abs(math.log(s / rough)))
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _dots(place: Float[np.ndarray, "n 2"], size: int, opacity: float) -> Float[np.ndarray, "size size"]:
    """How much of each pixel smooth dots at places in [0, 1)^2 cover, in [0, 1]; dots that overlap grow denser."""
    fine = 3  # sub-pixels a side: the edges of the dots are smooth
    radius = fine * max(1.3, size / 300)
    reach = math.ceil(radius)  # also the margin, so that a dot at the edge is cut and not wrapped
    wide = size * fine + 2 * reach
    column, row = (place * size * fine).astype(int).T + reach
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (dy * wide + dx)[np.hypot(dy, dx) <= radius]
    stamped = ((row * wide + column)[:, None] + disc).ravel()
    count = np.bincount(stamped, minlength=wide**2).reshape(wide, wide)[reach:-reach, reach:-reach]
    cover = 1 - (1 - opacity) ** np.arange(count.max() + 1)
    return cover[count].reshape(size, fine, size, fine).mean(axis=(1, 3))
