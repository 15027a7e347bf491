"""What metrics judge a trained experiment by: real data, and samples that are drawn once."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffjax import metrics as m
from diffjax.config import flatten
from diffjax.data import Examples
from diffjax.embedding import Embedded, Embedder, Gathering, image_hashes
from diffjax.errors import UserError
from diffjax.measures.contract import Announcing, Choice, of_images, of_samples
from diffjax.measures.labels import labels_of
from diffjax.metrics.features import Extractor
from diffjax.rows import evenly
from diffjax.run import Experiment
from diffjax.sampling import Drawn, joined
from diffjax.state import TrainState


@dataclass
class Evidence(Announcing):
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
    def data_protocol(self) -> dict[str, Any]:
        """What the protocol of a metric without a feature network begins with: which data.

        Not where the data are kept, nor whether training sees mirrored twins: no reference does.
        """
        leaves = {f"data.{key}": value for key, value in flatten(self.experiment.config.data).items()}
        return {key: value for key, value in leaves.items() if key not in ("data.data_dir", "data.flip")}

    @property
    def drawn_protocol(self) -> dict[str, Any]:
        """And if it is of samples beside data: which data, and which samples."""
        return self.data_protocol | self.sample_protocol

    @property
    def sample_protocol(self) -> dict[str, Any]:
        """Of samples that are held to no drawn data: how many, and of which labels."""
        return {"generated": self.num, "labels": self._labels or "none"}

    @property
    def _labels(self) -> str:
        return labels_of(self.experiment.own_generator.requested, self.experiment.method.reads_captions)

    @property
    def lack_of_classes(self) -> str:
        """What to beware of where so few samples are drawn that some classes have none; "" otherwise."""
        generator, classes = self.experiment.own_generator, self.experiment.method.space.num_classes
        if not generator.labelled or self.num >= classes:
            return ""
        return f"only the first {self.num} of {classes} classes are drawn; take at least {classes} samples"

    def describe(self, features: str, against: str = "reference") -> dict[str, Any]:
        """The protocol of what is measured by these features, against a set, or none ("").

        `Files` says the same of the same images. Which data, how prepared, of which split is provenance: the reference
        is its images, and their hash stands here.
        """
        ours = of_samples(self.num, self._labels) | of_images(self.choice.extractors[features])
        if not against:
            return ours
        real = self.embedded(features, against)
        return ours | {"reference": len(real), "reference_hash": real.content}

    @property
    def drawn(self) -> Drawn:
        """The samples, for metrics. Raises UserError if some are no numbers and have become something that is one."""
        self._check_finite()
        return self.unchecked

    def _check_finite(self) -> None:
        drawn = self.unchecked
        if drawn.not_finite and self.experiment.method.space.kind != "points":
            broken = f"{drawn.not_finite} of {self.num} are not finite"
            raise UserError(f"samples: {broken}; stored as {drawn.x.dtype} they would pass for real ones")

    @property
    def unchecked(self) -> Drawn:
        """The samples as they are, for who only looks at them."""
        return self._sampled[0]

    @property
    def has_drawn(self) -> bool:
        """Whether a metric has asked for samples."""
        return "_sampled" in self.__dict__

    @functools.cached_property
    def _sampled(self) -> tuple[Drawn, dict[str, Gathering]]:
        """The samples, drawn once, and what each feature network sees in them while they are still on the device."""
        gathered = {name: Gathering(self.num) for name in self.choice.extractors}
        return joined(self.num, self._drawing(gathered)), gathered

    def _drawing(self, gathered: dict[str, Gathering]) -> Iterator[Drawn]:
        progress, done = self.progress("samples"), 0
        for part, batch in self.experiment.own_generator.batches(self.variables, self.num, self.seed):
            for name, gathering in gathered.items():
                gathering.add(self._embedder(name).batch(batch), len(part.x))
            yield part
            done += len(part.x)
            progress(done, self.num)

    def _embedder(self, features: str) -> Embedder:
        e, batch_size = self.experiment, self.experiment.own_generator.batch_size
        extractor = self.choice.extractors[features]
        return e.once(("embedder", *_key(extractor)), lambda: Embedder(extractor, e.layout, batch_size))

    def embedded(self, features: str, which: str) -> Embedded:
        """A set as a feature network sees it; at real images it looks once in the life of the experiment."""
        if which == "samples":
            return self._embedded_samples(features)
        split = self._split(which)
        examples = self._examples(split)
        key = (split, min(self.num, len(examples))) if which == "others" else (split, len(examples))
        known = self.experiment.once(("embedded", *_key(self.choice.extractors[features])), dict)
        if key not in known:
            whole = known.get((split, len(examples)))
            if whole is None:
                known[key] = self._embedder(features)(_some(examples, key[1]), self.progress(f"{split} images"))
            else:
                known[key] = whole.evenly(self.num)
        return known[key]

    def _embedded_samples(self, features: str) -> Embedded:
        self._check_finite()
        known = self.__dict__.setdefault("_embedded", {})
        if features not in known:
            known[features] = self._sampled[1][features].whole(self._hashes)
        return known[features]

    @functools.cached_property
    def _hashes(self) -> np.ndarray:
        """Of the samples: they too are a set, whatever number each of them has."""
        return image_hashes(self.unchecked.x)

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

    def some_heldout(self) -> dict[str, np.ndarray]:
        """As many held-out examples as there are to be samples, at most, from all over the split."""
        chosen = evenly(self.num, len(self.heldout["x"]))
        return {name: values[chosen] for name, values in self.heldout.items()}


def _key(extractor: Extractor) -> tuple[str, int]:
    """Two with the same see the same: what there is of the one need not be made for the other."""
    return m.fingerprint(extractor.protocol), extractor.classes


def _some(examples: Examples, n: int) -> Examples:
    """n of them, from all over."""
    chosen = evenly(n, len(examples))
    return Examples(n, lambda indices: examples.take(chosen[indices]))
