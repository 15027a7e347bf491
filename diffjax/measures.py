"""What can be measured of a trained experiment. Each metric is a function of `Evidence`, which draws the samples once.

It answers with scores: a value, beside the one that a perfect sampler, or real data, would get, and the protocol.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from diffjax import densities
from diffjax import metrics as m
from diffjax.config import flatten
from diffjax.data import StackedMNIST
from diffjax.diffusion import discrete
from diffjax.diffusion.bound import edge_entropy, mean_and_error
from diffjax.errors import UserError
from diffjax.methods.classifier import Classifier
from diffjax.methods.diffusion import Diffusion
from diffjax.methods.discrete import DiscreteDiffusion
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
    weights: str = "ema"  # which average it is

    @property
    def variables(self) -> dict[str, Any]:
        return self.state.averaged

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


def stacked_modes(e: Evidence, min_hits: int = 0) -> list[Score]:
    """How many of stacked MNIST's thousand modes a classifier of single digits finds, and how unequal they are.

    Each channel goes through the classifier; a mode counts from `min_hits` samples, 0: `metrics.fair_min_hits`. Beside
    it, by the same classifier and from as many images: real held-out digits of all modes, of 100 and of 700.
    """
    source, num, judge = e.experiment.source, len(e.drawn.x), e.judge
    min_hits = min_hits or m.fair_min_hits(num, 1000)
    real = source.heldout_digits
    read, seen = (judge.experiment.logits(judge.ema, x).argmax(axis=1) for x in (source.channels(e.drawn.x), real["x"]))
    found = m.stacked_report(read.reshape(-1, 3), min_hits)
    oracle = {modes: m.stacked_report(seen[source.restricted(modes, num)], min_hits) for modes in (1000, 100, 700)}
    right = float((seen == real["label"]).mean())
    protocol = e.protocol | {"data.sha256": source.sha256, "classifier": judge.identity, "classifier_accuracy": right}
    protocol |= {"min_hits": min_hits, "reference": num, "split": "heldout"}
    best, held = oracle[1000], f"{num} stacks of real held-out digits"
    bias, single = m.expected_kl_to_uniform(1000, num), "from 1 hit, as papers count: mistakes of the classifier too"
    scores = [
        ("stacked_modes", found["modes"], best["modes"], f"{held}; counted from {min_hits} hits"),
        ("stacked_modes_single_hit", found["modes_single_hit"], best["modes_single_hit"], single),
        ("stacked_kl", found["kl"], best["kl"], f"{held}; KL(modes || uniform) in nats"),
        ("stacked_kl_bias", bias, None, f"the part of it that a finite number makes: of {num} exactly uniform draws"),
        *(
            (f"stacked_{name}_of_{modes}", oracle[modes][name], modes, f"real digits of {modes} modes, by this {how}")
            for modes in (100, 700)
            for name, how in (("modes", "count"), ("modes_single_hit", "classifier, from 1 hit"))
        ),
        ("classifier_accuracy", right, 1.0, f"of the judge itself, on {len(seen)} real held-out digits"),
    ]
    return [Score(name, value, reference, meaning, protocol) for name, value, reference, meaning in scores]


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


def bound(e: Evidence, draws: int = 512) -> list[Score]:
    """How likely held-out categories are at least: the bound term by term, K and L_null of the 2015 paper.

    All in bits per example, over the whole held-out split, with the standard error of the bound (and so of K).
    """
    method, x, source = e.experiment.method, e.heldout["x"], e.experiment.source
    terms = densities.discrete_bound(e.experiment, e.variables, e.heldout, e.seed, draws)
    per_example = jax.tree.map(lambda term: term / np.log(2), terms)
    _, error = mean_and_error(per_example.total)
    prior, steps, decoder = (term.mean() for term in per_example)
    true = source.log_likelihood / np.log(2) if hasattr(source, "log_likelihood") else None

    frequency = np.bincount(e.train["x"].ravel(), minlength=method.space.values) / e.train["x"].size
    log_frequency = np.log2(frequency, where=frequency > 0, out=np.full_like(frequency, -np.inf))
    null = log_frequency[x].reshape(len(x), -1).sum(axis=1).mean()
    protocol = e.protocol | {"unit": "bits per example", "draws": draws, "reference": len(x), "split": "heldout"}
    scores = [
        ("bound", -(prior + steps + decoder), true, "the true log likelihood"),
        ("bound_standard_error", error, 0.0, "of the bound, over held-out examples"),
        ("bound_prior", prior, 0.0, "KL(q(x_T | x_0) | p(x_T)), a term of the bound"),
        ("bound_steps", steps, None, "the sum of the KLs of steps 2 .. T, a term of the bound"),
        ("bound_decoder", decoder, 0.0, "-log p(x_0 | x_1), a term of the bound"),
    ]
    if not method.process.absorbing:
        edge = discrete.edge_entropy(method.process, x[0].size) / np.log(2)
        best = None if true is None else true - edge
        scores.append(("K", -steps - edge, best, "the true log likelihood less what K's own edge costs it"))
        scores.append(("K_gain", -steps - edge - null, None if true is None else best - null, "K - L_null"))
    scores.append(("L_null", null, None, "independent entries with the frequencies of the training data"))
    return [Score(name, float(value), reference, meaning, protocol) for name, value, reference, meaning in scores]


def vlb(e: Evidence, draws: int = 64) -> list[Score]:
    """The variational bound of a diffusion model, term by term, on held-out examples.

    Bits/dim for images, which are discrete; for points bits of a density, in standardised units.
    """
    data = _first(e.heldout, e.num)
    terms, (unit, per), protocol = densities.bound(e.experiment, e.variables, data, e.seed, draws), *_bits(e, data)
    total, error = mean_and_error(terms.total * per)
    protocol |= {"draws": draws}
    return [
        Score("vlb", total, _entropy(e, data["x"]), f"{unit}, at most; beside it the true entropy, if known", protocol),
        Score("vlb_standard_error", error, 0.0, f"over {len(data['x'])} held-out examples", protocol),
        *(
            Score(f"vlb_{name}", float(getattr(terms, name).mean() * per), reference, meaning, protocol)
            for name, reference, meaning in (
                ("prior", 0.0, "L_T, a term of the bound"),
                ("steps", None, "the sum or the integral of its divergences"),
                ("decoder", None, "L_0, -log p(x0 | what is left of it)"),
            )
        ),
    ]


def likelihood_ode(e: Evidence, probes: int = 1) -> list[Score]:
    """Minus the log likelihood of held-out examples by the probability-flow ODE, in the units of `vlb`.

    Images are dequantised uniformly, which makes it an upper bound in expectation.
    """
    data = _first(e.heldout, e.num)
    (log_p, nfe), (unit, per), protocol = (
        densities.log_prob(e.experiment, e.variables, data, e.seed, probes),
        *_bits(e, data),
    )
    space = e.experiment.method.space
    shift = 0.0 if space.kind == "images" else space.log_det  # densities of points are said in standardised units
    value, error = mean_and_error(-(log_p - shift) * per)
    protocol |= {"t_min": densities.T_MIN, "tolerance": 1e-5, "dequantisation": "uniform, once"}
    if np.prod(space.shape) > densities.EXACT:
        protocol |= {"probes": probes}
    truth = _entropy(e, data["x"])
    return [
        Score("likelihood_ode", value, truth, f"{unit}; beside it the true entropy, if known", protocol),
        Score("likelihood_ode_standard_error", error, 0.0, f"over {len(data['x'])} held-out examples", protocol),
        Score("likelihood_ode_nfe", float(nfe.mean()), None, "uses of the denoiser for each example", protocol),
    ]


def k_2015(e: Evidence, draws: int = 64, repeats: int = 4) -> list[Score]:
    """K and L_null of Sohl-Dickstein et al. 2015, in bits a point and units of variance 1; higher is better.

    Over the whole held-out split. L_null is an isotropic Gaussian's, fitted to the training data.
    """
    method, data, source = e.experiment.method, e.heldout, e.experiment.source
    x, train = (np.asarray(method.space.to_model(split["x"]), float) for split in (data, e.train))
    dims, (_, per), protocol = x[0].size, *_bits(e, data)
    terms = densities.bound(e.experiment, e.variables, data, e.seed, draws, repeats)
    process = method.process_of(e.variables)
    k, error = mean_and_error(-(terms.steps + float(edge_entropy(process, dims))) * per)
    centre, variance = train.mean(axis=0), train.var(axis=0).mean()
    distance = np.sum((x - centre) ** 2, axis=1)
    null = float(np.mean(-0.5 * (distance / variance + dims * np.log(2 * np.pi * variance))) * per)
    truth, edge = _entropy(e, data["x"]), None
    if truth is not None:  # what the first step leaves of the data: sqrt(1 - beta) x0 and more noise
        alpha, sigma = (float(f(jax.numpy.asarray(1 / process.steps))) for f in (process.alpha, process.sigma))
        blurred = replace(source, noise=float(np.hypot(source.sigma, sigma / alpha * method.space.scale)))
        noise = np.random.RandomState(e.seed).standard_normal(x.shape) * sigma / alpha * method.space.scale
        edge = -_entropy(e, data["x"] + noise, blurred) - dims * float(np.log2(alpha))
        protocol |= {"noise": source.sigma / method.space.scale}
    protocol |= {"draws": draws, "trajectories": repeats, "reference": len(x)}
    gain = None if edge is None else edge - null
    scores = [
        ("K", k, edge, "-H(x_1): what no model's K exceeds, the first step being the forward kernel"),
        ("K_standard_error", error, 0.0, "of K, over held-out points"),
        ("L_null", null, None, "an isotropic Gaussian fitted to the training data"),
        ("K_gain", k - null, gain, "K - L_null"),
    ]
    if truth is not None:
        scores.append(("log_likelihood", -truth, -truth, "the true one: minus the entropy of the data"))
    return [Score(name, value, reference, meaning, protocol) for name, value, reference, meaning in scores]


def _first(split: dict[str, np.ndarray], num: int) -> dict[str, np.ndarray]:
    return {name: values[:num] for name, values in split.items()}


def _bits(e: Evidence, data: dict[str, np.ndarray]) -> tuple[tuple[str, float], dict[str, Any]]:
    """The unit in which a likelihood is said, what nats of one example are multiplied by for it, and the protocol."""
    bit = 1 / float(np.log(2))
    if e.experiment.method.space.kind == "images":
        unit, per = "bits/dim", bit / data["x"][0].size
    else:
        unit, per = "bits a point in standardised units", bit
    known = {"unit": unit, "reference": len(data["x"]), "split": "heldout"}
    return (unit, per), e.protocol | known | ({"labels": "given"} if e.experiment.method.conditional else {})


def _entropy(e: Evidence, x: np.ndarray, source: Any = None) -> float | None:
    """-E log2 p over stored points x, of a density in standardised units, where it is known."""
    source, space = source or e.experiment.source, e.experiment.method.space
    if not hasattr(source, "log_density"):
        return None
    return float(-(source.log_density(x).mean() - space.log_det) / np.log(2))


METRICS = {
    "frechet_pixels": frechet_pixels,
    "modes": modes,
    "energy": energy,
    "classifier": classifier,
    "stacked_modes": stacked_modes,
    "accuracy": accuracy,
    "bound": bound,
    "vlb": vlb,
    "likelihood_ode": likelihood_ode,
    "K": k_2015,
}


def find(names: Iterable[str], experiment: Experiment) -> dict[str, Callable[[Evidence], list[Score]]]:
    """The metrics of these names, if all of them exist and make sense for this data."""
    source, space = experiment.source, experiment.method.space
    for name in names:
        if name not in METRICS:
            raise UserError(f"eval.metrics: {name!r} is unknown; it is one of {', '.join(METRICS)}")
    gaussian = isinstance(experiment.method, Diffusion)
    chain = gaussian and bool(experiment.method.process.steps)
    stacked = isinstance(source, StackedMNIST)
    needs = {
        "frechet_pixels": (space.kind == "images", "images"),
        "energy": (space.kind == "points", "points"),
        "modes": (
            getattr(source, "kind", "") in ("ring", "grid"),
            "a mixture with known modes (toy2d:ring or toy2d:grid)",
        ),
        "classifier": (
            space.kind == "images" and space.num_classes > 1 and not stacked,
            "labelled images (if stacked, take stacked_modes)",
        ),
        "stacked_modes": (
            stacked and experiment.method.generates,
            "a generator of stacked digits (data.name='stacked_mnist')",
        ),
        "accuracy": (isinstance(experiment.method, Classifier), "a classifier"),
        "bound": (isinstance(experiment.method, DiscreteDiffusion), "a discrete diffusion model"),
        "vlb": (gaussian, "a diffusion model of images or points"),
        "likelihood_ode": (gaussian and not chain, "a diffusion process in continuous time, such as vp_linear or edm"),
        "K": (chain and space.kind == "points", "a chain of steps (such as learned_table) on points"),
    }
    for name in names:
        fits, need = needs[name]
        if not fits:
            raise UserError(
                f"eval.metrics: {name!r} needs {need}; choose among {', '.join(n for n in needs if needs[n][0])}"
            )
    return {name: METRICS[name] for name in names}


def judge_of(experiment: Experiment, chosen: Iterable[str]) -> Run | None:
    """The classifier that `eval.classifier` names, a finished run of its own, if one of the chosen metrics asks it."""
    asking = [name for name in chosen if name in ("classifier", "stacked_modes")]
    if not asking:
        return None
    path, source = experiment.config.eval.classifier, experiment.source
    stacked = isinstance(source, StackedMNIST)
    size = f" --config.data.size={source.digits.size}" if stacked and getattr(source.digits, "size", 0) else ""
    which = f"configs/classifier.py:{source.base}{size}" if stacked else "configs/classifier.py"
    how = f"train one with: python launch.py train --config={which} --workdir=DIR"
    if not path:
        raise UserError(f"eval.classifier: the metric {asking[0]!r} needs the run directory of a classifier; {how}")
    if not (Path(path) / "config.json").is_file():
        raise UserError(f"eval.classifier: {path} holds no run; {how}")
    run = load(path)
    if not isinstance(run.experiment.method, Classifier):
        raise UserError(f"eval.classifier: {path} is a {run.experiment.config.method.name}, not a classifier; {how}")
    seen, drawn = run.experiment.method.space.shape, experiment.method.space.shape
    if stacked and not source.made_of(run.experiment.source):
        known = f"{run.experiment.config.data.name} of {seen}"
        raise UserError(f"eval.classifier: {path} was trained on {known}, not on the digits that are stacked; {how}")
    if not stacked and seen != drawn:
        raise UserError(f"eval.classifier: {path} sees images of {seen}, not of {drawn}")
    return run
