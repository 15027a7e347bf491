"""The table of metrics by name: function, names of its scores, and the experiments that it applies to."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

from diffjax.data import Shapes, StackedMNIST
from diffjax.evaluation import classes, images, likelihood, neighbours, nfe, points, words
from diffjax.evaluation.contract import Score
from diffjax.evaluation.names import score_names
from diffjax.experiment import Experiment
from diffjax.methods.classifier import Classifier
from diffjax.methods.diffusion import Diffusion
from diffjax.methods.discrete import DiscreteDiffusion


class Measure(NamedTuple):
    """A metric, and the experiments that it applies to."""

    function: Callable[..., list[Score]]
    names: Callable[[Experiment], tuple[str, ...]]  # of its scores; for metrics by features see `score_names`
    fits: Callable[[Experiment], bool]  # whether the metric applies to an experiment
    needs: str  # what it applies to, for the error message
    judged: bool = False  # whether it uses the classifier of `eval.classifier`


# Stands in for the experiment whose metrics return the most scores.
MOST = SimpleNamespace(
    source=SimpleNamespace(objects=(2,), held_pairs=(("red", "circle"),), log_density=None),
    method=SimpleNamespace(process=SimpleNamespace(absorbing=False), conditional=False),
)


def possible_scores(name: str, features: str = "") -> tuple[str, ...]:
    """The names of all scores that a metric returns for some experiment, without building one."""
    return score_names(name, features) if features else METRICS[name].names(MOST)


def _always(*names: str) -> Callable[[Experiment], tuple[str, ...]]:
    return lambda e: names


def _generates_images(e: Experiment) -> bool:
    return e.method.generates and e.method.space.kind == "images"


def is_stacked(e: Experiment) -> bool:
    return isinstance(e.source, StackedMNIST)


def _draws_shapes_by_words(e: Experiment) -> bool:
    return isinstance(e.source, Shapes) and e.method.generates and e.method.reads_captions


def _gaussian(e: Experiment) -> bool:
    return isinstance(e.method, Diffusion)


def _chain(e: Experiment) -> bool:
    return _gaussian(e) and bool(e.method.process.steps)


BY_FEATURES = {
    "frechet": images.frechet,
    "frechet_infinity": images.frechet_infinity,
    "kid": images.kid,
    "kid_all_pairs": images.kid_all_pairs,
    "prdc": neighbours.prdc,
    "inception_score": images.inception_score,
    "memorisation": neighbours.memorisation,
}
METRICS = {
    **{
        n: Measure(function, _always(), _generates_images, "a generator of images")
        for n, function in BY_FEATURES.items()
    },
    "nfe": Measure(nfe.nfe, _always("nfe"), lambda e: e.method.generates, "a generator"),
    "alignment": Measure(
        words.alignment,
        words.of_alignment,
        _draws_shapes_by_words,
        "a model of shapes that is shown captions (method.conditional)",
    ),
    "variety": Measure(
        words.variety, _always("variety"), _draws_shapes_by_words, "a model of shapes that is shown captions"
    ),
    "modes": Measure(
        points.modes,
        _always("modes", "high_quality", "reverse_kl"),
        lambda e: getattr(e.source, "kind", "") in ("ring", "grid"),
        "a mixture with known modes (toy2d:ring or toy2d:grid)",
    ),
    "energy": Measure(
        points.energy,
        _always("energy_distance"),
        lambda e: e.method.space.kind == "points" and not e.method.space.pictured,
        "points",
    ),
    "classifier": Measure(
        classes.classifier,
        _always(*classes.OF_CLASSES),
        lambda e: _generates_images(e) and e.method.space.num_classes > 1 and not is_stacked(e),
        "labelled images (if stacked, take stacked_modes)",
        judged=True,
    ),
    "stacked_modes": Measure(
        classes.stacked_modes,
        _always(*classes.OF_STACKS),
        lambda e: is_stacked(e) and e.method.generates,
        "a generator of stacked digits (data.name='stacked_mnist')",
        judged=True,
    ),
    "accuracy": Measure(
        classes.accuracy, _always("accuracy"), lambda e: isinstance(e.method, Classifier), "a classifier"
    ),
    "bound": Measure(
        likelihood.bound,
        likelihood.of_bound,
        lambda e: isinstance(e.method, DiscreteDiffusion),
        "a discrete diffusion model",
    ),
    "vlb": Measure(likelihood.vlb, _always(*likelihood.OF_VLB), _gaussian, "a diffusion model of images or points"),
    "likelihood_ode": Measure(
        likelihood.likelihood_ode,
        _always(*likelihood.OF_ODE),
        lambda e: _gaussian(e) and not _chain(e),
        "a diffusion process in continuous time, such as vp_linear or edm",
    ),
    "parzen": Measure(likelihood.parzen, _always(*likelihood.OF_PARZEN), _generates_images, "a generator of images"),
    "denoising_error": Measure(
        likelihood.denoising_error,
        _always(*likelihood.OF_ERRORS),
        _gaussian,
        "a diffusion model of images or points",
    ),
    "K": Measure(
        likelihood.k_2015,
        likelihood.of_k,
        lambda e: _chain(e) and e.method.space.kind == "points",
        "a chain of steps (such as learned_table) on points",
    ),
}
