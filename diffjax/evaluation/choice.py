"""Selects metrics by name, and loads the feature networks and the classifier that they need."""

from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

from diffjax.config import did_you_mean
from diffjax.errors import UserError
from diffjax.evaluation import classes
from diffjax.evaluation.contract import Choice, Counts, Measuring
from diffjax.evaluation.names import PRDC, SHORT, score_names
from diffjax.evaluation.requirements import check, check_prompts
from diffjax.evaluation.table import BY_FEATURES, METRICS, is_stacked
from diffjax.experiment import Experiment
from diffjax.methods.classifier import Classifier
from diffjax.metrics.features import FEATURES, Extractor, check_choice
from diffjax.precision import MATMUL
from diffjax.run import Run, load

NETWORKS = (*FEATURES, "classifier")
OWN = ("pixels", "classifier")  # features without published weights
TRAIN_ONE = "train one with: python launch.py train --config=configs/classifier.py:digits --workdir=DIR (or :mnist)"


def choose(names: Iterable[str], experiment: Experiment, num: int = 0, load_networks: bool = True) -> Choice:
    """The named metrics for `num` samples (0: `eval.num`), with the feature networks that they use.

    Raises UserError unless every metric exists, applies to this experiment, has its networks and classifier, and
    works with this many images. With `load_networks=False`, networks with downloaded weights are left out, and so are
    the checks of the number of images that depend on them.
    """
    metrics, eval_config = find(names, experiment), experiment.config.eval
    if "variety" in metrics:
        check_prompts(num or eval_config.num, experiment.method.space.prompts)
    judge = judge_of(experiment, metrics)
    if any(name.endswith(":classifier") for name in metrics) and is_stacked(experiment):
        raise UserError("eval.features: 'classifier' sees single digits, not stacked ones; use stacked_modes")
    embedded, weights = metrics, eval_config.weights
    if not load_networks:
        check_networks(metrics, weights, eval_config.precision)
        embedded, weights = [name for name in metrics if name.partition(":")[2] in OWN], ""
    networks = extractors(embedded, experiment.method.space.shape, weights, judge, eval_config.precision)
    if networks:
        counts = _counts(experiment, num or eval_config.num)
        check_all(metrics, networks, counts)
    return Choice(metrics, networks, judge)


def _counts(experiment: Experiment, num: int) -> Counts:
    sizes = {name: len(experiment.source.split(name)) for name in {"train", experiment.config.eval.reference}}
    return Counts(num, sizes[experiment.config.eval.reference], sizes["train"])


def check_all(metrics: Iterable[str], networks: dict[str, Extractor], counts: Counts) -> None:
    """Raises UserError if a metric that uses one of these networks does not work with this many images."""
    for name in metrics:
        if (features := name.partition(":")[2]) in networks:
            check(name, networks[features], counts)


def check_features(features: str, metrics: Iterable[str]) -> None:
    """Raises UserError if `features` ("": unset) is used by none of these metrics, given by their full names."""
    if features and not any(name.endswith(f":{features}") for name in metrics):
        full_names = ", ".join(metrics)
        raise UserError(
            f"`features`: {features!r}: all of {full_names} name their own network, or need none; leave it out"
        )


def find(names: Iterable[str], experiment: Experiment) -> dict[str, Measuring]:
    """{full name: metric} of the given names. Raises UserError if one is unknown or does not apply."""
    metrics = {}
    for alias in names:
        name, features = full(alias, experiment.config.eval.features)
        measure = METRICS[name]
        if not measure.fits(experiment):
            fitting = ", ".join(n for n, metric in METRICS.items() if metric.fits(experiment))
            raise UserError(f"eval.metrics: {alias!r} needs {measure.needs}; choose among {fitting}")
        if features:
            metrics |= by_features([alias], features)
        else:
            metrics[name] = Measuring(measure.function, measure.names(experiment))
    return metrics


def by_features(names: Iterable[str], default: str) -> dict[str, Measuring]:
    """{full name: metric} of metrics that need only two sets of images. Raises UserError for any other."""
    metrics = {}
    for alias in names:
        name, features = full(alias, default)
        if not features:
            raise UserError(f"eval.metrics: {alias!r} needs a trained run; must be one of {', '.join(BY_FEATURES)}")
        scores = score_names(name, features)
        metrics[f"{name}:{features}"] = Measuring(partial(BY_FEATURES[name], features=features), scores)
    return metrics


def full(given: str, default: str) -> tuple[str, str]:
    """Splits a name: "kid:inception" -> ("kid", "inception"), "kid" -> ("kid", default), "modes" -> ("modes", "").

    Raises UserError for an unknown metric or feature network, and for features of a metric that uses none.
    """
    if not isinstance(given, str):
        raise UserError(f"eval.metrics: {given!r} must be the name of a metric, such as 'kid'")
    name, colon, features = SHORT.get(given, given).partition(":")
    if name not in METRICS:
        known_names = [*METRICS, *SHORT]
        hint = did_you_mean("prdc" if given.lower() in PRDC else given.lower(), known_names)
        raise UserError(f"eval.metrics: {given!r} is unknown; it is one of {', '.join(known_names)}{hint}")
    if colon and name not in BY_FEATURES:
        raise UserError(f"eval.metrics: {given!r}: {name} takes no feature network; write {name!r}")
    if colon and features not in NETWORKS:
        hint = did_you_mean(features, NETWORKS)
        raise UserError(f"eval.metrics: {given!r}: its feature network must be one of {', '.join(NETWORKS)}{hint}")
    return name, features or default if name in BY_FEATURES else ""


def extractors(
    metrics: Collection[str], shape: tuple[int, ...], weights: str, judge: Run | None, precision: str
) -> dict[str, Extractor]:
    """{name: feature network} of metrics given by their full names, for images of this shape.

    `weights` is a file to load instead of downloading, `precision` that of matrix products. Raises UserError for an
    unknown network or precision, and for weights that are not available.
    """
    check_networks(metrics, weights, precision)
    kwargs = {"precision": precision} | ({"weights": weights} if weights else {})

    def make(name: str) -> Extractor:
        if name == "classifier":
            network = classes.extractor(judge, precision)
        else:
            network = FEATURES[name](shape, **({} if name in OWN else kwargs))
        return network if f"inception_score:{name}" in metrics else network.without_logits()

    return {name: make(name) for name in _networks(metrics)}


def check_networks(metrics: Collection[str], weights: str, precision: str) -> None:
    """Raises UserError for unknown networks or precisions, and for `weights` unless exactly one network loads them."""
    check_choice("eval.precision", precision, MATMUL)
    networks = _networks(metrics)
    for name in networks:
        if name not in NETWORKS:
            hint = did_you_mean(name, NETWORKS)
            raise UserError(f"eval.features: {name!r} is unknown; it is one of {', '.join(NETWORKS)}{hint}")
    downloaded = [name for name in networks if name not in OWN]
    if weights and len({name.partition("_")[0] for name in downloaded}) != 1:
        purpose = (
            f"one file, for {len(downloaded)} networks" if downloaded else "for no network: these features have none"
        )
        raise UserError(f"eval.weights: {weights} is {purpose}; leave it empty")


def _networks(metrics: Collection[str]) -> list[str]:
    return sorted({name.partition(":")[2] for name in metrics} - {""})


def judge_of(experiment: Experiment, chosen: Iterable[str]) -> Run | None:
    """Loads the classifier run that `eval.classifier` names; None if no chosen metric uses it."""
    judged = [name for name in chosen if name.endswith(":classifier") or METRICS[name.partition(":")[0]].judged]
    if not judged:
        return None
    source, space, path = experiment.source, experiment.method.space, experiment.config.eval.classifier
    if not is_stacked(experiment):  # as features, the hidden layer of any classifier will do
        num_classes = space.num_classes if any(METRICS[name.partition(":")[0]].judged for name in judged) else 0
        return load_classifier(path, space.shape, judged[0], num_classes=num_classes)
    size_flag = f" --config.data.size={source.digits.size}" if getattr(source.digits, "size", 0) else ""
    advice = (
        f"train one with: python launch.py train --config=configs/classifier.py:{source.base}{size_flag} --workdir=DIR"
    )
    digits = source.digits.space
    run = load_classifier(path, digits.shape, judged[0], advice, digits.num_classes)
    if not source.made_of(run.experiment.source):
        trained_on = f"{run.experiment.config.data.name} of {run.experiment.method.space.shape}"
        raise UserError(
            f"eval.classifier: {path} was trained on {trained_on}, not on the digits that are stacked; {advice}"
        )
    return run


def load_classifier(path: str, shape: tuple[int, ...], asking: str, how: str = TRAIN_ONE, num_classes: int = 0) -> Run:
    """Loads the classifier in a run directory. Raises UserError unless it is one for images of this shape and classes.

    `asking` is the metric that needs it, `how` to get one; `num_classes` may be any number if it is 0.
    """
    if not path:
        raise UserError(f"eval.classifier: the metric {asking!r} needs the run directory of a classifier; {how}")
    if not (Path(path) / "config.json").is_file():
        raise UserError(f"eval.classifier: {path} is not a run directory; {how}")
    run = load(path)
    if not isinstance(run.experiment.method, Classifier):
        raise UserError(f"eval.classifier: {path} is a {run.experiment.config.method.name}, not a classifier; {how}")
    space = run.experiment.method.space
    if space.shape != shape:
        raise UserError(f"eval.classifier: {path} takes images of {space.shape}; must be of {shape}")
    if num_classes and space.num_classes != num_classes:
        known = f"knows {space.num_classes} classes; must know the data's {num_classes}"
        raise UserError(f"eval.classifier: {path} {known}")
    return run
