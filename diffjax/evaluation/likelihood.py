"""Likelihoods of held-out examples: bounds, the probability-flow ODE, Parzen windows, and K of the 2015 paper."""

from typing import Any

import jax
import numpy as np

from diffjax import metrics as m
from diffjax.diffusion import discrete
from diffjax.diffusion.bound import edge_entropy, mean_and_error
from diffjax.evaluation import densities
from diffjax.evaluation.contract import Score
from diffjax.evaluation.evidence import Evidence
from diffjax.experiment import Experiment
from diffjax.inference.rows import evenly

OF_VLB = ("vlb", "vlb_standard_error", "vlb_prior", "vlb_steps", "vlb_decoder")
OF_PARZEN = ("parzen", "parzen_standard_error", "parzen_sigma")
OF_ODE = ("likelihood_ode", "likelihood_ode_standard_error", "likelihood_ode_nfe")
OF_ERRORS = tuple(f"denoising_error_{level:g}" for level in densities.LEVELS)  # a chain gives those that it reaches
VALIDATION = 5  # every fifth held-out image is used to choose the width of a Parzen window


def of_bound(e: Experiment) -> tuple[str, ...]:
    """The names of the scores of `bound`."""
    names = ("bound", "bound_standard_error", "bound_prior", "bound_steps", "bound_decoder")
    return (*names, *(() if e.method.process.absorbing else ("K", "K_gain")), "L_null")


def of_k(e: Experiment) -> tuple[str, ...]:
    """The names of the scores of `k_2015`."""
    names = ("log_likelihood",) if _has_entropy(e) else ()
    return ("K", "K_standard_error", "L_null", "K_gain", *names)


def bound(e: Evidence, draws: int = 512) -> list[Score]:
    """Lower bound on the log likelihood of held-out categories, term by term; K and L_null of the 2015 paper.

    All in bits per example, over the whole held-out split, with the standard error of the bound (and so of K).
    """
    method, x, source = e.experiment.method, e.heldout["x"], e.experiment.source
    terms = densities.discrete_bound(e.experiment, e.variables, e.heldout, e.seed, draws)
    per_example = jax.tree.map(lambda term: term / np.log(2), terms)
    _, error = mean_and_error(per_example.total)
    prior, steps, decoder = (term.mean() for term in per_example)
    true_log_p = source.log_likelihood / np.log(2) if hasattr(source, "log_likelihood") else None

    frequency = np.bincount(e.train["x"].ravel(), minlength=method.space.values) / e.train["x"].size
    log_frequency = np.log2(frequency, where=frequency > 0, out=np.full_like(frequency, -np.inf))
    l_null = log_frequency[x].reshape(len(x), -1).sum(axis=1).mean()
    protocol = e.data_protocol | {"unit": "bits per example", "draws": draws, "reference": len(x), "split": "heldout"}
    scores = [
        ("bound", -(prior + steps + decoder), true_log_p, "the true log likelihood"),
        ("bound_standard_error", error, 0.0, "of the bound, over held-out examples"),
        ("bound_prior", prior, 0.0, "KL(q(x_T | x_0) | p(x_T)), a term of the bound"),
        ("bound_steps", steps, None, "the sum of the KLs of steps 2 .. T, a term of the bound"),
        ("bound_decoder", decoder, 0.0, "-log p(x_0 | x_1), a term of the bound"),
    ]
    if not method.process.absorbing:
        edge = discrete.edge_entropy(method.process, x[0].size) / np.log(2)
        k_at_best = None if true_log_p is None else true_log_p - edge
        scores.append(("K", -steps - edge, k_at_best, "the true log likelihood less what K's own edge costs it"))
        scores.append(
            ("K_gain", -steps - edge - l_null, None if true_log_p is None else k_at_best - l_null, "K - L_null")
        )
    scores.append(("L_null", l_null, None, "independent entries with the frequencies of the training data"))
    return [Score(name, float(value), reference, meaning, protocol) for name, value, reference, meaning in scores]


def vlb(e: Evidence, draws: int = 64) -> list[Score]:
    """The variational bound of a diffusion model, term by term, on held-out examples.

    Bits/dim for images, which are discrete; for points bits of a density, in standardised units. For a discrete chain
    the bound is that of all its steps, with the model's reverse variance, whatever the sampler's. Only clipping is the
    sampler's: if it clips x0 to [-1, 1], so does the bound, as in the code released with Ho et al. 2020 and Nichol &
    Dhariwal 2021. Without clipping, the step from t = 1 would dominate the bound under cosine betas.
    """
    data = e.some_heldout()
    clip = bool(e.experiment.method.process.steps) and e.experiment.sampler.clip
    terms = densities.bound(e.experiment, e.variables, data, e.seed, draws, clip=clip)
    (unit, per_nat), protocol = _bits(e, data)
    total, error = mean_and_error(terms.total * per_nat)
    protocol |= {"draws": draws} | ({"x0": "held to [-1, 1]"} if clip else {})
    return [
        Score("vlb", total, _entropy(e, data["x"]), f"{unit}, at most; beside it the true entropy, if known", protocol),
        Score("vlb_standard_error", error, 0.0, f"over {len(data['x'])} held-out examples", protocol),
        *(
            Score(f"vlb_{name}", float(getattr(terms, name).mean() * per_nat), reference, meaning, protocol)
            for name, reference, meaning in (
                ("prior", 0.0, "L_T, a term of the bound"),
                ("steps", None, "the sum or the integral of its divergences"),
                ("decoder", None, "L_0, -log p(x0 | what is left of it)"),
            )
        ),
    ]


def likelihood_ode(e: Evidence, probes: int = 1) -> list[Score]:
    """Negative log likelihood of held-out examples by the probability-flow ODE, in the units of `vlb`.

    Images are dequantised uniformly, which makes the value an upper bound in expectation.
    """
    data = e.some_heldout()
    log_p, nfe = densities.log_prob(e.experiment, e.variables, data, e.seed, probes)
    (unit, per_nat), protocol = _bits(e, data)
    space = e.experiment.method.space
    shift = 0.0 if space.kind == "images" else space.log_det  # densities of points are in standardised units
    value, error = mean_and_error(-(log_p - shift) * per_nat)
    start = densities.t_min(e.experiment.method.process_of(e.variables))
    protocol |= {"t_min": start, "tolerance": densities.TOLERANCE, "dequantisation": "uniform, once"}
    if np.prod(space.shape) > densities.EXACT:
        protocol |= {"probes": probes}
    truth = _entropy(e, data["x"])
    return [
        Score("likelihood_ode", value, truth, f"{unit}; beside it the true entropy, if known", protocol),
        Score("likelihood_ode_standard_error", error, 0.0, f"over {len(data['x'])} held-out examples", protocol),
        Score("likelihood_ode_nfe", float(nfe.mean()), None, "uses of the denoiser for each example", protocol),
    ]


def denoising_error(e: Evidence) -> list[Score]:
    """E |D(x_t) - x0|^2 / dims on held-out examples, in squared model units, at fixed noise levels sigma / alpha."""
    data = e.some_heldout()
    unit = "squared model units a dimension"
    protocol = _data_protocol(e) | {"unit": unit, "reference": len(data["x"]), "split": "heldout"}
    scores = []
    for level, errors in densities.denoising_error(e.experiment, e.variables, data, e.seed).items():
        mean, error = mean_and_error(errors)
        meaning = f"noise {level:g} times the signal; +- {error:.2g}"
        scores.append(Score(f"denoising_error_{level:g}", mean, None, meaning, protocol))
    return scores


def k_2015(e: Evidence, draws: int = 64, repeats: int = 4) -> list[Score]:
    """K and L_null of Sohl-Dickstein et al. 2015, in bits per point or pixel, units of variance 1; higher is better.

    Over the whole held-out split. L_null is that of an isotropic Gaussian fitted to the training data.
    """
    method, data, source = e.experiment.method, e.heldout, e.experiment.source
    x, train = (np.asarray(method.space.to_model(split["x"]), float) for split in (data, e.train))
    dims = x[0].size
    (_, per_nat), protocol = _bits(e, data)
    terms = densities.bound(e.experiment, e.variables, data, e.seed, draws, repeats)
    process = method.process_of(e.variables)
    k, error = mean_and_error(-(terms.steps + float(edge_entropy(process, dims))) * per_nat)
    centre, variance = train.mean(axis=0), train.var(axis=0).mean()
    distance = np.sum((x - centre).reshape(len(x), -1) ** 2, axis=1)
    l_null = float(np.mean(-0.5 * (distance / variance + dims * np.log(2 * np.pi * variance))) * per_nat)
    truth = _entropy(e, data["x"])
    alpha, sigma = (float(f(jax.numpy.asarray(1 / process.steps))) for f in (process.alpha, process.sigma))
    edge = -0.5 * dims * float(np.log(2 * np.pi * np.e * sigma**2)) * per_nat
    edge_meaning = "-H(x_1 | x_0), which is above -H(x_1)"
    if truth is not None:  # the exact H(x_1), of x_1 = sqrt(1 - beta) x0 + noise
        edge_meaning = "-H(x_1)"
        scale = np.asarray(method.space.scale)  # of all axes, or of each
        noise = np.random.RandomState(e.seed).standard_normal(x.shape) * sigma / alpha * scale
        edge = -_entropy(e, data["x"] + noise, source.blurred(sigma / alpha * scale)) - dims * float(np.log2(alpha))
        if hasattr(source, "sigma"):  # of toy2d's noise, which the paper does not state
            protocol |= {"noise": source.sigma / method.space.scale}
    protocol |= {"draws": draws, "trajectories": repeats, "reference": len(x)}
    scores = [
        ("K", k, edge, f"{edge_meaning}: what no model's K exceeds, the first step being the forward kernel"),
        ("K_standard_error", error, 0.0, "of K, over held-out points"),
        ("L_null", l_null, None, "an isotropic Gaussian fitted to the training data"),
        ("K_gain", k - l_null, edge - l_null, "K - L_null"),
    ]
    if truth is not None:
        scores.append(("log_likelihood", -truth, -truth, "the true one: minus the entropy of the data"))
    return [Score(name, value, reference, meaning, protocol) for name, value, reference, meaning in scores]


def parzen(e: Evidence) -> list[Score]:
    """Log likelihood of held-out images by Parzen windows around the samples, in bits, grey values in [0, 1].

    Every fifth held-out image is used to choose the window's width, the others for the likelihood. Higher is better.
    """
    samples, heldout = _greys(e.drawn.x), _greys(e.heldout["x"])
    is_validation = np.arange(len(heldout)) % VALIDATION == 0
    validation, test = heldout[is_validation], heldout[~is_validation]

    def measure(images: np.ndarray) -> m.Parzen:
        return m.parzen(images, validation, test, progress=e.progress("parzen"))

    result, bits_per_nat = measure(samples), 1 / float(np.log(2))
    at_best, meaning, train = None, "unknown", e.train["x"]
    if len(train) >= len(samples):  # a fair reference has as many images: fewer give a lower likelihood
        at_best = measure(_greys(train[evenly(len(samples), len(train))])).log_likelihood * bits_per_nat
        meaning = "as many training images; a sampler without detail may get more"
    protocol = e.drawn_protocol | {
        "unit": "bits an image, greys from 0 to 1", "quantisation": "uint8", "split": "heldout",
        "reference": len(test), "validation": len(validation), "widths": len(m.SIGMAS),
    }  # fmt: skip
    warning = "the width is the least or the greatest that is tried" if result.at_an_end else ""
    return [
        Score("parzen", result.log_likelihood * bits_per_nat, at_best, meaning, protocol, warning),
        Score("parzen_standard_error", result.standard_error * bits_per_nat, 0.0, "over the held-out images", protocol),
        Score("parzen_sigma", result.sigma, None, "the window's width, chosen on the validation images", protocol),
    ]


def _greys(images: np.ndarray) -> np.ndarray:
    """uint8 images [n, ...] as float64 rows [n, d] of greys in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float64) / 255


def _bits(e: Evidence, data: dict[str, np.ndarray]) -> tuple[tuple[str, float], dict[str, Any]]:
    """The unit of a likelihood, the factor that converts nats per example to it, and the protocol."""
    bits_per_nat = 1 / float(np.log(2))
    if e.experiment.method.space.kind == "images":
        unit, per_nat = "bits/dim", bits_per_nat / data["x"][0].size
    elif e.experiment.method.space.pictured:
        unit, per_nat = "bits/pixel in standardised units", bits_per_nat / data["x"][0].size
    else:
        unit, per_nat = "bits a point in standardised units", bits_per_nat
    return (unit, per_nat), _data_protocol(e) | {"unit": unit, "reference": len(data["x"]), "split": "heldout"}


def _data_protocol(e: Evidence) -> dict[str, Any]:
    """The data part of the protocol, which says whether the network is given the labels of the examples."""
    return e.data_protocol | ({"labels": "given"} if e.experiment.method.conditional else {})


def _has_entropy(e: Experiment) -> bool:
    """Whether the entropy that a perfect model's likelihoods have is known.

    A conditional model's likelihoods are of points given their labels, and a source's density is of points alone.
    """
    return hasattr(e.source, "log_density") and not e.method.conditional


def _entropy(e: Evidence, x: np.ndarray, source: Any = None) -> float | None:
    """-E log2 p over stored points x, for a density in standardised units; None if it is not known.

    `source` has the density; by default it is the data set.
    """
    source, space = source or e.experiment.source, e.experiment.method.space
    if not _has_entropy(e.experiment):
        return None
    return float(-(source.log_density(x).mean() - space.log_det) / np.log(2))
