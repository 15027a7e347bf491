"""Metrics chosen by name, with everything that they need: the feature networks, the classifier, images enough."""

from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

from diffjax.config import did_you_mean
from diffjax.errors import UserError
from diffjax.measures import classes
from diffjax.measures.contract import Choice, Counts, Measuring
from diffjax.measures.names import PRDC, SHORT, score_names
from diffjax.measures.possible import check, check_prompts
from diffjax.measures.table import BY_FEATURES, METRICS, is_stacked
from diffjax.methods.classifier import Classifier
from diffjax.metrics.features import FEATURES, Extractor, check_choice
from diffjax.precision import MATMUL
from diffjax.run import Experiment, Run, load

OWN = ("pixels", "classifier")  # features that need no published weights
TRAIN_ONE = "train one with: python launch.py train --config=configs/classifier.py --workdir=DIR"


def choose(names: Iterable[str], experiment: Experiment, num: int = 0, load_networks: bool = True) -> Choice:
    """The metrics of these names, of `num` samples (0: `eval.num`), with the feature networks that they ask.

    Raises UserError unless all of them exist, make sense, have what they need, and can be had of so many images. Not to
    `load_networks` leaves out those whose weights are fetched, and what is known of their metrics through them.
    """
    metrics, evaluation = find(names, experiment), experiment.config.eval
    if "variety" in metrics:
        check_prompts(num or evaluation.num, experiment.method.space.prompts)
    judge = judge_of(experiment, metrics)
    if any(name.endswith(":classifier") for name in metrics) and is_stacked(experiment):
        raise UserError("eval.features: 'classifier' sees single digits, not stacked ones; take stacked_modes")
    asking, weights = metrics, evaluation.weights
    if not load_networks:
        check_networks(metrics, weights, evaluation.precision)
        asking, weights = [name for name in metrics if name.partition(":")[2] in OWN], ""
    networks = extractors(asking, experiment.method.space.shape, weights, judge, evaluation.precision)
    if networks:
        counts = _counts(experiment, num or evaluation.num)
        check_all(metrics, networks, counts)
    return Choice(metrics, networks, judge)


def _counts(experiment: Experiment, num: int) -> Counts:
    of = {name: len(experiment.source.split(name)) for name in {"train", experiment.config.eval.reference}}
    return Counts(num, of[experiment.config.eval.reference], of["train"])


def check_all(metrics: Iterable[str], networks: dict[str, Extractor], counts: Counts) -> None:
    """Raises UserError if one of these metrics, where it asks a feature network, cannot be had of so many images."""
    for name in metrics:
        if (features := name.partition(":")[2]) in networks:
            check(name, networks[features], counts)


def check_features(features: str, metrics: Iterable[str]) -> None:
    """Raises UserError if features are given ("": none are) that none of these metrics, by their full names, asks."""
    if features and not any(name.endswith(f":{features}") for name in metrics):
        asked = ", ".join(metrics)
        raise UserError(f"--features: {features!r}: all of {asked} name their own network, or need none; leave it out")


def find(names: Iterable[str], experiment: Experiment) -> dict[str, Measuring]:
    """The metrics of these names, by their full ones, if all of them exist and make sense for this data."""
    found = {}
    for given in names:
        name, features = full(given, experiment.config.eval.features)
        measure = METRICS[name]
        if not measure.fits(experiment):
            fitting = ", ".join(n for n, metric in METRICS.items() if metric.fits(experiment))
            raise UserError(f"eval.metrics: {given!r} needs {measure.needs}; choose among {fitting}")
        if features:
            found |= by_features([given], features)
        else:
            found[name] = Measuring(measure.function, measure.names(experiment))
    return found


def by_features(names: Iterable[str], default: str) -> dict[str, Measuring]:
    """Those metrics that compare two sets of images and nothing else, by their full names."""
    found = {}
    for given in names:
        name, features = full(given, default)
        if not features:
            raise UserError(f"--metrics: {given!r} is of a trained run; of images there are {', '.join(BY_FEATURES)}")
        scores = score_names(name, features)
        found[f"{name}:{features}"] = Measuring(partial(BY_FEATURES[name], features=features), scores)
    return found


def full(given: str, default: str) -> tuple[str, str]:
    """("kid", "inception") of "kid:inception", or of "kid" if that is the default; ("modes", "") of "modes"."""
    name, colon, features = SHORT.get(given, given).partition(":")
    if name not in METRICS:
        known = [*METRICS, *SHORT]
        meant = did_you_mean("prdc" if given.lower() in PRDC else given.lower(), known)
        raise UserError(f"eval.metrics: {given!r} is unknown; it is one of {', '.join(known)}{meant}")
    if colon and name not in BY_FEATURES:
        raise UserError(f"eval.metrics: {given!r}: {name} asks no feature network; it is just {name!r}")
    return name, features or default if name in BY_FEATURES else ""


def extractors(
    metrics: Collection[str], shape: tuple[int, ...], weights: str, judge: Run | None, precision: str
) -> dict[str, Extractor]:
    """The feature networks that these metrics ask, by full names, for images of this shape.

    `weights` is the file of those that are fetched, `precision` that of their products. Raises UserError for what is
    unknown, and for weights that cannot be had.
    """
    check_networks(metrics, weights, precision)
    given = {"precision": precision} | ({"weights": weights} if weights else {})

    def made(name: str) -> Extractor:
        if name == "classifier":
            network = classes.extractor(judge, precision)
        else:
            network = FEATURES[name](shape, **({} if name in OWN else given))
        return network if f"inception_score:{name}" in metrics else network.without_logits()

    return {name: made(name) for name in _networks(metrics)}


def check_networks(metrics: Collection[str], weights: str, precision: str) -> None:
    """Raises UserError for unknown feature networks or precisions, and for weights that are not of the one network."""
    check_choice("eval.precision", precision, MATMUL)
    known, networks = [*FEATURES, "classifier"], _networks(metrics)
    for name in networks:
        if name not in known:
            raise UserError(f"eval.features: {name!r} is unknown; it is one of {', '.join(known)}")
    fetched = [name for name in networks if name not in OWN]
    if weights and len({name.partition("_")[0] for name in fetched}) != 1:
        asked = f"one file, for {len(fetched)} networks" if fetched else "for no network: these features have none"
        raise UserError(f"eval.weights: {weights} is {asked}; leave it empty")


def _networks(metrics: Collection[str]) -> list[str]:
    return sorted({name.partition(":")[2] for name in metrics} - {""})


def judge_of(experiment: Experiment, chosen: Iterable[str]) -> Run | None:
    """The classifier that `eval.classifier` names, a finished run of its own, if one of the chosen metrics asks it."""
    asking = [name for name in chosen if name.endswith(":classifier") or METRICS[name.partition(":")[0]].judged]
    if not asking:
        return None
    source, shape = experiment.source, experiment.method.space.shape
    if not is_stacked(experiment):
        return judge(experiment.config.eval.classifier, shape, asking[0])
    size = f" --config.data.size={source.digits.size}" if getattr(source.digits, "size", 0) else ""
    how = f"train one with: python launch.py train --config=configs/classifier.py:{source.base}{size} --workdir=DIR"
    run = judge(experiment.config.eval.classifier, source.digits.space.shape, asking[0], how)
    if not source.made_of(run.experiment.source):
        known = f"{run.experiment.config.data.name} of {run.experiment.method.space.shape}"
        path = run.workdir
        raise UserError(f"eval.classifier: {path} was trained on {known}, not on the digits that are stacked; {how}")
    return run


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
