"""What metrics judge by, and what they answer."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from diffjax import metrics as m
from diffjax.config import flatten
from diffjax.data import Examples
from diffjax.embedding import Embedder, Seen, joined
from diffjax.metrics.features import Extractor
from diffjax.progress import Waiting
from diffjax.run import Experiment, Run
from diffjax.sampling import Drawn
from diffjax.state import TrainState


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

    def seen(self, features: str, which: str) -> Seen | None:
        """What a feature network sees in a set; None if there is no such set."""
        ...

    def images(self, which: str, indices: np.ndarray) -> np.ndarray:
        """Some of the images of a set, uint8 [n, h, w, c]."""
        ...


@dataclass(frozen=True)
class Choice:
    """Metrics that were chosen, and everything that they need, looked up before it is needed."""

    metrics: dict[str, Callable[[Any], list[Score]]] = field(default_factory=dict)
    extractors: dict[str, Extractor] = field(default_factory=dict)  # the feature networks
    judge: Run | None = None  # a trained classifier


@dataclass
class Evidence:
    """What metrics judge by: the experiment, its averaged networks, real data, and samples drawn once."""

    experiment: Experiment
    state: TrainState
    num: int
    seed: int
    choice: Choice = Choice()  # of metrics, with what they need
    weights: str = "ema"  # which average it is
    say: Callable[[str], None] = lambda line: None  # to whoever waits
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        return self.state.averaged

    @property
    def protocol(self) -> dict[str, Any]:
        """What every metric's protocol begins with: which data, and how many samples.

        Not where the data are kept, nor whether training sees mirrored twins: no reference does.
        """
        leaves = {f"data.{key}": value for key, value in flatten(self.experiment.config.data).items()}
        ours = {key: value for key, value in leaves.items() if key not in ("data.data_dir", "data.flip")}
        return ours | ({"generated": self.num} if self.experiment.method.generates else {})

    def describe(self, features: str, against: str = "reference") -> dict[str, Any]:
        """The protocol of what is measured by these features, against a set, or none ("")."""
        ours = self.protocol | {"features": self.choice.extractors[features].protocol}
        split = self._split(against)
        return ours | ({"reference": len(self._examples(split)), "split": split} if against else {})

    @property
    def drawn(self) -> Drawn:
        """The samples."""
        return self._sampled[0]

    @property
    def has_drawn(self) -> bool:
        """Whether a metric has asked for samples."""
        return "_sampled" in self.__dict__

    @functools.cached_property
    def _sampled(self) -> tuple[Drawn, dict[str, Seen]]:
        """The samples, drawn once, and what each feature network sees in them while they are still on the device."""
        generator, parts = self.experiment.own_generator, []
        seen: dict[str, list[Seen]] = {name: [] for name in self.choice.extractors}
        waiting = Waiting("samples", self.num, self.say)
        for part, batch in generator.batches(self.variables, self.num, self.seed):
            parts.append(part)
            for name in self.choice.extractors:
                seen[name].append(self._embedder(name).batch(batch, len(part.x)))
            waiting.at(sum(len(part.x) for part in parts))
        return generator.together(parts), {name: joined(of) for name, of in seen.items()}

    def _embedder(self, features: str) -> Embedder:
        e, batch_size = self.experiment, self.experiment.own_generator.batch_size
        extractor = self.choice.extractors[features]
        return e.once(
            ("embedder", m.fingerprint(extractor.protocol)), lambda: Embedder(extractor, e.layout, batch_size)
        )

    def seen(self, features: str, which: str) -> Seen:
        """What a feature network sees in a set; in real images it looks once in the life of the experiment."""
        if which == "samples":
            return self._sampled[1][features]
        split = self._split(which)
        network = m.fingerprint(self.choice.extractors[features].protocol)
        seen = self.experiment.once(("seen", network, split), lambda: self._look(features, split))
        if which != "others":
            return seen
        return self.experiment.once(("others", network, split, self.num), lambda: seen.some(self.num))

    def _look(self, features: str, split: str) -> Seen:
        examples = self._examples(split)
        return self._embedder(features)(examples, Waiting(f"{split} images", len(examples), self.say).at)

    def _examples(self, split: str) -> Examples:
        return self.experiment.source.split(split)

    def _split(self, which: str) -> str:
        """The split that a set is. "others" are of the split that the reference is not."""
        reference = self.experiment.config.eval.reference
        other = {"train": "heldout", "heldout": "train"}[reference]
        return {"reference": reference, "others": other}.get(which, which)

    def images(self, which: str, indices: np.ndarray) -> np.ndarray:
        if which == "samples":
            return self.drawn.x[indices]
        return self._examples(self._split(which)).take(np.asarray(indices))["x"]

    @functools.cached_property
    def train(self) -> dict[str, np.ndarray]:
        return self.experiment.source.split("train").arrays()

    @functools.cached_property
    def heldout(self) -> dict[str, np.ndarray]:
        return self.experiment.source.split("heldout").arrays()
