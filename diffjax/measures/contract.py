"""What a metric is given, and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from diffjax.embedding import Embedded
from diffjax.metrics.features import Extractor
from diffjax.metrics.progress import OnProgress
from diffjax.progress import Waiting
from diffjax.run import Run


class Score(NamedTuple):
    """A number, what it would be at best, why, what must agree for it to be compared, and what to beware of."""

    name: str
    value: float
    at_best: float | None
    meaning: str
    protocol: dict[str, Any]
    warning: str = ""


class Sets(Protocol):
    """Sets of images that are compared, by name: "samples" with the "reference".

    Beside them may be "others", real images that the reference has not, which say what is best; and what was trained
    on ("train"), with real images that were not ("heldout").
    """

    pictures: dict[str, np.ndarray]  # what metrics want to be looked at

    def describe(self, features: str, against: str = "reference") -> dict[str, Any]:
        """The protocol: which images, how many, by which network, and the set they are compared with, if any ("")."""
        ...

    def embedded(self, features: str, which: str) -> Embedded | None:
        """A set as a feature network sees it; None if there is no such set. Raises UserError if it cannot be seen."""
        ...

    def images(self, which: str, indices: np.ndarray) -> np.ndarray:
        """Some of the images of a set, uint8 [n, h, w, c]."""
        ...

    def progress(self, what: str) -> OnProgress:
        """For something long that begins now: tells whoever waits how far it is."""
        ...


class Announcing:
    """Sets of images that tell whoever waits how far they are, by what `say` does with a line."""

    say: Callable[[str], None]

    def progress(self, what: str) -> OnProgress:
        return Waiting(what, self.say).at


class Counts(NamedTuple):
    """How many images there will be, which is known before any is looked at."""

    samples: int
    reference: int
    train: int | None = None  # None: it is the reference
    statistics: str = ""  # the file that is all there is of the reference, if so


class Measuring(NamedTuple):
    """A metric with its features chosen, and the names of all the scores that it may give."""

    function: Callable[[Any], list[Score]]
    names: tuple[str, ...]

    def __call__(self, evidence: Any) -> list[Score]:
        return self.function(evidence)


@dataclass(frozen=True)
class Choice:
    """Metrics that were chosen, and everything that they need, looked up before it is needed."""

    metrics: dict[str, Measuring] = field(default_factory=dict)
    extractors: dict[str, Extractor] = field(default_factory=dict)  # the feature networks
    judge: Run | None = None  # a trained classifier

    @property
    def names(self) -> tuple[str, ...]:
        """Of all the scores that these metrics may give."""
        return tuple(name for metric in self.metrics.values() for name in metric.names)


BY_HASH = {"order": "image hashes"}  # of what depends on which image is the first: it is a function of the sets


def of_samples(num: int, labels: str) -> dict[str, Any]:
    """What it says of samples: how many, and by which labels they were drawn, if by any ("")."""
    return {"generated": num} | ({"labels": labels} if labels else {})


def of_images(extractor: Extractor) -> dict[str, Any]:
    """What the protocol says of how images are looked at: as 8 bits, and none of them mirrored."""
    return {"features": extractor.protocol, "quantisation": "uint8", "flip": False}
