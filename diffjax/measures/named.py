"""Anyone's images: a folder, an archive as `sample --out=FILE.npz` writes it, or a data source by name."""

import contextlib
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
from diffjax.errors import FieldError, UserError
from diffjax.measures.labels import read_note
from diffjax.progress import Waiting, aside

SPLITS = ("train", "heldout")
NOT_READ = (".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2", ".avif", ".heic")  # images of other kinds
KINDS = {"1": "grey", "L": "grey", "RGB": "RGB"}  # what may be compared as it is
END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True)
class Pictures:
    """A set of images that somebody names: where they come from, all of one shape."""

    name: str
    shape: tuple[int, int, int]
    examples: Examples
    flag: str  # by which they were named
    note: dict[str, Any] = field(default_factory=dict)  # what `sample` noted of them, if it drew them


def read(place: str, flag: str, split: str = "train") -> Pictures:
    """The images in a folder, in an .npz (its array `x`), or of a data source by name ("tfds:cifar10", "digits").

    Of a source that of `split`, or the one that its name ends in: "digits@heldout". Raises UserError, naming the flag,
    for what is not there, for images of different modes or sizes, and for files that are not whole.
    """
    if Path(place).is_dir():
        with blamed(flag, place):
            return _folder(place, flag)
    if place.endswith(".npz"):
        return _archive(place, flag)
    name, _, own = place.partition("@")
    if own in SPLITS:
        place, split = name, own
    try:
        source = build("data", component("data", place))
        kind, shape, examples = source.space.kind, source.space.shape, source.split(split)
    except UserError as error:
        raise UserError(f"{flag}: {place} is no folder, no .npz and no data source ({error})") from error
    if kind != "images":
        raise UserError(f"{flag}: {place} are {kind}; images are compared")
    return Pictures(f"{place} {split}", shape, examples, flag)


@contextlib.contextmanager
def blamed(flag: str, place: str) -> Iterator[None]:
    """What a folder says of the fields of a config, said of the flag that named it; of a damaged file by its name."""
    try:
        yield
    except FieldError as error:
        if error.field == "data.size":
            raise UserError(f"{flag}: {place}{error.reason}; bring them to one") from error
        subject = place if error.value == f"'folder:{place}'" else error.value
        raise UserError(f"{flag}: {subject}{error.reason}") from error


def _folder(place: str, flag: str) -> Pictures:
    files, kinds, sizes = Folder(place).files, {}, {}
    if left := sorted({path.suffix for path in Path(place).rglob("*") if path.suffix.lower() in NOT_READ}):
        aside(f"{place}: only {', '.join(SUFFIXES)} are read; its {', '.join(left)} are left out")
    waiting = Waiting(f"{place}, files checked", aside)
    with ThreadPoolExecutor(THREADS) as pool:
        checked = pool.map(_checked, files)
        for done, (file, (mode, size)) in enumerate(zip(files, checked, strict=True), start=1):
            kinds.setdefault(KINDS.get(mode, mode), file)
            sizes.setdefault(size, file)
            waiting.at(done, len(files))
    for what, found in (("modes", kinds), ("sizes", {f"{w}x{h}": file for (w, h), file in sizes.items()})):
        if len(found) > 1:
            (one, first), (two, second) = list(found.items())[:2]
            example = f"{first.name} is {one}, {second.name} is {two}"
            raise UserError(f"{flag}: {place} holds images of different {what}: {example}; bring them to one")
    (kind,) = kinds
    if kind not in KINDS.values():
        raise UserError(f"{flag}: the images of {place} are {kind}; make them RGB or grey (8 bits) first")
    whole = Folder(place, channels=3 if kind == "RGB" else 1)
    return Pictures(place, whole.space.shape, whole.everything(), flag, read_note(Path(place), len(files), flag))


def _checked(file: Path) -> tuple[str, tuple[int, int]]:
    """Mode and size of an image. Raises UserError if it is no image, or not whole.

    A PNG has checksums. Of the rest whatever does not end as a JPEG does is decoded, to see whether it can be.
    """
    try:
        with Image.open(file) as image:
            found = image.mode, image.size
            if image.format == "PNG":
                image.verify()
            elif not _ends_as_jpeg(file):
                image.load()
    except Exception as error:  # Pillow's decoders raise nearly anything: OSError, SyntaxError, ValueError, ...
        said = " ".join(str(error).split())
        raise FieldError("data.name", str(file), f" cannot be read as an image: {said}") from error
    return found


def _ends_as_jpeg(file: Path) -> bool:
    with file.open("rb") as opened:
        opened.seek(-len(END_OF_JPEG), 2)
        return opened.read() == END_OF_JPEG


def _archive(place: str, flag: str) -> Pictures:
    try:
        with np.load(place, allow_pickle=False) as file:
            x, note = file["x"], {"labels": str(file["asked"])} if "asked" in file else {}
    except FileNotFoundError as error:
        raise UserError(f"{flag}: there is no file {place}") from error
    except Exception as error:  # a broken zip, a missing array, a header that is none: all the same to its owner
        raise UserError(f"{flag}: {place} holds no images x: {' '.join(str(error).split())}") from error
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] not in (1, 3) or not x.size:
        raise UserError(
            f"{flag}: x in {place} is {x.dtype} {x.shape}; images are uint8 [n, height, width, 1 or 3], at least one"
        )
    return Pictures(place, x.shape[1:], in_memory(x, np.zeros(len(x))), flag, note)
