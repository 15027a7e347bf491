"""What can be measured of a trained experiment. Each metric is a function of `Evidence`, which draws the samples once.

It answers with scores: a value, beside the one that a perfect sampler, or real data, would get, and the protocol.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffjax import metrics as m
from diffjax.config import flatten
from diffjax.errors import UserError
from diffjax.methods.classifier import Classifier
from diffjax.run import Experiment, Run, load
from diffjax.sampling import Drawn
from diffjax.state import TrainState


class Score(NamedTuple):
    """A number, what it would be at best, why, and what must agree for it to be compared with another."""

    name: str
    value: float
    reference: float | None
    meaning: str
    protocol: dict[str, Any]


@dataclass
class Evidence:
    """What metrics judge by: the experiment, its averaged networks, real data, and samples drawn once."""

    experiment: Experiment
    state: TrainState
    num: int
    seed: int
    judge: Run | None = None  # a trained classifier

    @property
    def variables(self) -> dict[str, Any]:
        return self.state.params | self.state.ema

    @property
    def protocol(self) -> dict[str, Any]:
        """What every metric's protocol begins with: which data, and how many samples."""
        leaves = {f"data.{key}": value for key, value in flatten(self.experiment.config.data).items()}
        ours = {key: value for key, value in leaves.items() if key != "data.data_dir"}  # a place, not a property
        return ours | ({"generated": self.num} if self.experiment.method.generates else {})

    @functools.cached_property
    def drawn(self) -> Drawn:
        return self.experiment.own_generator.draw(self.variables, self.num, self.seed)

    @functools.cached_property
    def train(self) -> dict[str, np.ndarray]:
        return self.experiment.source.split("train").arrays()

    @functools.cached_property
    def heldout(self) -> dict[str, np.ndarray]:
        return self.experiment.source.split("heldout").arrays()


def frechet_pixels(e: Evidence) -> list[Score]:
    """Frechet distance of raw pixels in [0, 1], samples against held-out images; floor: as many training images."""
    real = e.train["x"][: e.num]
    samples, floor, heldout = map(_pixel_moments, (e.drawn.x, real, e.heldout["x"]))
    value, floor = (m.frechet_distance(moments, heldout) for moments in (samples, floor))
    protocol = e.protocol | {"features": "pixels", "floor": len(real), "reference": heldout.n, "split": "heldout"}
    closest = "samples as close to held-out images as training images are"
    return [
        Score("frechet_pixels", value, floor, f"{len(real)} training images against the same held-out ones", protocol),
        Score("frechet_pixels_ratio", value / floor, 1.0, closest, protocol),
    ]


def _pixel_moments(images: np.ndarray, at_once: int = 1000) -> m.Moments:
    """The moments of the pixels, a thousand images at a time: in float64 a data set would not fit."""
    moments = m.Moments.empty(int(np.prod(images.shape[1:])))
    for first in range(0, len(images), at_once):
        moments = moments.update(m.pixel_features(images[first : first + at_once]))
    return moments


def modes(e: Evidence) -> list[Score]:
    """Modes covered, high-quality share and reverse KL, for mixtures whose modes are known (PacGAN's protocol)."""
    source = e.experiment.source
    found = m.mode_report(e.drawn.x, source.modes, source.sigma)
    ideal = m.oracle_row(len(source.modes), e.num)
    protocol = e.protocol | {"radius": "3 sigma", "counted": "high_quality"}
    return [Score(name, value, ideal[name], "a perfect sampler", protocol) for name, value in found.items()]


def energy(e: Evidence) -> list[Score]:
    """Energy distance of samples and held-out points, in stored units; its floor is train against held-out."""
    heldout, train = (split["x"][: e.num] for split in (e.heldout, e.train))
    protocol = e.protocol | {"reference": len(heldout), "split": "heldout", "statistic": "U"}
    floor = m.energy_distance(train, heldout)
    return [
        Score(
            "energy_distance", m.energy_distance(e.drawn.x, heldout), floor, f"{len(train)} training points", protocol
        )
    ]


def classifier(e: Evidence) -> list[Score]:
    """What a classifier trained on real data sees in the samples: classes, their balance, its confidence."""
    samples, real = (e.judge.experiment.logits(e.judge.ema, x) for x in (e.drawn.x, e.heldout["x"]))
    accuracy = float((real.argmax(axis=1) == e.heldout["label"]).mean())
    found = m.class_report(samples, real)
    protocol = e.protocol | {"classifier": e.judge.identity, "reference": len(real), "split": "heldout"}
    held = f"{len(real)} real held-out images"
    return [
        Score("classifier_accuracy", accuracy, 1.0, f"of the judge itself, on {held}", protocol),
        Score("classes", found["classes"], real.shape[1], "all of them", protocol),
        Score("confidence", found["confidence"], found["real_confidence"], held, protocol),
        Score("confidence_ratio", found["confidence_ratio"], 1.0, "as sure as on real images", protocol),
    ]


def accuracy(e: Evidence) -> list[Score]:
    """Share of held-out images that a classifier labels rightly."""
    right = e.experiment.logits(e.variables, e.heldout["x"]).argmax(axis=1) == e.heldout["label"]
    return [
        Score(
            "accuracy",
            float(right.mean()),
            1.0,
            "no mistake",
            e.protocol | {"reference": len(right), "split": "heldout"},
        )
    ]


METRICS = {
    "frechet_pixels": frechet_pixels,
    "modes": modes,
    "energy": energy,
    "classifier": classifier,
    "accuracy": accuracy,
}


def find(names: Iterable[str], experiment: Experiment) -> dict[str, Callable[[Evidence], list[Score]]]:
    """The metrics of these names, if all of them exist and make sense for this data."""
    source, space = experiment.source, experiment.method.space
    for name in names:
        if name not in METRICS:
            raise UserError(f"eval.metrics: {name!r} is unknown; it is one of {', '.join(METRICS)}")
    needs = {
        "frechet_pixels": (space.kind == "images", "images"),
        "energy": (space.kind == "points", "points"),
        "modes": (
            getattr(source, "kind", "") in ("ring", "grid"),
            "a mixture with known modes (toy2d:ring or toy2d:grid)",
        ),
        "classifier": (space.kind == "images" and space.num_classes > 1, "labelled images"),
        "accuracy": (isinstance(experiment.method, Classifier), "a classifier"),
    }
    for name in names:
        fits, need = needs[name]
        if not fits:
            raise UserError(
                f"eval.metrics: {name!r} needs {need}; choose among {', '.join(n for n in needs if needs[n][0])}"
            )
    return {name: METRICS[name] for name in names}


def judge_of(experiment: Experiment) -> Run:
    """The classifier that `eval.classifier` names, a finished run of its own."""
    path = experiment.config.eval.classifier
    how = "train one with: python launch.py train --config=configs/classifier.py --workdir=DIR"
    if not path:
        raise UserError(f"eval.classifier: the metric 'classifier' needs the run directory of a classifier; {how}")
    if not (Path(path) / "config.json").is_file():
        raise UserError(f"eval.classifier: {path} holds no run; {how}")
    run = load(path)
    if not isinstance(run.experiment.method, Classifier):
        raise UserError(f"eval.classifier: {path} is a {run.experiment.config.method.name}, not a classifier; {how}")
    seen, drawn = run.experiment.method.space.shape, experiment.method.space.shape
    if seen != drawn:
        raise UserError(f"eval.classifier: {path} sees images of {seen}, not of {drawn}")
    return run
