"""Bounds, likelihoods and denoising errors of examples under a trained model, in compiled batches over all devices.

Each program is compiled once per experiment, however often a training run evaluates it. The noise of example i depends
only on the seed and on i, not on the batch or the devices.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from diffjax.diffusion import Process, discrete, fold_in, grid, guidance, normal, split
from diffjax.diffusion.bound import Bound, chain_bound, continuous_bound
from diffjax.diffusion.likelihood import dequantise, ode_likelihood
from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.keys import Role, key_of
from diffjax.methods.diffusion import Diffusion
from diffjax.optim.state import Tree

TOLERANCE = 1e-5  # of the ODE solver, relative and absolute
T_MIN = 1e-5  # start of continuous time for processes without noise at t = 0 (Song et al. 2021)
LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # sigma / alpha of the denoising errors
EXACT = 8  # dimensions up to which divergences are computed exactly


def bound(
    experiment: Experiment,
    variables: dict[str, Tree],
    data: dict[str, np.ndarray],
    seed: int = 0,
    draws: int = 64,
    repeats: int = 1,
    clip: bool = False,
) -> Bound:
    """The terms of the model's variational bound on -log p of stored examples, in nats, as float64 arrays [n].

    For images p is the probability of their 256 values, for points the density in model units. In a chain of T steps,
    `draws` sampled steps estimate the sum (all T if there are no more); in continuous time, `draws` sampled times
    estimate the integral. `repeats` independent estimates are averaged. With `clip`, x0 predictions are clipped to
    [-1, 1], as in samplers with `clip`.
    """
    method = _diffusion(experiment)
    start = t_min(method.process_of(variables))

    def bound_terms(variables, x, label, keys):
        process, denoise = method.process_of(variables), method.denoiser(variables)
        denoise = (guidance.clip_x0(denoise) if clip else denoise).with_label(label)
        x0 = method.space.to_model(x)

        def estimate(i):
            key = fold_in(keys, i)
            if process.steps:
                times = grid.linear(process, process.steps)
                return chain_bound(process, denoise, x0, key, method.decoder, times, draws)
            return continuous_bound(process, denoise, x0, key, method.decoder, draws, start)

        terms = jax.tree.map(lambda term: jnp.mean(term, axis=0), lax.map(estimate, jnp.arange(repeats)))
        return terms._replace(each=terms.each.T)

    terms = _in_batches(experiment, ("bound", draws, repeats, clip), bound_terms, variables, data, seed)
    return terms._replace(each=terms.each.T)


def log_prob(
    experiment: Experiment,
    variables: dict[str, Tree],
    data: dict[str, np.ndarray],
    seed: int = 0,
    probes: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """log p of stored examples by the probability-flow ODE, in nats and stored units [n], and the NFE of each [n].

    For images it is the density of one uniform dequantisation, whose mean is a lower bound on log P. The divergence is
    exact up to 8 dimensions, and Hutchinson's estimate with `probes` probes above.
    """
    method = _diffusion(experiment)
    exact = np.prod(method.space.shape) <= EXACT
    start = t_min(method.process_of(variables))

    def ode_log_prob(variables, x, label, keys):
        key_u, key_v = split(keys)
        if method.space.kind == "images":
            x0 = dequantise(x, key_u, method.space.shift, method.space.scale)
        else:
            x0 = method.space.to_model(x)
        likelihood = ode_likelihood(
            method.process_of(variables), method.denoiser(variables), x0, key_v, label,
            probes=0 if exact else probes, t_min=start, rtol=TOLERANCE, atol=TOLERANCE,
        )  # fmt: skip
        return likelihood.log_prob + method.space.log_det, likelihood.nfe

    return _in_batches(experiment, ("log_prob", probes), ode_log_prob, variables, data, seed)


def denoising_error(
    experiment: Experiment,
    variables: dict[str, Tree],
    data: dict[str, np.ndarray],
    seed: int = 0,
    levels: tuple[float, ...] = LEVELS,
) -> dict[float, np.ndarray]:
    """|D(x_t) - x0|^2 / dims of stored examples, in model units: {level sigma / alpha: float64 array [n]}.

    Levels that the process does not reach within 10 % are left out, since a chain has only its own steps. Raises
    UserError if it reaches none.
    """
    method = _diffusion(experiment)
    process = method.process_of(variables)
    times = {level: process.time_of(-2 * jnp.log(jnp.asarray(level))) for level in levels}
    reached = {level: float(jnp.exp(-process.log_snr(t) / 2)) for level, t in times.items() if 0 < t <= 1}
    levels_reached = [level for level, ratio in reached.items() if abs(ratio / level - 1) < 0.1]
    if not levels_reached:
        raise UserError(f"denoising_error: the process has none of the noise levels {levels}")

    def errors(variables, x, label, keys):
        process, denoise = method.process_of(variables), method.denoiser(variables).with_label(label)
        x0 = method.space.to_model(x)

        def error_at(i, level):
            t = jnp.full(len(x0), process.time_of(-2 * jnp.log(jnp.asarray(level, x0.dtype))))
            error = denoise(process.corrupt(x0, normal(fold_in(keys, i), x0), t), t).x0 - x0
            return jnp.mean(error.reshape(len(x0), -1) ** 2, axis=1)

        return {level: error_at(i, level) for i, level in enumerate(levels_reached)}

    return _in_batches(experiment, ("denoising_error", tuple(levels_reached)), errors, variables, data, seed)


def discrete_bound(
    experiment: Experiment, variables: dict[str, Tree], data: dict[str, np.ndarray], seed: int = 0, draws: int = 512
) -> discrete.Bound:
    """The terms of a discrete model's bound on -log P of stored categories, in nats, as float64 arrays [n]."""

    def bound_terms(variables, x, label, keys):
        return experiment.method.bound(variables, x, keys, draws)

    return _in_batches(experiment, ("discrete_bound", draws), bound_terms, variables, data, seed)


def t_min(process: Process) -> float:
    """The start of the process's continuous time: 0 if it has noise there, otherwise T_MIN."""
    return 0.0 if float(process.sigma(jnp.zeros(()))) > 0 else T_MIN


def _diffusion(experiment: Experiment) -> Diffusion:
    if not isinstance(experiment.method, Diffusion):
        raise UserError(f"method.name: {experiment.config.method.name!r} has no likelihood; must be a diffusion model")
    return experiment.method


def _in_batches(
    experiment: Experiment,
    name: tuple,
    function: Callable,
    variables: dict[str, Tree],
    data: dict[str, np.ndarray],
    seed: int,
) -> Any:
    """`function(variables, x, label, keys)` of all examples, `eval.batch_size` at a time, the last batch padded.

    `name` identifies the compiled program within the experiment; it must contain everything the function closes over.
    """
    layout, method = experiment.layout, experiment.method
    conds = method.cond_for(data["caption"]) if method.reads_captions else method.cond_of(data)
    size = layout.whole(experiment.config.eval.batch_size)
    key = key_of(seed, Role.MEASURE)

    def program(variables, x, label, key, index):
        return function(variables, x, label, jax.vmap(partial(jax.random.fold_in, key))(index))

    compiled = experiment.once(name, lambda: jax.jit(program, out_shardings=layout.replicated))
    parts, count = [], len(data["x"])
    for first in range(0, count, size):
        index = np.arange(first, first + size)
        rows = np.minimum(index, count - 1)
        label = None if conds is None else layout.shard(conds[rows])
        out = compiled(variables, layout.shard(data["x"][rows]), label, key, layout.shard(index))
        parts.append(jax.tree.map(lambda leaf, real=count - first: np.asarray(leaf)[:real], out))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves).astype(float), *parts)
