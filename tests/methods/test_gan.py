"""A step of a game of two networks: which updates, on which examples, by which randomness."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from diffjax.adversarial import R1, R1R2, NoPenalty, Relativistic, Wasserstein, pack, unpack
from diffjax.data.space import Space
from diffjax.methods.game import Latent, nth
from diffjax.methods.method import example_keys
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.models.r3gan import R3GANDiscriminator, R3GANGenerator
from diffjax.models.resgan import ResGenerator
from diffjax.optim.ema import HalfLife
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.methods.games import (
    KEY,
    LABELLED,
    TINY_R3GAN,
    Judge,
    Least,
    assert_equal,
    gan,
    moved,
    start,
)


@pytest.mark.parametrize("simultaneous", [False, True])
def test_one_step_is_the_two_descents_of_the_paper_in_turn_or_at_once(simultaneous):
    method = gan(penalty=R1(gamma=0.3), simultaneous=simultaneous)
    state, batch, step = start(method)
    G, D = method.make(method.generator), method.make(method.discriminator)

    own = 0 if simultaneous else 1  # the index of the generator's update
    assert method.batches_per_step == own + 1

    def noise(i):
        keys = example_keys(jax.random.fold_in(KEY, i), 0, {"position": batch["position"][i]})
        return Latent()(jax.vmap(jax.random.split)(keys)[:, 0], 2)

    @jax.jit
    def by_hand(g, d):
        def d_loss(d):
            gradient = jax.vmap(jax.grad(lambda x: D.apply(d, x[None])[0]))(batch["x"][0])
            penalty = 0.15 * jnp.sum(gradient**2, axis=1)
            fake = D.apply(d, G.apply(g, noise(0)))
            return jnp.mean(nn.softplus(-D.apply(d, batch["x"][0])) + nn.softplus(fake) + penalty)

        def g_loss(g):
            return jnp.mean(nn.softplus(-D.apply(opponent, G.apply(g, noise(own)))))

        d_value, gradient = jax.value_and_grad(d_loss)(d)
        before, d = d, jax.tree.map(lambda w, slope: w - 0.1 * slope, d, gradient)
        opponent = before if simultaneous else d
        g_value, gradient = jax.value_and_grad(g_loss)(g)
        g = jax.tree.map(lambda w, slope: w - 0.1 * slope, g, gradient)
        return {"generator": g, "discriminator": d}, d_value, g_value

    params, d_loss, g_loss = by_hand(state.params["generator"], state.params["discriminator"])
    new, metrics = step(state, batch)
    assert_equal(new.params, params, rtol=1e-5, atol=1e-6)
    assert_equal((metrics["d_loss"] + metrics["penalty"], metrics["g_loss"]), (d_loss, g_loss), rtol=1e-5)


def test_every_update_of_the_discriminator_has_a_real_batch_of_its_own():
    method = gan(d_steps=3, optimizer=optax.sgd(0.0))
    assert method.batches_per_step == 4
    state, batch, step = start(method)
    logits = method.make(method.discriminator).apply(state.params["discriminator"], batch["x"][:3].reshape(-1, 2))
    np.testing.assert_allclose(step(state, batch)[1]["d_real"], logits.mean(), rtol=1e-5)


def test_the_generator_looks_at_no_real_example_unless_its_loss_does():
    method = gan(d_steps=2)
    state, batch, step = start(method)
    new, _ = step(state, batch)
    for i in range(3):
        other, _ = step(state, batch | {"x": batch["x"].at[i].add(1.0)})
        assert moved(new.params["discriminator"], other.params["discriminator"]) == (i < 2)
    assert not moved(new.params, other.params)


def test_a_loss_that_pairs_real_and_generated_sees_the_generators_own_real_batch():
    method = gan(loss=Relativistic())
    state, batch, step = start(method)
    new, _ = step(state, batch)
    other, _ = step(state, batch | {"x": batch["x"].at[1].add(1.0)})
    assert moved(new.params["generator"], other.params["generator"])
    assert not moved(new.params["discriminator"], other.params["discriminator"])


def test_each_update_and_each_step_draws_its_own_noise():
    drawn = {}
    for d_steps in (1, 2):  # with the first update's noise twice, the mean over both would be the first's
        state, batch, step = start(gan(d_steps=d_steps, optimizer=optax.sgd(0.0), penalty=NoPenalty()))
        drawn[d_steps] = step(state, batch)[1]["d_fake"]
    assert drawn[1] != drawn[2]
    assert step(state.replace(step=state.step + 1), batch)[1]["d_fake"] != drawn[2]
    assert step(state, batch)[1]["d_fake"] == drawn[2]


def test_a_step_counts_and_averages_the_generator_alone():
    half_life = HalfLife(images=16.0, ramp=0.0)
    method = gan(ema=half_life)
    state, batch, step = start(method)
    new, metrics = step(state, batch)
    assert new.step == 1
    assert list(new.ema) == ["generator"]
    decay = 0.5 ** (8 / 16)
    expected = jax.tree.map(
        lambda a, b: decay * a + (1 - decay) * b, state.params["generator"], new.params["generator"]
    )
    assert_equal(new.ema["generator"], expected, rtol=1e-5, atol=1e-7)
    assert new.extra["first_bad_step"] == -1
    assert set(metrics) == {
        *("d_loss", "g_loss", "penalty", "d_real", "d_fake", "d_accuracy", "d_gradient_norm", "g_gradient_norm"),
        *("logit_gap", "diversity", "d_pairs", "collapsed", "diverged", "starved"),
    }


def test_a_step_that_is_not_finite_is_marked():
    method = gan()
    state, batch, step = start(method)
    new, _ = step(state, batch | {"x": batch["x"].at[0, 3].set(jnp.nan)})
    assert new.extra["first_bad_step"] == 1


def test_calls_are_right_beside_the_even_logit_and_pairs_are_told_apart_a_tie_being_half():
    class Sum(Least):
        @nn.compact
        def __call__(self, x, label=None, train=False):
            return x.sum(-1) + self.param("bias", nn.initializers.zeros_init(), ())

    class Constant(Least):
        latent = 1

        @nn.compact
        def __call__(self, z, label=None, train=False):
            return jnp.full((len(z), 2), -1.0) + self.param("bias", nn.initializers.zeros_init(), ())

    method = gan(generator=Constant, discriminator=Sum, penalty=R1(gamma=1.0))
    state, batch, step = start(method)
    x = jnp.ones((2, 8, 2)).at[:, :2].set(-1.0)  # two of eight real examples look generated
    metrics = step(state, batch | {"x": x})[1]
    expected = {"d_pairs": 7 / 8, "d_accuracy": 14 / 16, "d_real": 1.0, "d_fake": -2.0, "penalty": 0.5 * 2}
    expected |= {"logit_gap": 3.0, "diversity": 0.0}
    assert_equal({name: metrics[name] for name in expected}, expected, rtol=1e-6, atol=1e-6)


def test_a_step_does_not_depend_on_the_order_of_the_examples(x64):
    method = gan(double=True)
    state, batch, step = start(method)
    order = np.random.default_rng(0).permutation(8)
    one, other = step(state, batch), step(state, jax.tree.map(lambda x: x[:, order], batch))
    assert_equal(one, other, rtol=1e-9, atol=1e-12)


def test_a_step_in_parts_is_the_whole_step(x64):
    state, batch, whole = start(gan(double=True))
    _, _, parts = start(gan(double=True, accumulate=4))
    assert_equal(whole(state, batch), parts(state, batch), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fields", [{"packing": 2}, {"discriminator": partial(MlpDiscriminator, minibatch_std=2)}])
def test_neighbours_that_are_judged_together_stay_together_in_parts(x64, fields):
    state, batch, whole = start(gan(double=True, **fields))
    _, _, parts = start(gan(double=True, accumulate=2, **fields))
    assert_equal(whole(state, batch), parts(state, batch), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_four_devices_take_the_step_of_one_batch_statistics_included(norm, x64):
    """`vmap` over a named axis has pmap's collectives."""
    method = gan(
        Space("images", (8, 8, 1), num_classes=3),
        double=True,
        conditional=True,
        generator=partial(DcganGenerator, width=4, latent=3),
        discriminator=partial(DcganDiscriminator, width=4, norm=norm),
        penalty=R1(gamma=1.0) if norm == "none" else NoPenalty(),
    )
    take_the_step_of_one(method)


@pytest.mark.parametrize(
    ("shape", "generator"),
    [((2,), partial(MlpGenerator, width=8, norm="batch")), ((8, 8, 1), partial(ResGenerator, width=4, latent=6))],
)
def test_on_four_devices_every_generator_has_the_batch_statistics_of_one(shape, generator, x64):
    space = Space("images" if len(shape) == 3 else "points", shape, shift=0.0, scale=1.0)
    method = gan(space, double=True, generator=generator, discriminator=Judge)
    assert "batch_stats" in start(method)[0].params["generator"]
    take_the_step_of_one(method)


def take_the_step_of_one(method):
    state, batch, step = start(method)
    shards = jax.tree.map(lambda x: x.reshape(2, 4, -1, *x.shape[2:]), batch)
    mapped = jax.jit(jax.vmap(partial(method.step, axis=Axis("data")), (None, 1, None), axis_name="data"))
    one, many = step(state, batch), mapped(state, shards, KEY)
    for device in range(4):
        assert_equal(one, jax.tree.map(lambda x: x[device], many), rtol=1e-9, atol=1e-12)  # noqa: B023


def test_real_and_generated_images_are_normalised_apart_and_both_move_the_statistics():
    method = gan(
        Space("images", (8, 8, 1)),
        generator=partial(DcganGenerator, width=4, latent=3),
        discriminator=partial(DcganDiscriminator, width=4, norm="batch"),
        penalty=NoPenalty(),
    )
    state, batch, step = start(method)
    own = nth(batch, 0)
    keys = method.context(0, state, KEY, Axis()).keys(own)
    examples = method.draw_examples(state.params["generator"], own, keys.generate, Axis())
    D, variables = method.critic(), state.params["discriminator"]
    judge = jax.jit(lambda variables, x: D.apply(variables, x, train=True, mutable=["batch_stats"]))
    real, kept = judge(variables, examples.real)
    fake, kept = judge(variables | kept, examples.fake)
    new, metrics = step(state, batch)
    np.testing.assert_allclose((metrics["d_real"], metrics["d_fake"]), (real.mean(), fake.mean()), rtol=1e-4, atol=1e-6)
    assert_equal(new.params["discriminator"]["batch_stats"], kept["batch_stats"], rtol=1e-4, atol=1e-6)


def test_only_the_generators_own_update_moves_its_batch_statistics():
    method = gan(
        Space("images", (8, 8, 1)),
        d_steps=2,
        generator=partial(DcganGenerator, width=4, latent=3),
        discriminator=partial(DcganDiscriminator, width=4),
    )
    state, batch, step = start(method)
    keys = example_keys(jax.random.fold_in(KEY, 2), 0, {"position": batch["position"][2]})
    z = Latent()(jax.vmap(jax.random.split)(keys)[:, 0], 3)
    generator = method.make(method.generator)
    train = jax.jit(lambda variables, z: generator.apply(variables, z, train=True, mutable=["batch_stats"]))
    _, kept = train(state.params["generator"], z)
    new, _ = step(state, batch)
    assert_equal(new.params["generator"]["batch_stats"], kept["batch_stats"], rtol=1e-5, atol=1e-7)


def test_a_conditional_gan_obeys_labels_and_an_unconditional_one_has_none():
    keys = jax.random.split(jax.random.key(1), 5)
    zeros, ones = jnp.zeros(5, jnp.int32), jnp.ones(5, jnp.int32)
    for conditional in (True, False):
        method = gan(LABELLED, conditional=conditional)
        state, batch, step = start(method)
        draw = jax.jit(lambda label: method.sample(state.ema, Latent(), keys, label).x0)  # noqa: B023
        assert moved(draw(zeros), draw(ones)) == conditional
        other = batch | {"label": (batch["label"] + 1) % 3}
        assert moved(step(state, batch)[0].params, step(state, other)[0].params) == conditional


def test_without_labels_each_key_of_a_conditional_gan_draws_its_own():
    method = gan(LABELLED, conditional=True)
    state, _, _ = start(method)
    keys = jax.random.split(jax.random.key(1), 40)
    free = method.sample(state.ema, Latent(), keys, None).x0
    by_label = jnp.stack([method.sample(state.ema, Latent(), keys, jnp.full(40, label)).x0 for label in range(3)])
    matches = jnp.all(jnp.isclose(by_label, free, atol=1e-6), axis=-1)
    np.testing.assert_array_equal(matches.sum(0), 1)
    assert (matches.sum(1) > 4).all()  # every label is drawn


def test_a_sample_depends_on_its_key_alone_and_costs_one_network_call():
    method = gan(
        Space("images", (8, 8, 1)), generator=partial(DcganGenerator, width=4), discriminator=DcganDiscriminator
    )
    state, _, _ = start(method)
    keys = jax.random.split(jax.random.key(1), 6)
    drawn = method.sample(state.ema, Latent(), keys, None)
    assert jnp.all(drawn.nfe == 1)
    assert drawn.x0.shape == (6, 8, 8, 1)
    np.testing.assert_allclose(method.sample(state.ema, Latent(), keys[4:], None).x0, drawn.x0[4:], atol=1e-6)


def test_packed_examples_are_judged_as_one(x64):
    """PacGAN: half as many logits, each of two neighbours; the penalty is that of the pair."""
    method = gan(packing=2, double=True, penalty=R1(gamma=1.0), optimizer=optax.sgd(0.0))
    state, batch, step = start(method)
    _, metrics = step(state, batch)
    D, variables = method.critic(), state.params["discriminator"]
    pairs = batch["x"][0].astype(float).reshape(4, 4)  # the coordinates of two points, side by side
    np.testing.assert_allclose(metrics["d_real"], D.apply(variables, pairs).mean(), rtol=1e-9)
    gradient = jax.vmap(jax.grad(lambda x: D.apply(variables, x[None])[0]))(pairs)
    np.testing.assert_allclose(metrics["penalty"], 0.5 * jnp.mean(jnp.sum(gradient**2, 1)), rtol=1e-9)


def test_batch_normalisation_sees_each_place_of_the_packs_by_itself():
    """PacGAN's code runs its generator once for each place; the statistics kept are the mean of those."""
    method = gan(packing=2, penalty=NoPenalty(), generator=partial(MlpGenerator, width=8, norm="batch"))
    state, batch, step = start(method)
    variables, network = state.params["generator"], method.make(method.generator)
    keys = jax.random.split(jax.random.key(3), 8)
    z = Latent()(keys, network.latent)
    x, stats = method.generate(variables, keys, Axis())
    places = [network.apply(variables, z[i::2], train=True, mutable=["batch_stats"]) for i in (0, 1)]
    for i, (expected, _) in enumerate(places):
        np.testing.assert_allclose(x[i::2], expected, rtol=1e-5, atol=1e-6)
    assert_equal(stats, jax.tree.map(lambda a, b: (a + b) / 2, places[0][1], places[1][1]), rtol=1e-5, atol=1e-7)
    assert moved(step(state, batch)[0].params["generator"]["batch_stats"], variables["batch_stats"])


def test_a_sample_is_of_z_as_the_sampler_draws_it():
    method, spec = gan(), Latent(truncation=0.3)
    variables = start(method)[0].params
    keys = jax.random.split(KEY, 5)
    z = spec(jax.vmap(jax.random.split, out_axes=1)(keys)[0], MlpGenerator.latent)
    assert np.abs(z).max() <= 0.3
    expected = method.make(method.generator).apply(variables["generator"], z)
    np.testing.assert_allclose(method.sample(variables, spec, keys, None).x0, expected, rtol=1e-5, atol=1e-6)


def test_packing_is_undone_by_unpacking():
    x = jax.random.normal(jax.random.key(0), (6, 4, 5, 3))
    packed = pack(x, 3)
    assert packed.shape == (2, 4, 5, 9)
    np.testing.assert_array_equal(unpack(packed, 3), x)
    for i in range(6):  # the channels of the images stay together
        np.testing.assert_array_equal(packed[i // 3, ..., 3 * (i % 3) : 3 * (i % 3) + 3], x[i])


def test_an_auxiliary_classifier_names_the_class_it_is_not_shown():
    """Odena et al. 2017: both players descend the cross entropy of the label, of real and of generated examples."""
    method = gan(LABELLED, conditional=True, auxiliary=0.5, optimizer=optax.sgd(0.0))
    state, batch, step = start(method)
    assert "embed" not in str(jax.tree.structure(state.params["discriminator"]))
    keys = example_keys(jax.random.fold_in(KEY, 0), 0, {"position": batch["position"][0]})
    z = Latent()(jax.vmap(lambda key: jax.random.split(key, 4))(keys)[:, 0], 2)
    label = batch["label"][0]
    fake = method.make(method.generator).apply(state.params["generator"], z, label)
    said = [method.critic().apply(state.params["discriminator"], x) for x in (batch["x"][0], fake)]
    entropy = sum(optax.softmax_cross_entropy_with_integer_labels(x[:, 1:], label).mean() for x in said)
    metrics = step(state, batch)[1]
    np.testing.assert_allclose(metrics["d_class_loss"], entropy, rtol=1e-5)
    np.testing.assert_allclose(metrics["d_real"], said[0][:, 0].mean(), rtol=1e-5)
    assert metrics["g_class_loss"] > 0


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_each_player_of_an_auxiliary_game_descends_the_class_loss_by_its_weight(player, x64):
    """Plain SGD without a penalty: what the weight adds to an update is proportional to it."""

    def moved(auxiliary):
        method = gan(LABELLED, conditional=True, auxiliary=auxiliary, penalty=NoPenalty(), double=True)
        method = replace(method, optimizers=method.optimizers | {other[player]: optax.sgd(0.0)})
        state, batch, step = start(method)
        new = step(state, batch)[0]
        return jax.tree.map(jnp.subtract, new.params[player], state.params[player])

    other = {"discriminator": "generator", "generator": "discriminator"}
    little, more, most = moved(0.25), moved(0.5), moved(1.0)
    assert_equal(jax.tree.map(lambda a, b: 2 * (b - a), little, more), jax.tree.map(jnp.subtract, most, more))
    assert max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (little, most)), strict=True)) > 1e-4


def test_weights_are_cut_after_every_update_of_the_discriminator_alone():
    method = gan(clip_weights=0.02, loss=Wasserstein(), penalty=NoPenalty())
    state, batch, step = start(method)
    new, _ = step(state, batch)
    assert max(float(jnp.abs(w).max()) for w in jax.tree.leaves(new.params["discriminator"])) <= 0.02
    assert max(float(jnp.abs(w).max()) for w in jax.tree.leaves(new.params["generator"])) > 0.02


def test_bfloat16_plays_r3gans_game_nearly_as_float32_does():
    """R1 and R2 are derivatives of derivatives: they too are finite, and near."""
    networks = {"generator": R3GANGenerator, "discriminator": R3GANDiscriminator}
    networks, found = {player: partial(network, **TINY_R3GAN) for player, network in networks.items()}, {}
    for compute in ("float32", "bfloat16"):
        method = gan(Space("images", (8, 8, 1)), loss=Relativistic(), penalty=R1R2(gamma=1.0), **networks)
        state, batch, step = start(replace(method, precision=Precision(compute)))
        filled = jax.tree_util.tree_map_with_path(
            lambda path, w: w + 0.2 if path[-2:-1] and path[-2].key == "contract" else w, state.params
        )
        new, found[compute] = step(state.replace(params=filled), batch)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(new.params))
        assert new.extra["first_bad_step"] == -1
    assert found["float32"]["penalty"] > 0.01
    for name in ("d_loss", "g_loss", "penalty", "d_gradient_norm", "g_gradient_norm"):
        np.testing.assert_allclose(found["bfloat16"][name], found["float32"][name], rtol=0.05)
