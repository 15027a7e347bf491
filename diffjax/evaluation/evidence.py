"""A trained experiment as metrics see it: real data, and samples that are drawn once."""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffjax import metrics as m
from diffjax.config import flatten
from diffjax.data import Examples, Folder
from diffjax.errors import UserError
from diffjax.evaluation.contract import Announcing, Choice, of_images, of_samples
from diffjax.experiment import Experiment
from diffjax.inference.embedding import Embedded, Embedder, FeatureCollector, image_hashes
from diffjax.inference.labels import labels_of
from diffjax.inference.rows import evenly
from diffjax.inference.sampling import Drawn, joined
from diffjax.metrics.features import Extractor
from diffjax.optim.state import TrainState


@dataclass
class Evidence(Announcing):
    """The input of a metric: an experiment, its averaged networks, real data, and samples drawn once."""

    experiment: Experiment
    state: TrainState
    num: int  # samples
    seed: int
    choice: Choice = Choice()  # metrics, with their networks
    weights: str = "ema"  # which average of the weights is evaluated
    say: Callable[[str], None] = lambda line: None  # receives lines of progress
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        return self.state.averaged

    @property
    def data_protocol(self) -> dict[str, Any]:
        """The data part of the protocol of a metric without a feature network.

        It leaves out where the data are stored, and whether training mirrors images, as the reference never does. A
        folder of images is known by its own name and a hash of the paths of its files in it.
        """
        source = self.experiment.source
        leaves = {f"data.{key}": value for key, value in flatten(self.experiment.config.data).items()}
        if isinstance(source, Folder):
            root = Path(os.path.abspath(Path(source.path).expanduser()))
            paths = b"\0".join(os.fsencode(os.path.relpath(file, root)) for file in source.files)
            leaves |= {"data.name": f"folder:{root.name}", "data.files": hashlib.sha256(paths).hexdigest()[:12]}
        return {key: value for key, value in leaves.items() if key not in ("data.data_dir", "data.flip")}

    @property
    def drawn_protocol(self) -> dict[str, Any]:
        """The protocol of a metric that compares samples with data."""
        return self.data_protocol | self.sample_protocol

    @property
    def sample_protocol(self) -> dict[str, Any]:
        """The protocol of a metric of samples alone: their number and labels."""
        return {"generated": self.num, "labels": self._labels or "none"}

    @property
    def _labels(self) -> str:
        return labels_of(self.experiment.generator().requested, self.experiment.method.reads_captions)

    @property
    def lack_of_classes(self) -> str:
        """A warning if there are too few samples to draw every class; "" otherwise."""
        generator, classes = self.experiment.generator(), self.experiment.method.space.num_classes
        if not generator.labelled or self.num >= classes:
            return ""
        return f"only the first {self.num} of {classes} classes are drawn; take at least {classes} samples"

    def describe(self, features: str, against: str = "reference") -> dict[str, Any]:
        """The protocol of a metric by these features, against a set ("": none).

        `Files` returns the same for the same images. Data set, preprocessing and split are provenance: the protocol
        identifies the reference by the hash of its images.
        """
        protocol = of_samples(self.num, self._labels) | of_images(self.choice.extractors[features])
        if not against:
            return protocol
        real = self.embedded(features, against)
        return protocol | {"reference": len(real), "reference_hash": real.content}

    @property
    def drawn(self) -> Drawn:
        """The samples. Raises UserError if some were not finite before they were converted to uint8."""
        self._check_finite()
        return self.unchecked

    def _check_finite(self) -> None:
        drawn = self.unchecked
        if drawn.not_finite and self.experiment.method.space.kind != "points":
            problem = f"{drawn.not_finite} of {self.num} are not finite"
            raise UserError(f"samples: {problem}; stored as {drawn.x.dtype} they would pass for real ones")

    @property
    def unchecked(self) -> Drawn:
        """The samples, without a check that they are finite."""
        return self._sampled[0]

    @property
    def has_drawn(self) -> bool:
        """Whether any samples have been drawn yet."""
        return "_sampled" in self.__dict__

    @functools.cached_property
    def _sampled(self) -> tuple[Drawn, dict[str, FeatureCollector]]:
        """The samples, drawn once, and their features, embedded while the samples are still on the device."""
        collectors = {name: FeatureCollector(self.num) for name in self.choice.extractors}
        return joined(self.num, self._drawing(collectors)), collectors

    def _drawing(self, gathered: dict[str, FeatureCollector]) -> Iterator[Drawn]:
        progress, done = self.progress("samples"), 0
        for drawn, batch in self.experiment.generator().batches(self.variables, self.num, self.seed):
            for name, collector in gathered.items():
                collector.add(self._embedder(name).batch(batch), len(drawn.x))
            yield drawn
            done += len(drawn.x)
            progress(done, self.num)

    def _embedder(self, features: str) -> Embedder:
        e, batch_size = self.experiment, self.experiment.generator().batch_size
        extractor = self.choice.extractors[features]
        return e.once(("embedder", *_key(extractor)), lambda: Embedder(extractor, e.layout, batch_size))

    def embedded(self, features: str, which: str) -> Embedded:
        """The features of a set; those of real images are computed once and cached by the experiment."""
        if which == "samples":
            return self._embedded_samples(features)
        split = self._split(which)
        examples = self._examples(split)
        key = (split, min(self.num, len(examples))) if which == "others" else (split, len(examples))
        cache = self.experiment.once(("embedded", *_key(self.choice.extractors[features])), dict)
        if key not in cache:
            all_images = cache.get((split, len(examples)))
            if all_images is None:
                cache[key] = self._embedder(features)(_some(examples, key[1]), self.progress(f"{split} images"))
            else:
                cache[key] = all_images.evenly(self.num)
        return cache[key]

    def _embedded_samples(self, features: str) -> Embedded:
        self._check_finite()
        cache = self.__dict__.setdefault("_embedded", {})
        if features not in cache:
            cache[features] = self._sampled[1][features].embedded(self._hashes)
        return cache[features]

    @functools.cached_property
    def _hashes(self) -> np.ndarray:
        """Hashes of the samples, which order them independently of the order in which they were drawn."""
        return image_hashes(self.unchecked.x)

    def _examples(self, split: str) -> Examples:
        return self.experiment.source.split(split)

    def _split(self, which: str) -> str:
        """The data split of a set; "others" is the split that is not the reference."""
        reference = self.experiment.config.eval.reference
        other_split = {"train": "heldout", "heldout": "train"}[reference]
        return {"reference": reference, "others": other_split}.get(which, which)

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
        """At most `num` held-out examples, evenly spaced over the split."""
        indices = evenly(self.num, len(self.heldout["x"]))
        return {name: values[indices] for name, values in self.heldout.items()}


def _key(extractor: Extractor) -> tuple[str, int]:
    """A cache key: extractors with equal keys give equal outputs."""
    return m.fingerprint(extractor.protocol), extractor.classes


def _some(examples: Examples, n: int) -> Examples:
    """n examples, evenly spaced."""
    chosen = evenly(n, len(examples))
    return Examples(n, lambda indices: examples.take(chosen[indices]))
