"""Updates of their own, every few steps: lazy penalties, and path lengths of a generator with styles."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from diffjax.adversarial import DRAGAN, R1, R2, GradientPenalty, NoPenalty, path_lengths
from diffjax.methods.game import Latent
from diffjax.methods.method import example_keys
from diffjax.models.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from diffjax.optim.optimizers import Adam
from diffjax.parallel import Axis
from tests.methods.games import (
    KEY,
    assert_equal,
    gan,
    moved,
    start,
    styled,
)


@pytest.mark.parametrize("d_steps", [1, 2])
def test_lazy_penalties_move_the_discriminator_as_far_as_eager_ones(x64, d_steps):
    """To first order in the rate: k steps with one penalty as strong as all the others' together."""
    rate, ends = 1e-7, {}
    for lazy in (1, 4):
        method = gan(double=True, lazy=lazy, d_steps=d_steps, optimizer=optax.sgd(rate), penalty=R1(gamma=3.0))
        state, batch, step = start(method)
        batch = jax.tree.map(lambda x: jnp.repeat(x[:1], d_steps + 1, axis=0), batch)  # the same real examples in all
        first, seen = state.params["discriminator"], []
        for _ in range(4):
            state, metrics = step(state, batch)
            seen.append(float(metrics["penalty"]))
        moved_by = jax.tree.map(lambda a, b: (b - a) / rate, first, state.params["discriminator"])
        ends[lazy] = moved_by, np.mean(seen)
        assert (np.asarray(seen[1:]) == 0).all() == (lazy == 4)
    # The generator's updates and the noise are the same in both; the penalty of R1 depends on the real batch alone.
    assert_equal(ends[1], ends[4], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "penalty",
    [
        R2(gamma=3.0),
        pytest.param(GradientPenalty(weight=3.0), marks=pytest.mark.slow),
        pytest.param(DRAGAN(weight=3.0), marks=pytest.mark.slow),
    ],
    ids=lambda penalty: type(penalty).__name__,
)
def test_lazy_penalties_at_points_that_are_drawn_have_the_gradient_of_eager_ones_in_the_mean(x64, penalty):
    """Over draws of the points: the means of both agree in every weight, within errors that the penalty far exceeds."""

    def moved_by(lazy, penalty):
        rate = 1e-7
        method = gan(double=True, lazy=lazy, optimizer=optax.sgd(rate), penalty=penalty)
        first, batch, _ = start(method)
        batch = jax.tree.map(lambda x: jnp.repeat(x[:1], len(x), axis=0), batch)  # the same real examples for both

        def after_four(key):
            state = first
            for _ in range(4):
                state, _ = method.step(state, batch, key, axis=Axis())
            players = first.params["discriminator"], state.params["discriminator"]
            return ravel_pytree(jax.tree.map(lambda a, b: (b - a) / rate, *players))[0]

        found = np.asarray(jax.jit(jax.vmap(after_four))(jax.random.split(KEY, 256)))
        return found.mean(axis=0), found.var(axis=0, ddof=1) / len(found)

    (eager, one), (lazy, other), (without, _) = moved_by(1, penalty), moved_by(4, penalty), moved_by(1, NoPenalty())
    error = np.sqrt(one + other)
    z, strength = (np.abs(x)[error > 1e-9] / error[error > 1e-9] for x in (lazy - eager, eager - without))
    assert z.max() < 5
    assert strength.max() > 25, "a lazy penalty too weak or too strong would be seen"


def test_the_lazy_update_is_taken_into_account_by_rate_and_betas():
    """Karras et al. 2020, appendix B: c = k / (k + 1) for one update in k on the penalty alone."""
    adam = Adam(learning_rate=2e-3, b1=0.5, b2=0.99)
    found = adam.interleaved((1 / 16) / (1 + 1 / 16))
    c = 16 / 17
    assert_equal((found.learning_rate, found.b1, found.b2), (2e-3 * c, 0.5**c, 0.99**c), rtol=1e-12)
    assert adam.interleaved(0.0) == adam


SMALL = {"channel_base": 32, "channel_max": 4, "mapping_layers": 1}
STYLEGAN2 = {
    "generator": partial(StyleGAN2Generator, latent=3, style=4, mixing=0.5, **SMALL),
    "discriminator": partial(StyleGAN2Discriminator, minibatch_std=2, **SMALL),
}


@pytest.mark.parametrize("networks", [{}, pytest.param(STYLEGAN2, marks=pytest.mark.slow)])
def test_four_devices_take_the_step_of_one_styles_noise_and_path_lengths_included(networks, x64):
    """Everything random is the example's own; the mean style and the mean length are those of the whole batch."""
    method = styled(double=True, path_length=2.0, lazy=2, **networks)
    state, batch, step = start(method)
    loud = jax.tree_util.tree_map_with_path(lambda path, w: w + 0.3 * (path[-1].key == "noise"), state.params)
    state = state.replace(params=loud)  # StyleGAN2's noise has no strength at first
    shards = jax.tree.map(lambda x: x.reshape(2, 4, -1, *x.shape[2:]), batch)
    mapped = jax.jit(jax.vmap(partial(method.step, axis=Axis("data")), (None, 1, None), axis_name="data"))
    one, many = step(state, batch), mapped(state, shards, KEY)
    for device in range(4):
        assert_equal(one, jax.tree.map(lambda x: x[device], many), rtol=1e-9, atol=1e-12)  # noqa: B023
    assert moved(state.params["generator"]["styles"], one[0].params["generator"]["styles"])


def test_path_lengths_are_an_update_of_the_generators_own_every_few_steps(x64):
    """As if all the steps' updates came at once: rate times `every` times the penalty's gradient (StyleGAN2)."""
    method = styled(double=True, path_length=2.0, path_length_every=3, penalty=NoPenalty())
    state, batch, step = start(method)
    state = state.replace(extra=state.extra | {"path_length": jnp.float64(0.3)})
    _, _, without = start(replace(method, path_length=0.0))
    G, between = method.make(method.generator), without(state, batch)[0].params["generator"]
    keys = example_keys(jax.random.fold_in(KEY, 3), 0, {"position": batch["position"][1]})
    generate, drawn = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(keys)[:2]
    z, own = Latent()(generate, 3), jax.vmap(lambda key: jax.random.fold_in(key, 2**31))(generate)

    @jax.jit
    def by_hand(params):
        variables = between | {"params": params}
        styles = G.apply(variables, z, batch["label"][1], method="styles")
        lengths = path_lengths(lambda styles: G.apply(variables, styles, own, method="draw"), styles, drawn)
        return 3 * 2.0 * jnp.mean((lengths - 0.3) ** 2), jnp.mean(lengths)

    (penalty, length), gradient = jax.value_and_grad(by_hand, has_aux=True)(between["params"])
    expected = jax.tree.map(lambda w, slope: w - 0.1 * slope, between["params"], gradient)
    new, metrics = step(state, batch)
    assert_equal(new.params["generator"]["params"], expected, rtol=1e-8, atol=1e-10)
    assert_equal((metrics["path_penalty"], metrics["path_length"]), (penalty, 0.3 + 0.01 * (length - 0.3)), rtol=1e-8)
    later, metrics = step(new, batch)
    assert metrics["path_penalty"] == 0 and later.extra["path_length"] == new.extra["path_length"]


@jax.custom_jvp
def unsloped(x):
    """The identity, with a derivative that is NaN."""
    return x


unsloped.defjvp(lambda primals, tangents: (primals[0], tangents[0] * jnp.nan))


@pytest.mark.parametrize(
    ("player", "fields"),
    [
        ("discriminator", {"lazy": 2, "penalty": lambda inputs: unsloped(R1()(inputs)), "simultaneous": True}),
        ("generator", {"path_length": 2.0, "penalty": NoPenalty()}),
    ],
)
def test_a_finite_penalty_with_a_gradient_that_is_not_finite_marks_the_step_that_it_spoils(player, fields, monkeypatch):
    """Nothing else in the step sees the spoilt network, so all that is logged is finite."""
    monkeypatch.setattr("diffjax.methods.lazy.path_lengths", lambda *inputs: unsloped(path_lengths(*inputs)))
    state, batch, step = start(styled(**fields))
    new, metrics = step(state, batch)
    assert all(np.isfinite(value) for value in metrics.values())
    assert not np.isfinite(ravel_pytree(new.params[player]["params"])[0]).all()
    assert new.extra["first_bad_step"] == 1


def test_the_updates_on_path_lengths_are_taken_into_account_by_the_generators_rate():
    adam = Adam(learning_rate=1.0, b1=0.0, b2=0.0, eps=0.0)
    for path_length, rate in ((0.0, 1.0), (2.0, 4 / 5)):
        optimizer = styled(path_length=path_length).optimizer("generator", adam, images=800)
        updates, _ = optimizer.update(jnp.ones(()), optimizer.init(jnp.ones(())))
        np.testing.assert_allclose(updates, -rate, rtol=1e-6)


def test_a_sample_has_noise_from_its_own_key_and_its_style_towards_the_mean_if_asked():
    method = styled()
    state = start(method)[0]
    keys, label = jax.random.split(jax.random.key(1), 4), jnp.zeros(4, jnp.int32)
    draw = jax.jit(lambda keys, spec: method.sample(state.ema, spec, keys, label[: len(keys)]).x0, static_argnums=1)
    drawn, middle = draw(keys, Latent()), draw(keys, Latent(psi=0.0))
    np.testing.assert_allclose(draw(keys[2:], Latent()), drawn[2:], rtol=1e-5, atol=1e-5)
    assert moved(middle[0], middle[1])  # the noise is left
    z = Latent()(jax.vmap(jax.random.split)(keys)[:, 0], 3)  # as for any generator
    own = jax.vmap(lambda key: jax.random.fold_in(key, 2**31))(jax.vmap(jax.random.split)(keys)[:, 0])
    G = method.make(method.generator)
    expected = jax.jit(G.apply)(state.ema["generator"], z, label, own)
    np.testing.assert_allclose(drawn, expected, rtol=1e-5, atol=1e-5)
