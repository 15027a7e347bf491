"""The input and output types of metrics."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from diffjax.host.progress import OnProgress, Waiting
from diffjax.inference.embedding import Embedded
from diffjax.metrics.features import Extractor
from diffjax.run import Run


class Score(NamedTuple):
    """One measured number."""

    name: str
    value: float
    at_best: float | None  # what a perfect sampler, or real data, would get; None if unknown
    meaning: str  # of `at_best`
    protocol: dict[str, Any]  # what must agree for two values to be comparable
    warning: str = ""


class Sets(Protocol):
    """Named sets of images: "samples", and the "reference" that they are compared with.

    There may also be "others", real images outside the reference, which give the best attainable value; the training
    images ("train"); and real images outside those ("heldout").
    """

    pictures: dict[str, np.ndarray]  # images that metrics add for a person to look at

    def describe(self, features: str, against: str = "reference") -> dict[str, Any]:
        """The protocol: number of samples, feature network, and the set `against` ("": none)."""
        ...

    def embedded(self, features: str, which: str) -> Embedded | None:
        """The features of a set; None if there is no such set. Raises UserError if it cannot be embedded."""
        ...

    def images(self, which: str, indices: np.ndarray) -> np.ndarray:
        """The images of a set at `indices`, uint8 [n, h, w, c]."""
        ...

    def progress(self, what: str) -> OnProgress:
        """A callback that reports the progress of a long computation starting now."""
        ...


class Announcing:
    """Mixin that reports progress, one line at a time, through `say`."""

    say: Callable[[str], None]

    def progress(self, what: str) -> OnProgress:
        return Waiting(what, self.say).at


class Counts(NamedTuple):
    """Numbers of images, known before any is embedded."""

    samples: int
    reference: int
    train: int | None = None  # None: the reference is the training set
    statistics: str = ""  # path of the reference's statistics, if its images are not available


class Measuring(NamedTuple):
    """A metric with its features chosen, and the names of all scores that it may return."""

    function: Callable[[Any], list[Score]]
    names: tuple[str, ...]

    def __call__(self, evidence: Any) -> list[Score]:
        return self.function(evidence)


@dataclass(frozen=True)
class Choice:
    """The chosen metrics, with the networks that they need already loaded."""

    metrics: dict[str, Measuring] = field(default_factory=dict)
    extractors: dict[str, Extractor] = field(default_factory=dict)  # the feature networks
    judge: Run | None = None  # a trained classifier

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all scores that these metrics may return."""
        return tuple(name for metric in self.metrics.values() for name in metric.names)


BY_HASH = {"order": "image hashes"}  # for metrics that depend on order: sorted so that they depend on the set alone


def of_samples(num: int, labels: str) -> dict[str, Any]:
    """The protocol of samples: their number, and the labels that they were drawn for ("": none)."""
    return {"generated": num} | ({"labels": labels} if labels else {})


def of_images(extractor: Extractor) -> dict[str, Any]:
    """The protocol of embedding: the feature network, 8-bit images, no mirroring."""
    return {"features": extractor.protocol, "quantisation": "uint8", "flip": False}
