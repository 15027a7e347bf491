"""Images from a folder, with classes from sub-folders and captions from text files."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from diffjax.data.images import ORIENTATION, check_size, read_image
from diffjax.data.source import Examples, check_fraction, check_split, check_template, random
from diffjax.data.space import Space
from diffjax.data.text import decode, distinct, encode, fits, longest, sentences
from diffjax.errors import FieldError, UserError
from diffjax.host.progress import to_stderr

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
TEXT_FILES = ".txt"
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


@dataclass(frozen=True)
class Folder:
    """The PNG, JPEG and WebP images under `path`; sub-folders with images are the classes, sorted by name.

    `read_image` converts images of any mode and size. Hidden files and folders are ignored. Raises UserError if the
    folder is missing, unreadable or empty, or has images both in and beside sub-folders; if images differ in size and
    `size` is 0; if a caption is missing or not UTF-8, or all captions are empty.
    """

    path: str
    size: int = 0  # pixels, height and width after resizing and cropping; 0: unchanged, for images of one size
    channels: int = 3  # 3: RGB; 1: grey
    heldout: float = 0.1  # fraction held out from training
    split_seed: int = 0  # selects the held-out images
    flip: bool = False  # training also sees mirrored images
    caption: str = ""  # ".txt": from a.txt for a.png; or a sentence with {} for the class; "": no captions
    caption_bytes: int = 128  # maximum length of a caption in UTF-8; a longer one is cut

    def __post_init__(self):
        check_size(self.size)
        check_fraction(self.heldout)
        random(self.split_seed, field="data.split_seed")
        check_template(self.caption, TEXT_FILES)
        if self.caption_bytes < 1:
            raise UserError(f"data.caption_bytes: {self.caption_bytes}; must be at least 1")
        if self.channels not in (1, 3):
            raise UserError(f"data.channels: {self.channels}; must be 1 (grey) or 3 (RGB)")

    @cached_property
    def space(self) -> Space:
        height, width = (self.size, self.size) if self.size else self._common_size()
        classes = self._classes
        caption = {"caption": self._captions.shape[1], "prompts": self._prompts} if self.caption else {}
        return Space("images", (height, width, self.channels), len(classes), class_names=classes, **caption)

    def split(self, name: str) -> Examples:
        check_split(name)
        indices = self._chosen(name)
        if not len(indices):
            raise UserError(f"data.heldout: {self.heldout} of {len(self.files)} images leaves none for {name!r}")
        return self._read(indices)

    def _chosen(self, name: str) -> np.ndarray:
        """The indices of the files of a split, in ascending order."""
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
            captions = {"caption": self._captions[chosen[indices]]} if self.caption else {}
            return {"x": x, "label": self._labels[chosen[indices]]} | captions

        return Examples(len(chosen), take, self._captions[chosen] if self.caption else None)

    @cached_property
    def files(self) -> list[Path]:
        """The images, sorted by path."""
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise self._wrong(f": {'not a' if root.exists() else 'no such'} folder")

        def on_error(error):
            raise self._wrong(f": cannot read {error.filename}: {error.strerror}")

        images = []
        for folder, folders, files in os.walk(root, onerror=on_error, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            images += [
                Path(folder, name).relative_to(root)
                for name in files
                if name.lower().endswith(SUFFIXES) and not name.startswith(".")
            ]
        if not images:
            raise self._wrong(f" holds no image ({', '.join(SUFFIXES)})")
        top_level = min((file for file in images if len(file.parts) == 1), default=None)
        if top_level and any(len(file.parts) > 1 for file in images):
            raise self._wrong(f" has sub-folders (the classes), but {top_level} is in none; must be in one")
        return [root / file for file in sorted(images, key=lambda file: file.as_posix())]

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
        index = {name: i for i, name in enumerate(self._classes)}
        return np.array([index[self._class_of(file)] for file in self.files], np.int32)

    @cached_property
    def _texts(self) -> list[str]:
        """The caption of every file."""
        if self.caption != TEXT_FILES:
            if not self._classes:
                raise UserError(f"data.caption: {self.caption!r} needs class names; 'folder:{self.path}' has none")
            class_captions = sentences(self.caption, self._classes)
            return [class_captions[label] for label in self._labels]
        missing = [file for file in self.files if not file.with_suffix(TEXT_FILES).is_file()]
        if missing:
            example = f"{missing[0]} has no {missing[0].stem}{TEXT_FILES} beside it"
            raise UserError(f"data.caption: {example}; {len(missing)} of {len(self.files)} images have no caption")
        texts = [_caption(file.with_suffix(TEXT_FILES)) for file in self.files]
        if not any(texts):
            raise UserError(
                f"data.caption: all {len(texts)} {TEXT_FILES} files of 'folder:{self.path}' are empty; must describe"
                " what the images show, or leave out data.caption"
            )
        return texts

    @cached_property
    def _captions(self) -> np.ndarray:
        """The caption of every file, as bytes; reports how many are cut."""
        num_cut = sum(not fits(text, self.caption_bytes) for text in self._texts)
        if num_cut:
            summary = f"{num_cut:,} of {len(self._texts):,} captions are longer than the {self.caption_bytes} bytes"
            to_stderr(f"data.caption: {summary} that are read; what comes after is cut (data.caption_bytes)")
        return encode(self._texts, min(longest(self._texts), self.caption_bytes))

    @property
    def _prompts(self) -> tuple[str, ...]:
        return distinct(decode(self._captions[self._chosen("heldout")]))

    def _common_size(self) -> tuple[int, int]:
        """(height, width) of all images after EXIF rotation; reads headers only. Raises UserError."""
        first = _header(self.files[0])
        for file in self.files:
            if (size := _header(file)) != first:
                (h0, w0), (h, w) = first, size
                reason = f", but {self.files[0]} is {w0}x{h0} and {file} is {w}x{h}"
                raise FieldError("data.size", "0", reason, "give a size")
        return first


def _caption(file: Path) -> str:
    try:
        text = " ".join(file.read_text("utf-8-sig").split())
        longest([text])
    except UnicodeDecodeError as error:
        raise UserError(f"data.caption: {file} is not UTF-8 (byte {error.start + 1}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"data.caption: {file} cannot be read ({error.strerror})") from error
    except UserError as error:
        raise UserError(f"data.caption: {file}: {str(error).removeprefix('prompt: ')}") from error
    return text


def _header(file: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            width, height = image.size
            # Pillow decodes a whole PNG to find its EXIF data, which may come last: skip that for square images.
            rotated = width != height and image.getexif().get(ORIENTATION) in SIDEWAYS
            return (width, height) if rotated else (height, width)
    except Exception as error:  # as in read_image
        raise FieldError("data.name", str(file), f" cannot be read as an image: {error}") from error
