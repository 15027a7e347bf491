"""Anyone's images, compared: a folder, or an archive as `sample --out=FILE.npz` writes it, with a reference."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffjax import metrics as m
from diffjax.config import build, component
from diffjax.data import Examples
from diffjax.data.folder import Folder
from diffjax.data.source import in_memory
from diffjax.embedding import Embedder, Seen
from diffjax.errors import UserError
from diffjax.metrics import statistics
from diffjax.metrics.features import Extractor
from diffjax.parallel import Layout
from diffjax.progress import Waiting, aside

KINDS = {"1": "grey", "L": "grey", "RGB": "RGB"}  # what may be compared as it is


@dataclass(frozen=True)
class Pictures:
    """A set of images that somebody names: where they come from, all of one shape."""

    name: str
    shape: tuple[int, int, int]
    examples: Examples


def read(place: str, flag: str, split: str = "train") -> Pictures:
    """The images in a folder, in an .npz (its array `x`), or of a data source by name ("tfds:cifar10", "digits").

    Raises UserError, naming the flag, for what is not there, and for images of different modes or sizes.
    """
    if Path(place).is_dir():
        return _folder(place, flag)
    if place.endswith(".npz"):
        return _archive(place, flag)
    try:
        source = build("data", component("data", place))
        return Pictures(f"{place} {split}", source.space.shape, source.split(split))
    except UserError as error:
        raise UserError(f"{flag}: {place} is no folder, no .npz and no data source ({error})") from error


def _folder(place: str, flag: str) -> Pictures:
    files, kinds, sizes = Folder(place).files, {}, {}
    for file in files:
        try:
            with Image.open(file) as image:
                kinds.setdefault(KINDS.get(image.mode, image.mode), file)
                sizes.setdefault(image.size, file)
        except Exception as error:  # Pillow's decoders raise nearly anything: OSError, SyntaxError, ValueError, ...
            raise UserError(f"{flag}: {file} cannot be read as an image: {' '.join(str(error).split())}") from error
    for what, found in (("modes", kinds), ("sizes", {f"{w}x{h}": file for (w, h), file in sizes.items()})):
        if len(found) > 1:
            (one, first), (two, second) = list(found.items())[:2]
            example = f"{first.name} is {one}, {second.name} is {two}"
            raise UserError(f"{flag}: {place} holds images of different {what}: {example}; bring them to one")
    (kind,) = kinds
    if kind not in KINDS.values():
        raise UserError(f"{flag}: the images of {place} are {kind}; make them RGB or grey (8 bits) first")
    whole = Folder(place, channels=3 if kind == "RGB" else 1)
    return Pictures(place, whole.space.shape, whole.everything())


def _archive(place: str, flag: str) -> Pictures:
    try:
        with np.load(place, allow_pickle=False) as file:
            x = file["x"]
    except FileNotFoundError as error:
        raise UserError(f"{flag}: there is no file {place}") from error
    except Exception as error:  # a broken zip, a missing array, a header that is none: all the same to its owner
        raise UserError(f"{flag}: {place} holds no images x: {' '.join(str(error).split())}") from error
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] not in (1, 3):
        raise UserError(f"{flag}: x in {place} is {x.dtype} {x.shape}; images are uint8 [n, height, width, 1 or 3]")
    return Pictures(place, x.shape[1:], in_memory(x, np.zeros(len(x))))


@dataclass(frozen=True)
class OnlyMoments:
    """A reference of which only a file of statistics is left."""

    path: str
    moments: m.Moments

    def __len__(self) -> int:
        return self.moments.n

    @property
    def features(self):
        raise UserError(f"{self.path} has only moments, for Frechet distances; this needs the images themselves")


@dataclass
class Files:
    """Two sets of images, as metrics compare them: no training set but the reference, and no others."""

    samples: Pictures
    reference: Pictures | str  # images, or a file of statistics
    extractors: dict[str, Extractor]
    layout: Layout
    batch_size: int = 256
    say: Callable[[str], None] = aside
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        if isinstance(self.reference, Pictures) and self.reference.shape != self.samples.shape:
            ours, theirs = ("x".join(map(str, images.shape)) for images in (self.samples, self.reference))
            raise UserError(f"--samples: images of {ours}, those of --reference of {theirs}; bring them to one")
        if isinstance(self.reference, str):  # before anything is embedded
            self._kept = {n: statistics.load_statistics(self.reference, e.protocol) for n, e in self.extractors.items()}

    @cached_property
    def _seen(self) -> dict[tuple[str, str], Any]:
        return {}

    def seen(self, features: str, which: str) -> Any:
        which = "reference" if which == "train" else which
        if which not in ("samples", "reference"):
            return None
        if (features, which) not in self._seen:
            self._seen[features, which] = self._look(features, which)
        return self._seen[features, which]

    def _look(self, features: str, which: str) -> Seen | OnlyMoments:
        images, extractor = getattr(self, which), self.extractors[features]
        if isinstance(images, str):
            return OnlyMoments(images, self._kept[features][0])
        waiting = Waiting(images.name, len(images.examples), self.say)
        return Embedder(extractor, self.layout, self.batch_size)(images.examples, waiting.at)

    def images(self, which: str, indices: np.ndarray) -> np.ndarray:
        return (self.samples if which == "samples" else self.reference).examples.take(np.asarray(indices))["x"]

    def describe(self, features: str, against: str = "reference") -> dict[str, Any]:
        ours = {"generated": len(self.samples.examples), "features": self.extractors[features].protocol}
        return ours | (self.reference_protocol(features) if against else {})

    def reference_protocol(self, features: str) -> dict[str, Any]:
        """Which images the reference is, as a file of statistics keeps it."""
        if isinstance(self.reference, str):
            known = self._kept[features][1]
            return {name: known[name] for name in ("reference", "images")}
        return {"reference": len(self.reference.examples), "images": self.reference.name}
