"""Reads a user's photo and mask in the format of a model's images, and describes how they were adapted."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from diffjax.data.images import ORIENTATION, to_8_bits
from diffjax.errors import UserError

WHITE = 128  # the darkest grey of a mask that counts as white
MODES = {
    "1": "black and white", "L": "grey", "LA": "grey with transparency", "La": "grey with transparency",
    "P": "palette", "PA": "palette with transparency", "RGB": "RGB", "RGBA": "RGB with transparency",
    "RGBa": "RGB with transparency", "RGBX": "RGB", "I": "16-bit grey", "F": "float grey",
}  # fmt: skip


@dataclass(frozen=True)
class Photo:
    """A photo as the model stores images, uint8 [h, w, c]; how it was adapted; its original size (width, height)."""

    pixels: UInt8[np.ndarray, "h w c"]
    note: str
    size: tuple[int, int]


def read_photo(path: str | Path, shape: tuple[int, ...], averaged: bool = False) -> Photo:
    """Reads the photo in `path` as [h, w, c] = `shape`, cropped centrally to its aspect ratio.

    It is resized by Pillow's antialiased Lanczos filter or, if `averaged`, by means over areas. Embedded colour
    profiles are ignored. Raises UserError if it cannot be read.
    """
    height, width, channels = shape
    upright, changes, name = _open(path, "`image`", "L" if channels == 1 else "RGB")
    resized, resizing = _fit(upright, (width, height), averaged)
    pixels = np.asarray(resized).reshape(shape)
    return Photo(pixels, f"{name}: {', '.join(changes + resizing) or 'unchanged'}", upright.size)


def read_mask(path: str | Path, photo: Photo) -> tuple[Bool[np.ndarray, "h w 1"], str]:
    """Reads a mask of the photo's size: True where it is white, the pixels to paint; and a description.

    It is cropped and resized like the photo. A pixel of the model's image is painted if at least half of its area is
    white. Raises UserError if the mask cannot be read, differs in size from the photo, or leaves nothing to paint.
    """
    upright, _, name = _open(path, "`mask`", "L")
    if upright.size != photo.size:
        raise UserError(
            f"`mask`: {path} is {_by(upright.size)}, the photo {_by(photo.size)}; must have the photo's size, and be "
            "white where to paint"
        )
    binary = upright.point(lambda grey: 255 if grey >= WHITE else 0)
    height, width, _ = photo.pixels.shape
    resized, _ = _fit(binary, (width, height), averaged=True)
    painted = np.asarray(resized)[..., None] >= WHITE
    if not painted.any():
        raise UserError(
            f"`mask`: {path} must be white (grey {WHITE} or more) where to paint; no pixel of the model's image is"
        )
    return painted, f"{name}: {painted.sum()} of {painted.size} pixels will be painted, the others stay as they are"


def _open(path: str | Path, field: str, mode: str) -> tuple[Image.Image, list[str], str]:
    """The picture upright and in `mode`, the changes that took, and its name with its original size and mode."""
    try:
        with Image.open(path) as image:
            name = f"{Path(path).name} ({_by(image.size)}, {MODES.get(image.mode, image.mode)})"
            frames = getattr(image, "n_frames", 1)
            rotated = image.getexif().get(ORIENTATION, 1) != 1
            kind, transparent = image.mode, image.has_transparency_data
            upright = to_8_bits(image, mode)
            upright.load()  # Pillow reads lazily, and errors must be raised here
    except FileNotFoundError as error:
        raise UserError(f"{field}: no such file {str(path)!r}") from error
    except IsADirectoryError as error:
        raise UserError(f"{field}: {str(path)!r} is a folder; must be a picture") from error
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError and others
        raise UserError(f"{field}: {path} cannot be read as an image: {' '.join(str(error).split())}") from error
    grey = kind in ("1", "L", "LA", "La", "F", "I") or kind.startswith("I;16")
    changes = {
        f"the first of {frames} frames": frames > 1,
        "turned upright as its EXIF orientation says": rotated,
        "transparency laid over white": transparent,
        "16 bits scaled to 8": kind == "I" or kind.startswith("I;16"),
        "floats taken as greys from 0 to 1, or to 255 if any is above 1": kind == "F",
        "colours made grey (ITU-R 601)": mode == "L" and not grey,
        "grey repeated in three channels": mode == "RGB" and grey,
        "colours made RGB": mode == "RGB" and not grey and not kind.startswith("RGB"),
    }
    return upright, [change for change, applies in changes.items() if applies], name


def _fit(image: Image.Image, size: tuple[int, int], averaged: bool) -> tuple[Image.Image, list[str]]:
    """Crops the largest central part with the aspect of `size` and resizes it to `size`; and describes both."""
    changes = []
    scale = min(old / new for old, new in zip(image.size, size, strict=True))
    crop = tuple(max(1, round(new * scale)) for new in size)
    if crop != image.size:
        left, top = ((old - new) // 2 for old, new in zip(image.size, crop, strict=True))
        image = image.crop((left, top, left + crop[0], top + crop[1]))
        changes.append(f"cropped to its middle {_by(crop)}")
    if crop != size:
        method, name = (Image.Resampling.BOX, "means of areas") if averaged else (Image.Resampling.LANCZOS, "Lanczos")
        image = image.resize(size, method)
        changes.append(f"{'reduced' if crop[0] > size[0] else 'enlarged'} to {_by(size)} ({name}, antialiased)")
    return image, changes


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
