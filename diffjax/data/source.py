"""Common parts of data sources: random access to examples, seeded draws, and reading of image files."""

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from diffjax.data.space import Space
from diffjax.errors import FieldError, UserError

# "x": [n, *shape] uint8 or float32 (stored units); "label": [n] int32, 0 if unlabelled; if the space has captions also
# "caption": [n, bytes] uint8, encoded by `diffjax.data.text`.
Batch = dict[str, np.ndarray]
ORIENTATION = 0x0112  # the EXIF tag
ONLY_BY = {"La": "LA", "LAB": "RGB"}  # modes that Pillow converts only to a single other mode
THREADS = min(8, os.cpu_count() or 1)  # decoding small images holds the GIL half of the time: more is slower
CHUNK = 256  # examples per task of a thread: large enough to hide overhead, small enough to balance load


@dataclass(frozen=True)
class Examples:
    """One split with random access: `take(indices [n] int) -> Batch` reads any of the `count` examples."""

    count: int
    take: Callable[[np.ndarray], Batch]
    known: np.ndarray | None = None  # all captions, if available without reading the examples

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        """{"x": [*shape], "label": int32 scalar}. Raises IndexError outside 0..count-1, so iteration ends."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return {name: value[0] for name, value in self.take(np.array([index])).items()}

    def arrays(self) -> Batch:
        """The whole split in memory, decoded by several threads (image decoders release the GIL)."""
        return self._gathered(tuple(self.take(np.arange(1))))

    def captions(self) -> np.ndarray:
        """All captions, [n, bytes]; unless they are `known`, reads all examples once."""
        return self._gathered(("caption",))["caption"] if self.known is None else self.known

    def _gathered(self, names: tuple[str, ...]) -> Batch:
        first = self.take(np.arange(1))
        arrays = {name: np.empty((self.count, *first[name].shape[1:]), first[name].dtype) for name in names}

        def fill(start):
            indices = np.arange(start, min(start + CHUNK, self.count))
            batch = self.take(indices)
            for name in names:
                arrays[name][indices] = batch[name]

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(fill, range(0, self.count, CHUNK)))
        return arrays


def in_memory(x: np.ndarray, label: np.ndarray, **beside: np.ndarray) -> Examples:
    """Examples from arrays; `beside` has further named arrays, such as "caption"."""
    arrays = {"x": x, "label": label.astype(np.int32)} | beside
    return Examples(len(x), lambda indices: {name: a[indices] for name, a in arrays.items()}, beside.get("caption"))


class Source(Protocol):
    """A data set. With `flip`, training also sees every image mirrored left to right (the held-out split never is)."""

    flip: bool

    @property
    def space(self) -> Space: ...

    def split(self, name: str) -> Examples:
        """The examples of "train" or "heldout", in stored units."""
        ...


class Synthetic:
    """Base of synthetic sources: both splits are in memory, and drawn from independent random streams.

    A subclass has `num_train`, `num_heldout`, `seed` and `_draw(n, stream) -> Examples`.
    """

    flip = False

    def _check_counts(self) -> None:
        for field in ("num_train", "num_heldout"):
            if getattr(self, field) < 1:
                raise UserError(f"data.{field}: {getattr(self, field)}; must be positive")
        random(self.seed, field="data.seed")

    def split(self, name: str) -> Examples:
        check_split(name)
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, Examples]:
        return {"train": self._draw(self.num_train, 0), "heldout": self._draw(self.num_heldout, 1)}


def check_split(name: str) -> None:
    if name not in ("train", "heldout"):
        raise UserError(f"split: {name!r} is unknown; must be 'train' or 'heldout'")


def check_template(caption: str, *names: str) -> None:
    """Raises UserError unless a source's field `caption` is a sentence with {} for the class, "", or one of `names`."""
    if caption and caption not in names and "{}" not in caption:
        problem = f"has no {{}} for the name of the class, as 'a picture of a {{}}' has{', nor is it ' * bool(names)}"
        raise UserError(f"data.caption: {caption!r} {problem}{', '.join(names)}")


def check_fraction(heldout: float) -> None:
    if not 0 < heldout < 1:
        raise UserError(f"data.heldout: {heldout}; must be a fraction between 0 and 1")


def random(*seeds: int, field: str) -> np.random.RandomState:
    """A generator seeded by `seeds`: a RandomState, whose stream NumPy guarantees never to change (NEP 19)."""
    if not 0 <= seeds[0] < 2**32:
        raise UserError(f"{field}: {seeds[0]}; must be between 0 and 2^32 - 1")
    return np.random.RandomState(seeds)


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
