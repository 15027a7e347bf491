"""The method around discrete diffusion: what it trains on, what its network is shown, and the way through the house."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffjax import models
from diffjax.data.space import Space
from diffjax.diffusion import discrete
from diffjax.errors import UserError
from diffjax.evaluation.periodic import chosen
from diffjax.experiment import Experiment
from diffjax.methods import DiscreteDiffusion
from diffjax.optim.ema import HalfLife
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests import tiny
from tests.commands import finished

SMALL = partial(models.MLP, width=16, depth=1)
BITS = Space("categories", (6,), shift=0.0, scale=1.0, values=2)
LETTERS = Space("categories", (6,), shift=0.0, scale=1.0, values=4)


def method(space=BITS, **fields):
    return DiscreteDiffusion(
        space=space,
        precision=Precision(),
        optimizers={"denoiser": optax.adam(1e-2)},
        ema=HalfLife(),
        batch_size=32,
        accumulate=1,
        **{"network": SMALL, "kernel": partial(discrete.binomial, steps=10)} | fields,
    )


def batch(space, size=32):
    x = jnp.tile(jnp.arange(6) % space.values, (1, size, 1)).astype(jnp.uint8)
    return {"x": x, "label": jnp.zeros((1, size), jnp.int32), "position": jnp.arange(size, dtype=jnp.int32)[None]}


def trained(made, steps):
    state = made.init(jax.random.key(0), batch(made.space))
    step, history = jax.jit(partial(made.step, axis=Axis())), []
    for _ in range(steps):
        state, metrics = step(state, batch(made.space), jax.random.key(1))
        history.append(jax.device_get(metrics))
    return state, history


KERNELS = {
    "binomial": {"kernel": partial(discrete.binomial, steps=10)},
    "uniform": {"kernel": partial(discrete.uniform, steps=10), "space": LETTERS},
    "absorbing": {"kernel": partial(discrete.absorbing, steps=10), "space": LETTERS},
}


@pytest.mark.parametrize(
    "options",
    [pytest.param(KERNELS["uniform"], marks=pytest.mark.slow), KERNELS["absorbing"]],
    ids=["uniform", "absorbing"],
)
def test_the_only_sequence_there_is_is_learned_and_drawn(options):
    made = method(**options)
    state, history = trained(made, 150)
    assert history[-1]["loss"] < 0.1 * history[0]["loss"]
    drawn = made.sample(
        state.params, discrete.DiscreteAncestral(steps=10), jax.random.split(jax.random.key(2), 20), None
    )
    assert jnp.all(drawn.nfe == 10) and (drawn.x0 == batch(made.space)["x"][0, 0]).mean() > 0.97
    terms = made.bound(state.params, batch(made.space)["x"][0], jax.random.split(jax.random.key(3), 32), draws=4)
    assert 0 <= terms.total.mean() < 1  # nats; the truth is 0


@pytest.mark.parametrize("options", KERNELS.values(), ids=KERNELS)
def test_a_fresh_network_says_that_all_values_are_equally_likely(options):
    made = method(**options)
    variables = made.init(jax.random.key(0), batch(made.space)).params
    x_t = jnp.tile(jnp.arange(6) % made.process.states, (3, 1))
    np.testing.assert_allclose(made.denoiser(variables)(x_t, jnp.full(3, 0.3)), 1 / made.space.values, rtol=1e-6)


def test_the_loss_is_the_bound_and_the_weighted_cross_entropy_and_both_of_a_fresh_network_are_known():
    _, (metrics,) = trained(method(cross_entropy=0.5), 1)
    np.testing.assert_allclose(metrics["cross_entropy"], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], metrics["bound"] + 0.5 * metrics["cross_entropy"], rtol=1e-6)


def test_the_losss_bound_is_in_the_mean_the_one_that_is_measured():
    """Each example's random step, times T, over its entries: an unbiased estimate of the whole sum."""
    made = method(kernel=partial(discrete.binomial, steps=4))
    state, many = made.init(jax.random.key(0), batch(BITS)), batch(BITS, 1000)
    step = jax.jit(lambda key: made.step(state, many, key, Axis())[1]["bound"])
    found = np.array([step(key) for key in jax.random.split(jax.random.key(4), 20)])
    measured = made.bound(state.params, many["x"][0], jax.random.split(jax.random.key(5), 1000), draws=12).total / 6
    error = np.hypot(found.std() / 20**0.5, measured.std() / 1000**0.5)
    assert error < 0.02 * found.mean()
    np.testing.assert_allclose(found.mean(), measured.mean(), atol=4 * error)


def test_two_values_are_shown_as_signs_and_more_as_channels():
    letters = method(LETTERS, kernel=partial(discrete.absorbing, steps=10))
    np.testing.assert_array_equal(method().network_input(jnp.array([[0, 1]])), [[-1.0, 1.0]])
    np.testing.assert_array_equal(letters.network_input(jnp.array([[4, 1]])), [[0, 0, 0, 0, 1, 0, 1, 0, 0, 0]])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"space": Space("points", (2,))}, "method.name: 'discrete_diffusion' needs categories"),
        ({"kernel": partial(discrete.binomial, steps=0)}, "method.kernel.steps: 0"),
        ({"space": LETTERS}, "method.kernel.name: 'binomial' needs data with 2 values, and these have 4"),
        ({"cross_entropy": -1.0}, "method.cross_entropy: -1.0"),
    ],
)
def test_what_cannot_be_is_said(fields, message):
    with pytest.raises(UserError, match=message):
        method(**fields)


def test_a_network_that_cannot_take_sequences_or_answer_for_enough_values_is_said():
    with pytest.raises(UserError, match="method.network"):
        made = method(network=models.UNet)
        made.init(jax.random.key(0), batch(BITS))
    with pytest.raises(UserError, match="method.network: OneNumber has one output per entry"):
        made = method(LETTERS, network=OneNumber, kernel=discrete.uniform)
        made.init(jax.random.key(0), batch(LETTERS))


def OneNumber(shape, num_classes, precision, axis):
    raise AssertionError("never made")


def test_the_front_door_trains_measures_and_draws_heartbeats(tmp_path):
    run = tmp_path / "run"
    small = ["train.steps=4", "train.batch_size=32", "train.log_every=2", "data.num_heldout=64", "eval.num=16"]
    small += ["eval.batch_size=16", "sampler.steps=5", "method.network.width=8", "method.kernel.steps=40"]
    words = ["--config=configs/heartbeat.py:absorbing", f"--workdir={run}", *(f"--config.{word}" for word in small)]
    finished("train", *words)
    finished("sample", f"--workdir={run}", "--num=4", f"--out={tmp_path}/x.gif")
    found = json.loads((run / "result.json").read_text())["metrics"]
    assert found["eval/bound"] == -found["eval/bound_prior"] - found["eval/bound_steps"] - found["eval/bound_decoder"]
    np.testing.assert_allclose(found["eval/L_null"], -14.4386, atol=5e-5)
    assert "eval/K" not in found
    assert (run / "samples" / "00000004.png").stat().st_size > 300 and (tmp_path / "x.gif").stat().st_size > 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "method.kernel.name=gaussian",
            "kernel.name: 'gaussian' is unknown; must be one of binomial, uniform, absorbing",
        ),
        ("sampler.steps=3000", "sampler.steps: 3000 must be at most the 2000 steps of the kernel"),
        ("sampler.name=ddim", "sampler.name: 'ddim' cannot draw from a discrete_diffusion; use discrete_ancestral"),
        ("data.name=toy2d:ring", "method.name: 'discrete_diffusion' needs categories, and these data are points"),
        ("eval.metrics=energy", "eval.metrics: 'energy' needs points; choose among nfe, bound"),
    ],
)
def test_a_wrong_override_ends_in_one_line(change, message):
    with pytest.raises(UserError, match=message):
        config = tiny.changed("configs/heartbeat.py", dict([change.split("=")]), {})
        chosen(Experiment.of(config))
