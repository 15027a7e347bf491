"""Reads user-supplied images: a folder, an archive as written by `sample --out=FILE.npz`, or a named data source."""

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffjax.config import build, component
from diffjax.data import Examples
from diffjax.data.folder import SUFFIXES, Folder
from diffjax.data.source import THREADS, in_memory
from diffjax.errors import Diverged, FieldError, UserError
from diffjax.host.progress import Waiting, to_stderr
from diffjax.inference.labels import complete_note

SPLITS = ("train", "heldout")
NOT_READ = (".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2", ".avif", ".heic")  # unsupported formats, warned about
KINDS = {"1": "grey", "L": "grey", "RGB": "RGB"}  # Pillow modes that need no conversion
END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True)
class ImageSet:
    """A user-supplied set of images, all of one shape."""

    name: str
    shape: tuple[int, int, int]
    examples: Examples
    flag: str  # that named them, for error messages
    note: dict[str, Any] = field(default_factory=dict)  # from `sample`, if it drew them

    def __post_init__(self):
        if bad := self.note.get("not_finite"):
            raise Diverged(
                f"{self.flag}: {bad} samples in {self.name} were not finite; they would pass for black images"
            )


def read(place: str, flag: str, split: str = "train") -> ImageSet:
    """Reads the images in a folder, an .npz (its array `x`), or a named data source ("tfds:cifar10", "digits").

    A source may name its split, overriding `split`: "digits@heldout". Raises UserError, naming the flag, if there is
    no such place, for images of different modes or sizes, and for damaged files; Diverged for samples of which `sample`
    noted that some were not finite.
    """
    if os.path.isdir(place):  # unlike Path.is_dir, also of a name that is too long for a file
        with blamed(flag, place):
            return _folder(place, flag)
    if place.endswith(".npz"):
        return _archive(place, flag)
    if os.path.isfile(place):
        raise UserError(f"{flag}: {place} is a file; must be a folder of images, an .npz, or a data source")
    name, at, suffix = place.partition("@")
    if suffix in SPLITS:
        place, split = name, suffix
    try:
        source = build("data", component("data", place))
        kind, shape, examples = source.space.kind, source.space.shape, source.split(split)
    except UserError as error:
        reason = f"a split is one of {', '.join(SPLITS)}, not {suffix!r}" if at and suffix not in SPLITS else error
        raise UserError(f"{flag}: {place} is no folder, no .npz and no data source ({reason})") from error
    if kind != "images":
        raise UserError(f"{flag}: {place} gives {kind}; must be images")
    return ImageSet(f"{place} {split}", shape, examples, flag)


def needs_split(place: str) -> bool:
    """Whether `read` takes this place for a data source whose name chooses no split."""
    return not (os.path.exists(place) or place.endswith(".npz") or place.partition("@")[2] in SPLITS)


@contextlib.contextmanager
def blamed(flag: str, place: str) -> Iterator[None]:
    """Turns errors about config fields of a folder into errors about the flag that named it, or the damaged file."""
    try:
        yield
    except FieldError as error:
        if error.field == "data.size":
            raise UserError(f"{flag}: {place}{error.reason}; bring them to one") from error
        subject = place if error.value == f"'folder:{place}'" else error.value
        raise UserError(f"{flag}: {subject}{error.reason}") from error


def _folder(place: str, flag: str) -> ImageSet:
    files, file_by_kind, file_by_size = Folder(place).files, {}, {}
    if skipped := sorted({path.suffix for path in Path(place).rglob("*") if path.suffix.lower() in NOT_READ}):
        to_stderr(f"{place}: only {', '.join(SUFFIXES)} are read; its {', '.join(skipped)} are left out")
    progress = Waiting(f"{place}, files checked", to_stderr)
    with ThreadPoolExecutor(THREADS) as pool:
        modes_and_sizes = pool.map(_checked, files)
        for done, (file, (mode, size)) in enumerate(zip(files, modes_and_sizes, strict=True), start=1):
            file_by_kind.setdefault(KINDS.get(mode, mode), file)
            file_by_size.setdefault(size, file)
            progress.at(done, len(files))
    for aspect, file_by_value in (
        ("modes", file_by_kind),
        ("sizes", {f"{w}x{h}": file for (w, h), file in file_by_size.items()}),
    ):
        if len(file_by_value) > 1:
            (first_value, first), (second_value, second) = list(file_by_value.items())[:2]
            example = f"{first.name} is {first_value}, {second.name} is {second_value}"
            raise UserError(f"{flag}: {place} holds images of different {aspect}: {example}; bring them to one")
    (kind,) = file_by_kind
    if kind not in KINDS.values():
        raise UserError(f"{flag}: the images of {place} have mode {kind}; must be RGB or grey, 8 bits")
    source = Folder(place, channels=3 if kind == "RGB" else 1)
    return ImageSet(place, source.space.shape, source.everything(), flag, complete_note(Path(place), len(files), flag))


def _checked(file: Path) -> tuple[str, tuple[int, int]]:
    """Mode and size of an image. Raises UserError if it is not an image, or is truncated.

    A PNG is checked by its checksums, a JPEG by its end marker; all else is decoded.
    """
    try:
        with Image.open(file) as image:
            mode_and_size = image.mode, image.size
            if image.format == "PNG":
                image.verify()
            elif not _ends_as_jpeg(file):
                image.load()
    except Exception as error:  # Pillow's decoders raise nearly anything: OSError, SyntaxError, ValueError, ...
        reason = " ".join(str(error).split())
        raise FieldError("data.name", str(file), f" cannot be read as an image: {reason}") from error
    return mode_and_size


def _ends_as_jpeg(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-len(END_OF_JPEG), 2)
        return stream.read() == END_OF_JPEG


def _archive(place: str, flag: str) -> ImageSet:
    try:
        file = np.load(place, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it is a single array, as np.save writes it; write it by np.savez(FILE, x=images)")
        with file:
            if "x" not in file:
                raise ValueError(f"it has {', '.join(file) or 'nothing'}")
            x, note = file["x"], {"labels": str(file["asked"])} if "asked" in file else {}
            note |= {"not_finite": int(file["not_finite"])} if "not_finite" in file else {}
    except FileNotFoundError as error:
        raise UserError(f"{flag}: there is no file {place}") from error
    except Exception as error:  # a broken zip, a bad header: NumPy raises many types
        raise UserError(f"{flag}: {place} holds no images x: {' '.join(str(error).split())}") from error
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] not in (1, 3) or not x.size:
        raise UserError(f"{flag}: x in {place} is {x.dtype} {x.shape}; must be uint8 [n, height, width, 1 or 3], n > 0")
    return ImageSet(place, x.shape[1:], in_memory(x, np.zeros(len(x))), flag, note)
