"""Reads image files: of any mode and size, to arrays of one kind."""

import io
from pathlib import Path

import numpy as np

from diffjax.errors import FieldError, UserError

ORIENTATION = 0x0112  # the EXIF tag
ONLY_BY = {"La": "LA", "LAB": "RGB"}  # modes that Pillow converts only to a single other mode


def check_size(size: int) -> None:
    if size < 0:
        raise UserError(f"data.size: {size}; must be a number of pixels, or 0 to leave the images unchanged")


def read_image(file: Path | bytes, channels: int, size: int, name: str) -> np.ndarray:
    """Decodes an image to uint8 [height, width, channels], channels 1 (grey, ITU-R 601) or 3 (RGB).

    `to_8_bits` converts the mode. With `size` > 0 the shorter side is resized to `size` (Pillow's antialiased Lanczos
    filter), then the centre is cropped. Embedded colour profiles are ignored. Raises UserError with the image's `name`
    if it is damaged.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            image = to_8_bits(image, "L" if channels == 1 else "RGB")
            pixels = np.asarray(_resize(image, size) if size else image)
    except Exception as error:  # Pillow's decoders raise nearly anything: OSError, SyntaxError, ValueError, ...
        raise FieldError("data.name", name, f" cannot be read as an image: {error}") from error
    return pixels.reshape(*pixels.shape[:2], channels)


def to_8_bits(image, mode: str):
    """Converts a Pillow image of any mode to "L" or "RGB".

    The EXIF orientation is applied, transparency is composed on white, 16-bit grey is scaled to 8 bits. Floats are grey
    values in [0, 1], or in [0, 255] if one is above 1. Raises ValueError for floats that are not finite.
    """
    from PIL import Image, ImageOps

    if image.getexif().get(ORIENTATION, 1) != 1:  # exif_transpose would also copy upright images
        image = ImageOps.exif_transpose(image)
    if image.mode in ONLY_BY:
        image = image.convert(ONLY_BY[image.mode])
    if image.mode == "F" or image.mode == "I" or image.mode.startswith("I;16"):  # Pillow would clip at 255
        grey = np.asarray(image).astype(np.float64)
        if not np.isfinite(grey).all():
            raise ValueError("some of its grey values are not finite")
        white = 65535 if image.mode != "F" else 1 if grey.max(initial=0) <= 1 else 255
        image = Image.fromarray(np.clip(np.round(grey * (255 / white)), 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _resize(image, size: int):
    from PIL import Image

    ratio = size / min(image.size)
    width, height = (max(size, round(side * ratio)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
