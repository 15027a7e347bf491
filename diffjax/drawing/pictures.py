"""Draws sheets of images and scatter plots of 2-D data as uint8 arrays, and writes pictures and films of them."""

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
from diffjax.host.atomic import atomic_write

SHARP_FROM = 56  # pixels; smaller images are enlarged by a whole number until their shorter side has as many
# All backgrounds are grey, so that films of grey images keep their exact palette.
PAPER = (250, 250, 250)  # behind points and figures
MOUNT = (232, 232, 232)  # between images: darker, so that neighbouring white ones stay apart
INK = (64, 64, 64)
RULE = (227, 227, 227)
GREY = (153, 153, 153)
BLUE = (31, 90, 190)
FONT = "DejaVuSans.ttf"  # for characters that Pillow's own font lacks
NO_CHARACTER = "\U0010ffff"  # a noncharacter, which a font draws as its glyph for missing characters
FASTEST = 0.02  # seconds a frame; browsers slow down a GIF that asks for less


def grid(
    images: UInt8[ArrayLike, "n h w c"],
    columns: int = 0,
    padding: int = 2,
    upscale: int = 0,
    captions: Sequence[str] = (),
    rows: Sequence[str] = (),
    title: str = "",
) -> UInt8[np.ndarray, "height width 3"]:
    """Arranges n images row by row on a sheet: [n, h, w, c] with c = 1 or 3 -> RGB.

    columns: 0 makes the sheet nearly square. upscale: whole factor, pixels stay squares; 0 enlarges small images only.
    captions: text under each image. rows: text left of each row, which becomes as high as its text. title: a line at
    the top. Characters without a glyph are shown as `legible` writes them. Raises UserError if shapes or counts do not
    fit.
    """
    tiles = _rgb(images, 4)
    n, h, w, _ = tiles.shape
    if n == 0:
        raise UserError("images: 0 given; must be at least 1")
    columns = min(columns, n) if columns else _columns(n)
    row_count = math.ceil(n / columns)
    for name, texts, count in (("captions", captions, n), ("rows", rows, row_count)):
        if texts and len(texts) != count:
            raise UserError(f"{name}: {len(texts)} given for {count}; must be one each, or none")
    upscale = upscale or max(1, math.ceil(SHARP_FROM / min(h, w)))
    tiles = tiles.repeat(upscale, axis=1).repeat(upscale, axis=2)
    h, w = h * upscale, w * upscale

    captions, rows = ([legible(text) for text in texts] for texts in (captions, rows))
    font = _font_for([*captions, *rows, title], max(11, min(16, w // 5)))
    caption_height = round(1.5 * font.size * max(1 + text.count("\n") for text in captions)) if captions else 0
    caption_width = round(max((_width(font, text) for text in captions), default=0)) + 4 if captions else 0
    title_height = 2 * font.size if title else 0
    margin = round(max((_width(font, text) for text in rows), default=-font.size) + font.size)  # left of the images
    pitch = max(w, caption_width) + padding
    heights = [max(h, _height(font, text)) for text in rows] or [h] * row_count  # of the rows, without captions
    tops = np.cumsum([padding + title_height, *(height + caption_height + padding for height in heights)]).tolist()
    width = max(margin + columns * pitch + padding, math.ceil(font.getlength(title)) + 2 * padding)
    sheet = Image.new("RGB", (width, tops[-1]), MOUNT)
    draw = ImageDraw.Draw(sheet)
    draw.text((padding + margin, padding + title_height / 2), title, INK, font, anchor="lm")
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        x = margin + padding + column * pitch + (pitch - padding - w) // 2
        y = tops[row] + (heights[row] - h) // 2
        sheet.paste(Image.fromarray(tile), (x, y))
        if captions:
            draw.text((x + w / 2, y + h + caption_height / 2), captions[i], INK, font, anchor="mm", align="center")
    for top, height, text in zip(tops, heights, rows, strict=False):
        draw.text((margin - font.size / 2, top + height / 2), text, INK, font, anchor="rm", align="right")
    return np.asarray(sheet)


def table(
    lines: Sequence[UInt8[ArrayLike, "k h w c"]],
    captions: Sequence[Sequence[str]] = (),
    rows: Sequence[str] = (),
    title: str = "",
) -> UInt8[np.ndarray, "height width 3"]:
    """A sheet with one row for each list of images; shorter lists leave the rest of their row empty.

    captions: for each row a list of texts for its first images.
    """
    lines = [_rgb(images, 4) for images in lines]
    columns = max(map(len, lines))
    tiles = np.full((len(lines), columns, *lines[0].shape[1:]), MOUNT, np.uint8)
    for row, images in zip(tiles, lines, strict=True):
        row[: len(images)] = images
    padded = [text for texts in captions for text in [*texts, *[""] * (columns - len(texts))]]
    return grid(tiles.reshape(-1, *tiles.shape[2:]), columns=columns, captions=padded, rows=rows, title=title)


def same_size(frames: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[UInt8[np.ndarray, "height width 3"]]:
    """Pads frames of different sizes with background, at the right and below, to the size of the largest."""
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    padded = np.full((len(frames), height, width, 3), MOUNT, np.uint8)
    for canvas, frame in zip(padded, frames, strict=True):
        canvas[: frame.shape[0], : frame.shape[1]] = frame
    return list(padded)


# --------------------------------------------------------------------------------------------------------------- text


def wrapped(text: str, width: int, most: int = 8) -> str:
    """Wraps a user's text to lines of `width` characters, at most `most` of them; an empty text becomes '""'."""
    text = legible(text.replace("\n", "\\n"))
    return textwrap.fill(text, width, max_lines=most, placeholder=" …") or '""'


def legible(text: str) -> str:
    """Replaces each character that no available font can draw by its code point, such as \\u5706.

    Boxes for missing characters would make all such texts look alike.
    """
    return "".join(c if c == "\n" or _can_write(c) else c.encode("unicode_escape").decode() for c in text)


def _can_write(character: str) -> bool:
    """Whether Pillow can draw a character legibly: a font has its glyph, and its libraries the direction it needs."""
    right_to_left = unicodedata.bidirectional(character) in ("R", "AL")
    has_glyph = _has_glyph(character) or _has_glyph(character, broad=True)
    return character.isprintable() and has_glyph and (not right_to_left or _draws_right_to_left())


@cache
def _draws_right_to_left() -> bool:
    return features.check("raqm") and features.check("fribidi")


@cache
def _has_glyph(character: str, broad: bool = False) -> bool:
    """Whether a font has a visible glyph for a character, other than the one for missing characters."""
    font = _font(16, broad)
    glyph, missing = font.getmask(character), font.getmask(NO_CHARACTER)
    differs = glyph.size != missing.size or bytes(glyph) != bytes(missing)
    return character == " " or (differs and glyph.getbbox() is not None)


def _font_for(texts: Sequence[str], size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font if it has all characters of the texts, otherwise the broad one."""
    return _font(size, broad=not all(_has_glyph(c) for c in set("".join(texts)) - {"\n"}))


@cache
def _font(size: int, broad: bool = False) -> ImageFont.FreeTypeFont:
    """Pillow's own font, the same on every machine but little more than ASCII; or a `broad` one, if it is installed."""
    return ImageFont.truetype(_broad(), size) if broad and _broad() else ImageFont.load_default(size)


@cache
def _broad() -> str:
    """The path of a font with more alphabets, DejaVu Sans of the system or of matplotlib; "" if neither is there."""
    candidates = [FONT]
    if (spec := importlib.util.find_spec("matplotlib")) and spec.origin:
        candidates.append(str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / FONT))
    for candidate in candidates:
        try:
            return ImageFont.truetype(candidate).path
        except OSError:
            continue
    return ""


def _width(font: ImageFont.FreeTypeFont, text: str) -> float:
    """The width of a text's longest line in pixels."""
    return max(font.getlength(line) for line in text.split("\n"))


def _height(font: ImageFont.FreeTypeFont, text: str) -> int:
    """The height of a text in pixels, with some space around it."""
    _, top, _, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font)
    return math.ceil(bottom - top) + font.size // 2


# -------------------------------------------------------------------------------------------- sequences and points


def rows(sequences: UInt8[ArrayLike, "n d"], values: int, cell: int = 14) -> UInt8[np.ndarray, "height width 3"]:
    """Draws sequences of categories [n, d] as rows of square cells -> RGB.

    Values 0 .. values - 1 go from white to black; any other value, which is the mask, is blue.
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
    """Draws points in blue over reference points in grey, with equal units on both axes: [n, 2] -> RGB [size, size, 3].

    limits: (left, right, bottom, top); () fits them to the reference, or to the points if there is none. Give the same
    limits to every frame of a film. Points that are outside or not finite are counted in the upper right corner.
    """
    points = np.asarray(points, np.float64).reshape(-1, 2)
    reference = np.zeros((0, 2)) if reference is None else np.asarray(reference, np.float64).reshape(-1, 2)
    left, right, bottom, top = _square(limits or _extent(reference if len(reference) else points))
    canvas = Image.new("RGB", (size, size), PAPER)
    draw, font = ImageDraw.Draw(canvas), _font(max(11, size // 40))
    for tick in _ticks(left, right):
        x = (tick - left) / (right - left) * size
        draw.line((x, 0, x, size), RULE)
        if 0.08 < x / size < 0.92:  # no labels in the corners, where those of the two axes would overlap
            draw.text((x + 4, size - 5), f"{tick:g}", GREY, font, anchor="ls")
    for tick in _ticks(bottom, top):
        y = (top - tick) / (top - bottom) * size
        draw.line((0, y, size, y), RULE)
        if 0.08 < y / size < 0.92:
            draw.text((5, y - 3), f"{tick:g}", GREY, font, anchor="ls")

    picture, outside = np.asarray(canvas, np.float64), 0
    for cloud, colour in ((reference, GREY), (points, BLUE)):
        position = (cloud - [left, top]) / [right - left, bottom - top]  # in [0, 1) if inside
        inside = ((position >= 0) & (position < 1)).all(axis=1)  # false for NaN and infinity
        cover = _dots(position[inside], size, opacity=min(0.85, max(0.12, 900 / max(1, len(cloud)))))[..., None]
        picture = picture * (1 - cover) + np.array(colour) * cover
        outside = int((~inside).sum())  # the last iteration counts those of `points`

    canvas = Image.fromarray(picture.round().astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, size - 1, size - 1), outline=RULE)
    heading = _font(max(12, size // 32))
    draw.text((size - 8, 8), caption, INK, heading, anchor="rt")
    if outside:
        draw.text((size - 8, 8 + 1.6 * heading.size), f"{outside} outside", GREY, font, anchor="rt")
    return np.asarray(canvas)


def _image(picture: UInt8[ArrayLike, "h w *c"]) -> Image.Image:
    """A Pillow image: grey for one channel or none, otherwise RGB."""
    rgb = _rgb(picture, 3)
    return Image.fromarray(rgb if np.shape(picture)[2:] == (3,) else rgb[..., 0])


def save_png(path: str | Path, picture: UInt8[ArrayLike, "h w c"]) -> None:
    """Writes a PNG atomically: [h, w], [h, w, 1] or [h, w, 3]."""
    _save(path, "PNG", _image(picture), optimize=True)


def save_gif(
    path: str | Path, frames: Sequence[UInt8[ArrayLike, "h w c"]], seconds: float = 4.0, hold_last: float = 1.5
) -> None:
    """Writes a GIF that plays for `seconds`, holds its last frame for `hold_last` seconds more, and repeats.

    All frames share one palette of 256 colours, so that they do not flicker; grey films are exact. Half of a coloured
    film's palette is for the last frame, which is the result, as noise would otherwise take nearly all of it. If there
    are more frames than a browser can show in that time, evenly spaced ones are kept, with the first and the last.
    """
    if not len(frames):
        raise UserError("frames: 0 given; must be at least 1")
    indices = np.linspace(0, len(frames) - 1, min(len(frames), max(2, int(seconds / FASTEST)))).round().astype(int)
    frames = [Image.fromarray(_rgb(frames[i], 3)) for i in indices]
    if len({frame.size for frame in frames}) > 1:
        raise UserError("frames: differ in size; must all have the same")
    pixels = np.concatenate([np.asarray(frame).reshape(-1, 1, 3) for frame in frames])
    if (pixels == pixels[..., :1]).all():
        first, *rest = (frame.convert("L") for frame in frames)
    else:
        sparse = Image.fromarray(pixels[:: max(1, len(pixels) // 500_000)])  # half a million pixels suffice
        palette = Image.new("P", (1, 1))
        palette.putpalette([*_colours(frames[-1], 128), *_colours(sparse, 128)])
        first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    durations = [max(FASTEST, seconds / len(frames)) * 1000] * len(frames)  # Pillow counts in milliseconds
    durations[-1] += hold_last * 1000
    _save(path, "GIF", first, save_all=True, append_images=rest, duration=[round(d) for d in durations], loop=0)


def _colours(image: Image.Image, most: int) -> list[int]:
    """Colours r, g, b, r, g, b, ... that represent an image: all that it has, if these are at most `most`."""
    if all_colours := image.getcolors(most):
        return [channel for _, colour in all_colours for channel in colour]
    return image.quantize(most).getpalette()[: 3 * most]


def _save(path: str | Path, kind: str, image: Image.Image, **options) -> None:
    with atomic_write(path) as unfinished:
        image.save(unfinished, kind, **options)


def _rgb(images: UInt8[ArrayLike, "..."], ndim: int) -> UInt8[np.ndarray, "... 3"]:
    images = np.asarray(images)
    if images.ndim == ndim - 1:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != ndim or images.shape[-1] not in (1, 3):
        raise UserError(f"images: {images.dtype} {images.shape} must be uint8 with 1 or 3 channels last")
    return np.broadcast_to(images, (*images.shape[:-1], 3))


def _columns(n: int) -> int:
    """The fewest columns that make the sheet no taller than wide; up to twice as many if those leave no gap."""
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
    """Widens the shorter side of the limits about its middle, so that both axes have the same units."""
    if len(limits) != 4 or not (limits[0] < limits[1] and limits[2] < limits[3]):
        raise UserError(f"limits: {limits} must be (left, right, bottom, top), each pair in order")
    left, right, bottom, top = limits
    x, y, half = (left + right) / 2, (bottom + top) / 2, max(right - left, top - bottom) / 2
    return (x - half, x + half, y - half, y + half)


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers inside, in steps of 1, 2 or 5 times a power of ten."""
    target = (high - low) / 6
    power = 10 ** math.floor(math.log10(target))
    step = min((power, 2 * power, 5 * power, 10 * power), key=lambda s: abs(math.log(s / target)))
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _dots(position: Float[np.ndarray, "n 2"], size: int, opacity: float) -> Float[np.ndarray, "size size"]:
    """The coverage of each pixel, in [0, 1], by antialiased dots at positions in [0, 1)^2; overlapping dots add up.

    k dots cover 1 - (1 - opacity)^k.
    """
    scale = 3  # sub-pixels per side of a pixel, for antialiasing
    radius = scale * max(1.3, size / 300)
    margin = math.ceil(radius)  # around the canvas, so that a dot at the edge is cut off instead of wrapping around
    width = size * scale + 2 * margin
    column, row = (position * size * scale).astype(int).T + margin
    dy, dx = np.mgrid[-margin : margin + 1, -margin : margin + 1]
    disc = (dy * width + dx)[np.hypot(dy, dx) <= radius]
    indices = ((row * width + column)[:, None] + disc).ravel()
    count = np.bincount(indices, minlength=width**2).reshape(width, width)[margin:-margin, margin:-margin]
    cover = 1 - (1 - opacity) ** np.arange(count.max() + 1)
    return cover[count].reshape(size, scale, size, scale).mean(axis=(1, 3))
