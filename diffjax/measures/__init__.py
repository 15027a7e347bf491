"""What can be measured of a trained experiment. Each metric is a function of `Evidence`, which draws the samples once.

It answers with scores: a value, beside the one that a perfect sampler, or real data, would get, and the protocol. Those
that compare images do it by what a feature network sees, which stands after a colon ("kid:pixels"), or is what
`eval.features` says; "fid" is "frechet:inception".
"""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from diffjax.data import StackedMNIST
from diffjax.errors import UserError
from diffjax.measures import classes, images, likelihood, points
from diffjax.measures.evidence import Choice, Evidence, Score, Sets
from diffjax.methods.classifier import Classifier
from diffjax.methods.diffusion import Diffusion
from diffjax.methods.discrete import DiscreteDiffusion
from diffjax.metrics.features import FEATURES, Extractor
from diffjax.run import Experiment, Run, load

__all__ = ["METRICS", "Choice", "Evidence", "Score", "choose", "find", "judge_of"]


class Measure(NamedTuple):
    """A metric, and what it is for: `needs` is said where `fits` finds that it makes no sense."""

    function: Callable[..., list[Score]]
    fits: Callable[[Experiment], bool]
    needs: str
    judged: bool = False  # by the classifier of `eval.classifier`


def _generates_images(e: Experiment) -> bool:
    return e.method.generates and e.method.space.kind == "images"


def _stacked(e: Experiment) -> bool:
    return isinstance(e.source, StackedMNIST)


def _gaussian(e: Experiment) -> bool:
    return isinstance(e.method, Diffusion)


def _chain(e: Experiment) -> bool:
    return _gaussian(e) and bool(e.method.process.steps)


BY_FEATURES = {
    "frechet": images.frechet,
    "frechet_infinity": images.frechet_infinity,
    "kid": images.kid,
    "kid_all_pairs": images.kid_all_pairs,
    "prdc": images.prdc,
    "inception_score": images.inception_score,
    "memorisation": images.memorisation,
}
SHORT = {  # names for a metric by certain features
    "fid": "frechet:inception",
    "fid_clean": "frechet:inception_clean",
    "fid_torch": "frechet:inception_torch",
    "fid_infinity": "frechet_infinity:inception",
    "fd_dinov2": "frechet:dinov2",
    "frechet_pixels": "frechet:pixels",
    "is": "inception_score:inception",
}
METRICS = {
    **{name: Measure(function, _generates_images, "a generator of images") for name, function in BY_FEATURES.items()},
    "modes": Measure(
        points.modes,
        lambda e: getattr(e.source, "kind", "") in ("ring", "grid"),
        "a mixture with known modes (toy2d:ring or toy2d:grid)",
    ),
    "energy": Measure(points.energy, lambda e: e.method.space.kind == "points", "points"),
    "classifier": Measure(
        classes.classifier,
        lambda e: _generates_images(e) and e.method.space.num_classes > 1 and not _stacked(e),
        "labelled images (if stacked, take stacked_modes)",
        judged=True,
    ),
    "stacked_modes": Measure(
        classes.stacked_modes,
        lambda e: _stacked(e) and e.method.generates,
        "a generator of stacked digits (data.name='stacked_mnist')",
        judged=True,
    ),
    "accuracy": Measure(classes.accuracy, lambda e: isinstance(e.method, Classifier), "a classifier"),
    "bound": Measure(likelihood.bound, lambda e: isinstance(e.method, DiscreteDiffusion), "a discrete diffusion model"),
    "vlb": Measure(likelihood.vlb, _gaussian, "a diffusion model of images or points"),
    "likelihood_ode": Measure(
        likelihood.likelihood_ode,
        lambda e: _gaussian(e) and not _chain(e),
        "a diffusion process in continuous time, such as vp_linear or edm",
    ),
    "denoising_error": Measure(likelihood.denoising_error, _gaussian, "a diffusion model of images or points"),
    "K": Measure(
        likelihood.k_2015,
        lambda e: _chain(e) and e.method.space.kind == "points",
        "a chain of steps (such as learned_table) on points",
    ),
}


def choose(names: Iterable[str], experiment: Experiment) -> Choice:
    """The metrics of these names. Raises UserError unless all of them exist, make sense, and have what they need."""
    metrics = find(names, experiment)
    judge = judge_of(experiment, metrics)
    if any(name.endswith(":classifier") for name in metrics) and _stacked(experiment):
        raise UserError("eval.features: 'classifier' sees single digits, not stacked ones; take stacked_modes")
    networks = extractors(metrics, experiment.method.space.shape, experiment.config.eval.weights, judge)
    return Choice(metrics, networks, judge)


def find(names: Iterable[str], experiment: Experiment) -> dict[str, Callable[[Evidence], list[Score]]]:
    """The metrics of these names, by their full ones, if all of them exist and make sense for this data."""
    found = {}
    for given in names:
        name, features = full(given, experiment.config.eval.features)
        measure = METRICS[name]
        if not measure.fits(experiment):
            fitting = ", ".join(n for n, metric in METRICS.items() if metric.fits(experiment))
            raise UserError(f"eval.metrics: {given!r} needs {measure.needs}; choose among {fitting}")
        found |= by_features([given], features) if features else {name: measure.function}
    return found


def by_features(names: Iterable[str], default: str) -> dict[str, Callable[[Sets], list[Score]]]:
    """Those metrics that compare two sets of images and nothing else, by their full names."""
    found = {}
    for given in names:
        name, features = full(given, default)
        if not features:
            raise UserError(f"--metrics: {given!r} is of a trained run; of images there are {', '.join(BY_FEATURES)}")
        found[f"{name}:{features}"] = partial(BY_FEATURES[name], features=features)
    return found


def full(given: str, default: str) -> tuple[str, str]:
    """("kid", "inception") of "kid:inception", or of "kid" if that is the default; ("modes", "") of "modes"."""
    name, colon, features = SHORT.get(given, given).partition(":")
    if name not in METRICS:
        raise UserError(f"eval.metrics: {given!r} is unknown; it is one of {', '.join([*METRICS, *SHORT])}")
    if colon and name not in BY_FEATURES:
        raise UserError(f"eval.metrics: {given!r}: {name} asks no feature network; it is just {name!r}")
    return name, features or default if name in BY_FEATURES else ""


def extractors(metrics: Iterable[str], shape: tuple[int, ...], weights: str, judge: Run | None) -> dict[str, Extractor]:
    """The feature networks that these metrics ask, by full names, for images of this shape; `weights` is a file."""
    known, networks = [*FEATURES, "classifier"], sorted({name.partition(":")[2] for name in metrics} - {""})
    for name in networks:
        if name not in known:
            raise UserError(f"eval.features: {name!r} is unknown; it is one of {', '.join(known)}")
    fetched = [name for name in networks if name not in ("pixels", "classifier")]
    if weights and len({name.partition("_")[0] for name in fetched}) != 1:
        asked = f"one file, for {len(fetched)} networks" if fetched else "for no network: these features have none"
        raise UserError(f"eval.weights: {weights} is {asked}; leave it empty")
    given = {"weights": weights} if weights else {}
    return {
        name: classes.extractor(judge)
        if name == "classifier"
        else FEATURES[name](shape, **(given if name in fetched else {}))
        for name in networks
    }


def judge_of(experiment: Experiment, chosen: Iterable[str]) -> Run | None:
    """The classifier that `eval.classifier` names, a finished run of its own, if one of the chosen metrics asks it."""
    asking = [name for name in chosen if name.endswith(":classifier") or METRICS[name.partition(":")[0]].judged]
    if not asking:
        return None
    source, shape = experiment.source, experiment.method.space.shape
    if not _stacked(experiment):
        return judge(experiment.config.eval.classifier, shape, asking[0])
    size = f" --config.data.size={source.digits.size}" if getattr(source.digits, "size", 0) else ""
    how = f"train one with: python launch.py train --config=configs/classifier.py:{source.base}{size} --workdir=DIR"
    run = judge(experiment.config.eval.classifier, source.digits.space.shape, asking[0], how)
    if not source.made_of(run.experiment.source):
        known = f"{run.experiment.config.data.name} of {run.experiment.method.space.shape}"
        path = run.workdir
        raise UserError(f"eval.classifier: {path} was trained on {known}, not on the digits that are stacked; {how}")
    return run


TRAIN_ONE = "train one with: python launch.py train --config=configs/classifier.py --workdir=DIR"


def judge(path: str, shape: tuple[int, ...], asking: str, how: str = TRAIN_ONE) -> Run:
    """The classifier in a run directory. Raises UserError unless it is one, of images of this shape."""
    if not path:
        raise UserError(f"eval.classifier: the metric {asking!r} needs the run directory of a classifier; {how}")
    if not (Path(path) / "config.json").is_file():
        raise UserError(f"eval.classifier: {path} holds no run; {how}")
    run = load(path)
    if not isinstance(run.experiment.method, Classifier):
        raise UserError(f"eval.classifier: {path} is a {run.experiment.config.method.name}, not a classifier; {how}")
    if run.experiment.method.space.shape != shape:
        raise UserError(f"eval.classifier: {path} sees images of {run.experiment.method.space.shape}, not of {shape}")
    return run
