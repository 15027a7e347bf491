"""User-supplied images as metrics see them: two sets, or one set and a file of reference statistics."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffjax import metrics as m
from diffjax.errors import UserError
from diffjax.evaluation.contract import Announcing, Counts, of_images, of_samples
from diffjax.evaluation.image_sets import ImageSet, blamed
from diffjax.host.progress import to_stderr
from diffjax.inference.embedding import Embedded, Embedder
from diffjax.metrics import statistics
from diffjax.metrics.features import Extractor
from diffjax.parallel import Layout


@dataclass(frozen=True)
class OnlyMoments:
    """A reference known only by a file of statistics."""

    path: str
    moments: m.Moments
    content: str

    def __len__(self) -> int:
        return self.moments.n


@dataclass
class Files(Announcing):
    """Two sets of images to compare. The reference is also the training set; there are no "others".

    Raises UserError, before anything is embedded, if these networks cannot compare the two.
    """

    samples: ImageSet
    reference: ImageSet | str  # images, or the path of a file of statistics
    extractors: dict[str, Extractor]
    layout: Layout
    batch_size: int = 256
    say: Callable[[str], None] = to_stderr
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    _embedded: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        if isinstance(self.reference, ImageSet):
            self._kept = {}
            if self.reference.shape != self.samples.shape:
                size, other_size = ("x".join(map(str, images.shape)) for images in (self.samples, self.reference))
                message = f"images of {size}, those of {self.reference.flag} of {other_size}; bring them to one"
                raise UserError(f"{self.samples.flag}: {message}")
        else:
            self._kept = {name: self._moments(extractor) for name, extractor in self.extractors.items()}

    def _moments(self, extractor: Extractor) -> tuple[m.Moments, dict[str, Any]]:
        """Loads the moments of the reference, and their protocol."""
        moments, protocol = statistics.load_statistics(self.reference, of_images(extractor))
        if len(moments.mean) != extractor.dimensions:
            expected = f"{extractor.name} gives {extractor.dimensions} of images of {self.samples.shape}"
            raise UserError(f"`reference`: {self.reference} is of {len(moments.mean)} features; {expected}")
        return moments, protocol

    @property
    def counts(self) -> Counts:
        """The number of images in each set."""
        if isinstance(self.reference, ImageSet):
            num_reference, path = len(self.reference.examples), ""
        else:
            num_reference, path = min((moments.n for moments, _ in self._kept.values()), default=0), self.reference
        return Counts(len(self.samples.examples), num_reference, statistics=path)

    def embedded(self, features: str, which: str) -> Any:
        which = "reference" if which == "train" else which
        if which not in ("samples", "reference"):
            return None
        if (features, which) not in self._embedded:
            self._embedded[features, which] = self._embed(features, which)
        return self._embedded[features, which]

    def _embed(self, features: str, which: str) -> Embedded | OnlyMoments:
        images = getattr(self, which)
        if isinstance(images, str):
            moments, protocol = self._kept[features]
            return OnlyMoments(images, moments, protocol["reference_hash"])
        embedder = Embedder(self.extractors[features], self.layout, self.batch_size)
        with blamed(images.flag, images.name):
            return embedder(images.examples, self.progress(images.name))

    @property
    def alike(self) -> bool:
        """Whether both sets are the same images, by the hashes of those embedded so far."""
        pairs = [
            [self._embedded.get((name, set_name)) for set_name in ("samples", "reference")] for name in self.extractors
        ]
        return any(None not in pair and pair[0].content == pair[1].content for pair in pairs)

    def images(self, which: str, indices: np.ndarray) -> np.ndarray:
        return (self.samples if which == "samples" else self.reference).examples.take(np.asarray(indices))["x"]

    def describe(self, features: str, against: str = "reference") -> dict[str, Any]:
        labels = self.samples.note.get("labels", "")
        protocol = of_samples(len(self.samples.examples), labels) | of_images(self.extractors[features])
        return protocol | (self.reference_protocol(features) if against else {})

    def reference_protocol(self, features: str) -> dict[str, Any]:
        """The protocol of the reference: identified by the hash of its images, not by its path."""
        reference = self.embedded(features, "reference")
        return {"reference": len(reference), "reference_hash": reference.content}

    @property
    def provenance(self) -> dict[str, Any]:
        """Names of both sets and of the images behind a file of statistics; how the samples were drawn, if noted."""
        names = {"samples": self.samples.name} | ({"drawn": self.samples.note} if self.samples.note else {})
        if isinstance(self.reference, ImageSet):
            return names | {"reference": self.reference.name}
        images = {protocol["images"] for _, protocol in self._kept.values() if "images" in protocol}
        return names | {"reference": self.reference, "images": ", ".join(sorted(images))}
