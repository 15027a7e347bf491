"""A folder of pictures."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from diffjax.data.source import (
    ORIENTATION,
    Examples,
    check_fraction,
    check_size,
    check_split,
    check_template,
    random,
    read_image,
)
from diffjax.data.space import Space
from diffjax.data.text import decode, distinct, encode, fits, longest, sentences
from diffjax.errors import FieldError, UserError
from diffjax.progress import aside

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
TEXT_FILES = ".txt"
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


@dataclass(frozen=True)
class Folder:
    """The PNG, JPEG and WebP images under `path`; sub-folders that hold some are the classes, sorted by name.

    `read_image` says how a picture of any mode and size is brought to one form. Hidden files and folders do not count.
    Raises UserError when the folder is missing, unreadable or empty, has images both in and beside sub-folders, when
    images differ in size and `size` is 0, a caption is missing or not UTF-8, or all of them are empty.
    """

    path: str
    size: int = 0  # pixels, height and width after resizing and cropping; 0: as they are, all alike
    channels: int = 3  # 3: RGB; 1: grey
    heldout: float = 0.1  # fraction kept out of training
    split_seed: int = 0  # which ones
    flip: bool = False  # training sees mirrored twins too
    caption: str = (
        ""  # ".txt": the file beside each image, a.txt of a.png; or a sentence with {} for its class; "": none
    )
    caption_bytes: int = 128  # of a file's UTF-8 that are read, at most; a longer caption is cut

    def __post_init__(self):
        check_size(self.size)
        check_fraction(self.heldout)
        random(self.split_seed, field="data.split_seed")
        check_template(self.caption, TEXT_FILES)
        if self.caption_bytes < 1:
            raise UserError(f"data.caption_bytes: {self.caption_bytes} is not a number of bytes; at least 1")
        if self.channels not in (1, 3):
            raise UserError(f"data.channels: {self.channels} is not 1 (grey) or 3 (RGB)")

    @cached_property
    def space(self) -> Space:
        height, width = (self.size, self.size) if self.size else self._common_size()
        classes = self._classes
        caption = {"caption": self._captions.shape[1], "prompts": self._prompts} if self.caption else {}
        return Space("images", (height, width, self.channels), len(classes), class_names=classes, **caption)

    def split(self, name: str) -> Examples:
        check_split(name)
        chosen = self._chosen(name)
        if not len(chosen):
            raise UserError(f"data.heldout: {self.heldout} of {len(self.files)} images leaves none for {name!r}")
        return self._read(chosen)

    def _chosen(self, name: str) -> np.ndarray:
        """Which files are of a split."""
        shuffled = random(self.split_seed, field="data.split_seed").permutation(len(self.files))
        count = round(self.heldout * len(shuffled))
        return np.sort(shuffled[:count] if name == "heldout" else shuffled[count:])

    def everything(self) -> Examples:
        """All images, of both splits."""
        return self._read(np.arange(len(self.files)))

    def _read(self, chosen: np.ndarray) -> Examples:
        shape = self.space.shape

        def take(indices):
            files = [self.files[i] for i in chosen[indices]]
            x = np.empty((len(files), *shape), np.uint8)
            for pixels, file in zip(x, files, strict=True):
                pixels[...] = read_image(file, self.channels, self.size, str(file))
            beside = {"caption": self._captions[chosen[indices]]} if self.caption else {}
            return {"x": x, "label": self._labels[chosen[indices]]} | beside

        return Examples(len(chosen), take, self._captions[chosen] if self.caption else None)

    @cached_property
    def files(self) -> list[Path]:
        """The images, sorted by path."""
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise self._wrong(f": {'not a' if root.exists() else 'no such'} folder")

        def unreadable(error):
            raise self._wrong(f": cannot read {error.filename}: {error.strerror}")

        found = []
        for folder, folders, files in os.walk(root, onerror=unreadable, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [
                Path(folder, name).relative_to(root)
                for name in files
                if name.lower().endswith(SUFFIXES) and not name.startswith(".")
            ]
        if not found:
            raise self._wrong(f" holds no image ({', '.join(SUFFIXES)})")
        loose = min((file for file in found if len(file.parts) == 1), default=None)
        if loose and any(len(file.parts) > 1 for file in found):
            raise self._wrong(f" has sub-folders (the classes), but {loose} is in none")
        return [root / file for file in sorted(found, key=lambda file: file.as_posix())]

    def _wrong(self, reason: str) -> FieldError:
        return FieldError("data.name", f"'folder:{self.path}'", reason)

    def _class_of(self, file: Path) -> str:
        return file.relative_to(Path(self.path).expanduser()).parts[0]

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        if self.files[0].parent == Path(self.path).expanduser():
            return ()
        return tuple(sorted({self._class_of(file) for file in self.files}))

    @cached_property
    def _labels(self) -> np.ndarray:
        if not self._classes:
            return np.zeros(len(self.files), np.int32)
        number = {name: i for i, name in enumerate(self._classes)}
        return np.array([number[self._class_of(file)] for file in self.files], np.int32)

    @cached_property
    def _texts(self) -> list[str]:
        """The caption of every file."""
        if self.caption != TEXT_FILES:
            if not self._classes:
                raise UserError(f"data.caption: {self.caption!r} names classes, and 'folder:{self.path}' has none")
            of_class = sentences(self.caption, self._classes)
            return [of_class[label] for label in self._labels]
        lacking = [file for file in self.files if not file.with_suffix(TEXT_FILES).is_file()]
        if lacking:
            where = f"{lacking[0]} has no {lacking[0].stem}{TEXT_FILES} beside it"
            raise UserError(f"data.caption: {where}; {len(lacking)} of {len(self.files)} images have no caption")
        texts = [_caption(file.with_suffix(TEXT_FILES)) for file in self.files]
        if not any(texts):
            raise UserError(
                f"data.caption: all {len(texts)} {TEXT_FILES} files of 'folder:{self.path}' are empty; write into them"
                " what the images show, or leave data.caption away"
            )
        return texts

    @cached_property
    def _captions(self) -> np.ndarray:
        """Of every file, as bytes; says how many are cut."""
        long = sum(not fits(text, self.caption_bytes) for text in self._texts)
        if long:
            which = f"{long:,} of {len(self._texts):,} captions are longer than the {self.caption_bytes} bytes"
            aside(f"data.caption: {which} that are read; what comes after is cut (data.caption_bytes)")
        return encode(self._texts, min(longest(self._texts), self.caption_bytes))

    @property
    def _prompts(self) -> tuple[str, ...]:
        return distinct(decode(self._captions[self._chosen("heldout")]))

    def _common_size(self) -> tuple[int, int]:
        """(height, width) that all images share, upright; reads their headers only."""
        first = _header(self.files[0])
        for file in self.files:
            if (size := _header(file)) != first:
                (h0, w0), (h, w) = first, size
                different = f", but {self.files[0]} is {w0}x{h0} and {file} is {w}x{h}"
                raise FieldError("data.size", "0", different, "give a size")
        return first


def _caption(file: Path) -> str:
    try:
        text = " ".join(file.read_text("utf-8-sig").split())
        longest([text])
    except UnicodeDecodeError as error:
        raise UserError(f"data.caption: {file} is not UTF-8 (byte {error.start + 1}); save it as UTF-8") from error
    except UserError as error:
        raise UserError(f"data.caption: {file}: {str(error).removeprefix('prompt: ')}") from error
    return text


def _header(file: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            width, height = image.size
            # Pillow decodes a PNG to look for its EXIF data, which may come last: spare the square ones.
            sideways = width != height and image.getexif().get(ORIENTATION) in SIDEWAYS
            return (width, height) if sideways else (height, width)
    except Exception as error:  # as in read_image
        raise FieldError("data.name", str(file), f" cannot be read as an image: {error}") from error
