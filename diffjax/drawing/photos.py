"""A person's photo, and a mask over it, brought to the form a model draws in; and a sentence that says how."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from diffjax.data.source import ORIENTATION, to_8_bits
from diffjax.errors import UserError

WHITE = 128  # a mask's greys from here on are white
MODES = {
    "1": "black and white", "L": "grey", "LA": "grey with transparency", "La": "grey with transparency",
    "P": "palette", "PA": "palette with transparency", "RGB": "RGB", "RGBA": "RGB with transparency",
    "RGBa": "RGB with transparency", "RGBX": "RGB", "I": "16-bit grey", "F": "float grey",
}  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """uint8 [h, w, c] as the model stores images, what was done to it, and the size it came in (width, height)."""

    pixels: UInt8[np.ndarray, "h w c"]
    note: str
    size: tuple[int, int]


def read_photo(path: str | Path, shape: tuple[int, ...], averaged: bool = False) -> Photo:
    """The photo in `path` as [h, w, c] = `shape`, its middle cut out to that aspect where it has another.

    It is resized by Pillow's antialiased Lanczos filter or, `averaged`, by means over areas. Raises UserError if it
    cannot be read. Embedded colour profiles are ignored.
    """
    height, width, channels = shape
    upright, done, name = _open(path, "--image", "L" if channels == 1 else "RGB")
    resized, fitted = _fit(upright, (width, height), averaged)
    pixels = np.asarray(resized).reshape(shape)
    return Photo(pixels, f"{name}: {', '.join(done + fitted) or 'as it is'}", upright.size)


def read_mask(path: str | Path, photo: Photo) -> tuple[Bool[np.ndarray, "h w 1"], str]:
    """Where a mask of the photo's own size is white: what is to be painted. It is cut and reduced like the photo.

    A pixel of the model's is painted if at least half of what it shows is white. Raises UserError if the mask cannot be
    read, has another size, or leaves nothing to paint.
    """
    upright, _, name = _open(path, "--mask", "L")
    if upright.size != photo.size:
        raise UserError(
            f"--mask: {path} is {_by(upright.size)}, the photo {_by(photo.size)}; a mask has the photo's size, white"
            " where it is to be painted"
        )
    sharp = upright.point(lambda grey: 255 if grey >= WHITE else 0)
    height, width, _ = photo.pixels.shape
    resized, _ = _fit(sharp, (width, height), averaged=True)
    painted = np.asarray(resized)[..., None] >= WHITE
    if not painted.any():
        raise UserError(f"--mask: {path} has no white pixel (grey {WHITE} or more) that the model sees; paint what?")
    return painted, f"{name}: {painted.sum()} of {painted.size} pixels are to be painted, the others stay as they are"


def _open(path: str | Path, flag: str, mode: str) -> tuple[Image.Image, list[str], str]:
    """The picture upright and in `mode`, what was done for that, and a name that says what it was."""
    try:
        with Image.open(path) as image:
            name = f"{Path(path).name} ({_by(image.size)}, {MODES.get(image.mode, image.mode)})"
            frames = getattr(image, "n_frames", 1)
            turned = image.getexif().get(ORIENTATION, 1) != 1
            kind, transparent = image.mode, image.has_transparency_data
            out = to_8_bits(image, mode)
            out.load()  # what needed no conversion is not read yet
    except FileNotFoundError as error:
        raise UserError(f"{flag}: no such file {str(path)!r}") from error
    except IsADirectoryError as error:
        raise UserError(f"{flag}: {str(path)!r} is a folder; give a picture") from error
    except Exception as error:  # Pillow's decoders raise nearly anything: OSError, SyntaxError, ValueError, ...
        raise UserError(f"{flag}: {path} cannot be read as an image: {' '.join(str(error).split())}") from error
    grey = kind in ("1", "L", "LA", "La", "F", "I") or kind.startswith("I;16")
    done = {
        f"the first of {frames} frames": frames > 1,
        "turned upright as its EXIF orientation says": turned,
        "transparency laid over white": transparent,
        "16 bits scaled to 8": kind == "I" or kind.startswith("I;16"),
        "floats taken as greys from 0 to 1, or to 255 where one is above 1": kind == "F",
        "colours made grey (ITU-R 601)": mode == "L" and not grey,
        "grey repeated in three channels": mode == "RGB" and grey,
        "colours made RGB": mode == "RGB" and not grey and not kind.startswith("RGB"),
    }
    return out, [what for what, true in done.items() if true], name


def _fit(image: Image.Image, size: tuple[int, int], averaged: bool) -> tuple[Image.Image, list[str]]:
    """The largest middle part with the aspect of `size`, at that size; and what was done."""
    done = []
    scale = min(have / want for have, want in zip(image.size, size, strict=True))
    part = tuple(max(1, round(want * scale)) for want in size)
    if part != image.size:
        left, top = ((have - keep) // 2 for have, keep in zip(image.size, part, strict=True))
        image = image.crop((left, top, left + part[0], top + part[1]))
        done.append(f"its middle {_by(part)} cut out")
    if part != size:
        method, how = (Image.Resampling.BOX, "means of areas") if averaged else (Image.Resampling.LANCZOS, "Lanczos")
        image = image.resize(size, method)
        done.append(f"{'reduced' if part[0] > size[0] else 'enlarged'} to {_by(size)} ({how}, antialiased)")
    return image, done


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
