"""What is measured in the space of features: densities, scores, plausibility, and what lies between two clouds."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.drawing.films import spread_at
from diffjax.errors import UserError
from diffjax.evaluation.densities import log_prob

CELLS, ARROWS = 45, 13  # a side, of the densities' grid and of the scores'
HALF = 3.8  # of the view, in standard deviations
NOISE = 0.1  # sigma / alpha at which scores are compared, in standard deviations; with less, errors are divided by less
LATENTS, PAIRS, WEIGHTS = 400, 60, 81  # drawn; interpolated; places on the way
POINTS = 81  # on the straight line
BETWEEN = (60.0, 300.0)  # cm of wing span: ten deviations from people, and 4.5 from winged beings
WINGED = 200.0  # cm of wing span from which on one is winged


class Field(NamedTuple):
    """A density and a score over the view: [CELLS, CELLS] nats in stored units, [ARROWS, ARROWS, 2] in model units."""

    log_p: np.ndarray
    score: np.ndarray


class Way(NamedTuple):
    """Between the two clouds."""

    log_p: np.ndarray  # [POINTS] on the straight line, as learned
    exact: np.ndarray  # [POINTS]
    x: np.ndarray  # [WEIGHTS, pairs, 3] samples of interpolated latents

    @property
    def middle(self) -> int:
        """The pair that becomes winged nearest to half way."""
        return int(np.abs(np.mean(is_winged(self.x), axis=0) - 0.5).argmin())


def is_winged(x: np.ndarray) -> np.ndarray:
    """Which of x [..., 3] are nearer to winged beings than to people."""
    return x[..., 2] > WINGED


def is_neither(x: np.ndarray) -> np.ndarray:
    """Which of x [..., 3] are no people and no winged beings, by their wing span."""
    return (x[..., 2] > BETWEEN[0]) & (x[..., 2] < BETWEEN[1])


def places(space, count: int) -> np.ndarray:
    """Stored units [count, count, 2], over the view."""
    axis = np.linspace(-HALF, HALF, count)
    return np.asarray(space.from_model(np.stack(np.meshgrid(axis, axis), -1).astype(np.float32)), np.float64)


def learned_log_p(run, x: np.ndarray) -> np.ndarray:
    """log p by the model's ODE, nats and stored units, of x [..., d]."""
    flat = x.reshape(-1, x.shape[-1]).astype(np.float32)
    found, _ = log_prob(run.experiment, run.ema, {"x": flat, "label": np.zeros(len(flat), np.int32)})
    return found.reshape(x.shape[:-1])


def arrows(run, y: np.ndarray, t: float) -> np.ndarray:
    """sigma^2 score of x_t / spread at places y [..., d] of it: how far to the mean of what may be under the noise."""
    t, spread = jnp.float32(t), spread_at(run, t)
    x_t = jnp.asarray(spread * y.reshape(-1, y.shape[-1]), jnp.float32)
    move = run.process.alpha(t) * run.denoiser(x_t, t).x0 - x_t
    return np.asarray(move / spread).reshape(y.shape)


def fields(run) -> tuple[Field, Field]:
    """The true one, and the learned one. The scores are those of x_t / alpha where the noise is NOISE."""
    source, space, process = run.experiment.source, run.experiment.method.space, run.process
    grid, y = places(space, CELLS), np.asarray(space.to_model(places(space, ARROWS).astype(np.float32)), np.float64)
    t = process.time_of(jnp.float32(-2 * np.log(NOISE)))
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    x_t = alpha * y.reshape(-1, 2)
    exact = source.model_mixture.noised(alpha, sigma).score(x_t)
    ours = -process.eps(run.denoiser(jnp.asarray(x_t, jnp.float32), t).x0, jnp.asarray(x_t, jnp.float32), t) / sigma
    true = Field(source.log_density(grid.reshape(-1, 2)).reshape(CELLS, CELLS), exact.reshape(y.shape))
    return true, Field(learned_log_p(run, grid), np.asarray(ours).reshape(y.shape))


def plausibility(source, log_p: np.ndarray) -> np.ndarray:
    """The share of people who are less likely than this: 1 at the mode, 0 for what is rarer than all of them."""
    people = np.sort(source.log_density(source.split("heldout").arrays()["x"]))
    return np.searchsorted(people, log_p) / len(people)


def flow(run):
    """The sampler as a map from latents [n, d], standard normal, to samples in stored units."""
    spec, process = run.experiment.sampler, run.process
    grid = spec.grid(process, spec.steps)

    @jax.jit
    def to_x0(variables, z):
        denoise = run.experiment.method.denoiser(variables, spec)
        return run.experiment.method.space.from_model(
            spec(process, denoise, process.sigma(grid[0]) * z, grid, jax.random.key(0)).x0
        )

    return lambda z: np.asarray(to_x0(run.ema, jnp.asarray(z, jnp.float32)))


def way(run, seed: int) -> Way:
    """The straight line from people to winged beings; and latents from those of the one to those of the other.

    cos(w pi / 2) z_a + sin(w pi / 2) z_b of two independent standard normals is standard normal: no latent is odd.
    Raises UserError if no sample at all is winged, or every one is.
    """
    source = run.experiment.source
    mixture, share = source.mixture, np.linspace(0, 1, POINTS)[:, None]
    high = is_winged(mixture.means)
    people, winged = (np.average(mixture.means[of], axis=0, weights=mixture.weights[of]) for of in (~high, high))
    line = (1 - share) * people + share * winged

    to_x0, generator = flow(run), np.random.RandomState(seed)
    z = generator.standard_normal((LATENTS, 3))
    high = is_winged(to_x0(z))
    pairs = min(PAIRS, high.sum(), (~high).sum())
    if not pairs:
        raise UserError(
            f"train.steps: the model draws {'no people' if high.all() else 'no winged beings'}; train longer"
        )
    a, b, weight = z[~high][:pairs], z[high][:pairs], np.linspace(0, np.pi / 2, WEIGHTS)[:, None, None]
    mixed = np.cos(weight) * a + np.sin(weight) * b
    x = to_x0(mixed.reshape(-1, 3)).reshape(mixed.shape)
    return Way(learned_log_p(run, line), source.log_density(line), x)
