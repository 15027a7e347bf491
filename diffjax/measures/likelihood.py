"""How likely a model finds held-out examples: bounds, the probability-flow ODE, K of the 2015 paper."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from diffjax import densities
from diffjax import metrics as m
from diffjax.diffusion import discrete
from diffjax.diffusion.bound import edge_entropy, mean_and_error
from diffjax.measures.contract import Score
from diffjax.measures.evidence import Evidence
from diffjax.rows import evenly
from diffjax.run import Experiment

OF_VLB = ("vlb", "vlb_standard_error", "vlb_prior", "vlb_steps", "vlb_decoder")
OF_PARZEN = ("parzen", "parzen_standard_error", "parzen_sigma")
OF_ODE = ("likelihood_ode", "likelihood_ode_standard_error", "likelihood_ode_nfe")
OF_ERRORS = tuple(f"denoising_error_{level:g}" for level in densities.LEVELS)  # of a chain, those that it has
VALIDATION = 5  # every so many held-out images choose the width of a Parzen window


def of_bound(e: Experiment) -> tuple[str, ...]:
    """What the scores of `bound` are called."""
    terms = ("bound", "bound_standard_error", "bound_prior", "bound_steps", "bound_decoder")
    return (*terms, *(() if e.method.process.absorbing else ("K", "K_gain")), "L_null")


def of_k(e: Experiment) -> tuple[str, ...]:
    """What the scores of `k_2015` are called."""
    known = ("log_likelihood",) if hasattr(e.source, "log_density") else ()
    return ("K", "K_standard_error", "L_null", "K_gain", *known)


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
    protocol = e.data_protocol | {"unit": "bits per example", "draws": draws, "reference": len(x), "split": "heldout"}
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

    Bits/dim for images, which are discrete; for points bits of a density, in standardised units. A chain's is of the
    chain that is drawn from: where the sampler holds x0 to [-1, 1], so does the bound, as in the released code of Ho et
    al. 2020 and Nichol & Dhariwal 2021. With cosine betas the step from t = 1 would otherwise be most of the bound.
    """
    data = e.some_heldout()
    clip = bool(e.experiment.method.process.steps) and e.experiment.sampler.clip
    terms = densities.bound(e.experiment, e.variables, data, e.seed, draws, clip=clip)
    (unit, per), protocol = _bits(e, data)
    total, error = mean_and_error(terms.total * per)
    protocol |= {"draws": draws} | ({"x0": "held to [-1, 1]"} if clip else {})
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
    data = e.some_heldout()
    log_p, nfe = densities.log_prob(e.experiment, e.variables, data, e.seed, probes)
    (unit, per), protocol = _bits(e, data)
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


def denoising_error(e: Evidence) -> list[Score]:
    """E |D(x_t) - x0|^2 / dims on held-out examples, in squared model units, at fixed noise levels sigma / alpha."""
    data = e.some_heldout()
    protocol = e.data_protocol | {
        "unit": "squared model units a dimension",
        "reference": len(data["x"]),
        "split": "heldout",
    }
    scores = []
    for level, errors in densities.denoising_error(e.experiment, e.variables, data, e.seed).items():
        mean, error = mean_and_error(errors)
        means = f"noise {level:g} times the signal; +- {error:.2g}"
        scores.append(Score(f"denoising_error_{level:g}", mean, None, means, protocol))
    return scores


def k_2015(e: Evidence, draws: int = 64, repeats: int = 4) -> list[Score]:
    """K and L_null of Sohl-Dickstein et al. 2015, in bits a point or pixel, units of variance 1; higher is better.

    Over the whole held-out split. L_null is an isotropic Gaussian's, fitted to the training data.
    """
    method, data, source = e.experiment.method, e.heldout, e.experiment.source
    x, train = (np.asarray(method.space.to_model(split["x"]), float) for split in (data, e.train))
    dims = x[0].size
    (_, per), protocol = _bits(e, data)
    terms = densities.bound(e.experiment, e.variables, data, e.seed, draws, repeats)
    process = method.process_of(e.variables)
    k, error = mean_and_error(-(terms.steps + float(edge_entropy(process, dims))) * per)
    centre, variance = train.mean(axis=0), train.var(axis=0).mean()
    distance = np.sum((x - centre).reshape(len(x), -1) ** 2, axis=1)
    null = float(np.mean(-0.5 * (distance / variance + dims * np.log(2 * np.pi * variance))) * per)
    truth = _entropy(e, data["x"])
    alpha, sigma = (float(f(jax.numpy.asarray(1 / process.steps))) for f in (process.alpha, process.sigma))
    edge = -0.5 * dims * float(np.log(2 * np.pi * np.e * sigma**2)) * per
    means = "-H(x_1 | x_0), which is above -H(x_1)"
    if truth is not None:  # what the first step leaves of the data: sqrt(1 - beta) x0 and more noise
        means = "-H(x_1)"
        blurred = replace(source, noise=float(np.hypot(source.sigma, sigma / alpha * method.space.scale)))
        noise = np.random.RandomState(e.seed).standard_normal(x.shape) * sigma / alpha * method.space.scale
        edge = -_entropy(e, data["x"] + noise, blurred) - dims * float(np.log2(alpha))
        protocol |= {"noise": source.sigma / method.space.scale}
    protocol |= {"draws": draws, "trajectories": repeats, "reference": len(x)}
    scores = [
        ("K", k, edge, f"{means}: what no model's K exceeds, the first step being the forward kernel"),
        ("K_standard_error", error, 0.0, "of K, over held-out points"),
        ("L_null", null, None, "an isotropic Gaussian fitted to the training data"),
        ("K_gain", k - null, edge - null, "K - L_null"),
    ]
    if truth is not None:
        scores.append(("log_likelihood", -truth, -truth, "the true one: minus the entropy of the data"))
    return [Score(name, value, reference, meaning, protocol) for name, value, reference, meaning in scores]


def parzen(e: Evidence) -> list[Score]:
    """Log likelihood of held-out images by a Parzen window around the samples, in bits, greys from 0 to 1.

    The window's width is the best on every fifth held-out image, the likelihood that of the others. Higher is better.
    """
    samples, heldout, train = (
        np.asarray(x.reshape(len(x), -1), np.float64) / 255 for x in (e.drawn.x, e.heldout["x"], e.train["x"])
    )
    chosen = np.arange(len(heldout)) % VALIDATION == 0
    validation, test = heldout[chosen], heldout[~chosen]

    def measured(images: np.ndarray) -> m.Parzen:
        return m.parzen(images, validation, test, progress=e.progress("parzen"))

    found, bit = measured(samples), 1 / float(np.log(2))
    best, means = None, "unknown"
    if len(train) >= len(samples):  # the fewer the samples, the lower it is
        best = measured(train[evenly(len(samples), len(train))]).log_likelihood * bit
        means = "as many training images; a sampler without detail may get more"
    protocol = e.drawn_protocol | {
        "unit": "bits an image, greys from 0 to 1", "quantisation": "uint8", "split": "heldout",
        "reference": len(test), "validation": len(validation), "widths": len(m.SIGMAS),
    }  # fmt: skip
    warning = "the width is the least or the greatest that is tried" if found.at_an_end else ""
    return [
        Score("parzen", found.log_likelihood * bit, best, means, protocol, warning),
        Score("parzen_standard_error", found.standard_error * bit, 0.0, "over the held-out images", protocol),
        Score("parzen_sigma", found.sigma, None, "the window's width, chosen on the validation images", protocol),
    ]


def _bits(e: Evidence, data: dict[str, np.ndarray]) -> tuple[tuple[str, float], dict[str, Any]]:
    """The unit in which a likelihood is said, what nats of one example are multiplied by for it, and the protocol."""
    bit = 1 / float(np.log(2))
    if e.experiment.method.space.kind == "images":
        unit, per = "bits/dim", bit / data["x"][0].size
    elif e.experiment.method.space.pictured:
        unit, per = "bits/pixel in standardised units", bit / data["x"][0].size
    else:
        unit, per = "bits a point in standardised units", bit
    known = {"unit": unit, "reference": len(data["x"]), "split": "heldout"}
    return (unit, per), e.data_protocol | known | ({"labels": "given"} if e.experiment.method.conditional else {})


def _entropy(e: Evidence, x: np.ndarray, source: Any = None) -> float | None:
    """-E log2 p over stored points x, of a density in standardised units, where it is known."""
    source, space = source or e.experiment.source, e.experiment.method.space
    if not hasattr(source, "log_density"):
        return None
    return float(-(source.log_density(x).mean() - space.log_det) / np.log(2))
