from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

from diffjax.adversarial import R1, R1R2, R2, Relativistic, Wasserstein, Watchman, pack, path_lengths, penalties, unpack
from diffjax.augment import Ada, Augment, EdmAugment
from diffjax.config import component
from diffjax.data.space import Space
from diffjax.ema import HalfLife
from diffjax.errors import UserError
from diffjax.methods.game import Latent, moments_of, spread
from diffjax.methods.gan import GAN
from diffjax.methods.method import keys_of
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.models.r3gan import R3GANDiscriminator, R3GANGenerator
from diffjax.models.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from diffjax.optim import Adam, RMSProp
from diffjax.parallel import Axis, check_batch, layout
from diffjax.precision import Precision
from diffjax.run import Experiment
from tests import tiny

POINTS = Space("points", (2,), shift=0.0, scale=1.0)
LABELLED = replace(POINTS, num_classes=3)
KEY = jax.random.key(7)


def gan(space=POINTS, width=8, optimizer=None, batch_size=8, double=False, **fields):
    """A small GAN; `double` computes in float64."""
    networks = {
        "generator": partial(MlpGenerator, width=width),
        "discriminator": partial(MlpDiscriminator, width=width),
    }
    optimizer = optimizer or optax.sgd(0.1)
    return GAN(
        space=space,
        precision=Precision("float64", "float64") if double else Precision(),
        optimizers=dict.fromkeys(GAN.networks, optimizer),
        ema=fields.pop("ema", HalfLife()),
        batch_size=batch_size,
        accumulate=fields.pop("accumulate", 1),
        **networks | fields,
    )


TINY_R3GAN = {"widths": (4, 4), "blocks": (1, 1), "group": 4}


class Styled(nn.Module):
    """The least generator that has styles and noise of its own."""

    shape: tuple
    num_classes: int
    precision: Precision
    axis: Axis
    latent = 3

    def setup(self):
        formats = {"dtype": self.precision.compute, "param_dtype": self.precision.params}
        self.mapping, self.synthesis = nn.Dense(4, **formats), nn.Dense(64, **formats)
        self.mean = self.variable("styles", "mean", jnp.zeros, (4,), jnp.dtype(self.precision.params))

    def __call__(self, z, label=None, keys=None, train=False, psi=1.0):
        return self.draw(self.styles(z, label, keys, train, psi), keys)

    def styles(self, z, label=None, keys=None, train=False, psi=1.0):
        w = jnp.tanh(self.mapping(z) + label[:, None])
        if train and self.is_mutable_collection("styles") and not self.is_initializing():
            self.mean.value = 0.9 * self.mean.value + 0.1 * self.axis.mean(w.mean(0))
        return jnp.repeat((self.mean.value + psi * (w - self.mean.value))[:, None], 2, axis=1)

    def draw(self, styles, keys=None):
        x = jnp.tanh(self.synthesis(styles.reshape(len(styles), -1)))
        if keys is not None:
            x += 0.3 * jax.vmap(lambda key: jax.random.normal(key, (64,), x.dtype))(keys)
        return x.reshape(-1, 8, 8, 1)


class Judge(nn.Module):
    shape: tuple
    num_classes: int
    precision: Precision
    axis: Axis

    @nn.compact
    def __call__(self, x, label=None, train=False):
        formats = {"dtype": self.precision.compute, "param_dtype": self.precision.params}
        return nn.Dense(1, **formats)(jnp.tanh(nn.Dense(4, **formats)(x.reshape(len(x), -1))))[:, 0]


def styled(**fields):
    players = {"generator": Styled, "discriminator": Judge}
    return gan(Space("images", (8, 8, 1), num_classes=3), conditional=True, **players | fields)


def batches(method, seed=0):
    """What the loop stacks: one real batch for each turn of a player."""
    rng = np.random.default_rng(seed)
    size = (method.batches_per_step, method.batch_size)
    images = method.space.kind == "images"
    x = rng.integers(0, 256, (*size, *method.space.shape)).astype(np.uint8) if images else rng.normal(size=(*size, 2))
    return {
        "x": jnp.asarray(x if images else x.astype(np.float32)),
        "label": jnp.asarray(rng.integers(0, max(method.space.num_classes, 1), size), jnp.int32),
        "position": jnp.tile(jnp.arange(method.batch_size, dtype=jnp.int32), (size[0], 1)),
    }


def start(method):
    """The first state, a batch, and the compiled `(state, batch) -> (state, metrics)`."""
    batch = batches(method)
    step = jax.jit(partial(method.step, axis=Axis()))
    return jax.jit(method.init)(jax.random.key(0), batch), batch, lambda state, batch: step(state, batch, KEY)


def assert_equal(one, other, **tolerance):
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), one, other)


def moved(old, new):
    return any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True))


@pytest.mark.parametrize("simultaneous", [False, True])
def test_one_step_is_the_two_descents_of_the_paper_in_turn_or_at_once(simultaneous):
    method = gan(penalty=R1(gamma=0.3), simultaneous=simultaneous)
    state, batch, step = start(method)
    G, D = method.make(method.generator), method.make(method.discriminator)

    def noise(turn):
        keys = keys_of(jax.random.fold_in(KEY, turn), 0, {"position": batch["position"][turn]})
        return Latent()(jax.vmap(jax.random.split)(keys)[:, 0], 2)

    @jax.jit
    def by_hand(g, d):
        def d_loss(d):
            gradient = jax.vmap(jax.grad(lambda x: D.apply(d, x[None])[0]))(batch["x"][0])
            penalty = 0.15 * jnp.sum(gradient**2, axis=1)
            fake = D.apply(d, G.apply(g, noise(0)))
            return jnp.mean(nn.softplus(-D.apply(d, batch["x"][0])) + nn.softplus(fake) + penalty)

        def g_loss(g):
            return jnp.mean(nn.softplus(-D.apply(opponent, G.apply(g, noise(1)))))

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


def test_every_turn_of_the_discriminator_has_a_real_batch_of_its_own():
    method = gan(d_steps=3, optimizer=optax.sgd(0.0))
    assert method.batches_per_step == 4
    state, batch, step = start(method)
    logits = method.make(method.discriminator).apply(state.params["discriminator"], batch["x"][:3].reshape(-1, 2))
    np.testing.assert_allclose(step(state, batch)[1]["d_real"], logits.mean(), rtol=1e-5)


def test_the_generator_looks_at_no_real_example_unless_its_loss_does():
    method = gan(d_steps=2)
    state, batch, step = start(method)
    new, _ = step(state, batch)
    for turn in range(3):
        other, _ = step(state, batch | {"x": batch["x"].at[turn].add(1.0)})
        assert moved(new.params["discriminator"], other.params["discriminator"]) == (turn < 2)
    assert not moved(new.params, other.params)


def test_a_loss_that_pairs_real_and_generated_sees_the_generators_own_real_batch():
    method = gan(loss=Relativistic())
    state, batch, step = start(method)
    new, _ = step(state, batch)
    other, _ = step(state, batch | {"x": batch["x"].at[1].add(1.0)})
    assert moved(new.params["generator"], other.params["generator"])
    assert not moved(new.params["discriminator"], other.params["discriminator"])


def test_each_turn_and_each_step_draws_its_own_noise():
    drawn = {}
    for d_steps in (1, 2):  # with the first turn's noise twice, the mean over the turns would be the first turn's
        state, batch, step = start(gan(d_steps=d_steps, optimizer=optax.sgd(0.0), penalty=penalties.none))
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
    class Sum(nn.Module):
        shape: tuple
        num_classes: int
        precision: Precision
        axis: Axis

        @nn.compact
        def __call__(self, x, label=None, train=False):
            return x.sum(-1) + self.param("bias", nn.initializers.zeros_init(), ())

    class Constant(nn.Module):
        shape: tuple
        num_classes: int
        precision: Precision
        axis: Axis
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
        penalty=R1(gamma=1.0) if norm == "none" else penalties.none,
    )
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
        penalty=penalties.none,
    )
    state, batch, step = start(method)
    turn = method.turn(0, state, KEY, Axis())
    own = jax.tree.map(lambda x: x[0], batch)
    played = method.play(state.params["generator"], own, turn.keys(own).play, Axis())
    D, variables = method.critic(), state.params["discriminator"]
    judge = jax.jit(lambda variables, x: D.apply(variables, x, train=True, mutable=["batch_stats"]))
    real, kept = judge(variables, played.real)
    fake, kept = judge(variables | kept, played.fake)
    new, metrics = step(state, batch)
    np.testing.assert_allclose((metrics["d_real"], metrics["d_fake"]), (real.mean(), fake.mean()), rtol=1e-4, atol=1e-6)
    assert_equal(new.params["discriminator"]["batch_stats"], kept["batch_stats"], rtol=1e-4, atol=1e-6)


def test_only_the_generators_own_turn_moves_its_batch_statistics():
    method = gan(
        Space("images", (8, 8, 1)),
        d_steps=2,
        generator=partial(DcganGenerator, width=4, latent=3),
        discriminator=partial(DcganDiscriminator, width=4),
    )
    state, batch, step = start(method)
    keys = keys_of(jax.random.fold_in(KEY, 2), 0, {"position": batch["position"][2]})
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
    assert drawn.nfe == 1
    assert drawn.x0.shape == (6, 8, 8, 1)
    np.testing.assert_allclose(method.sample(state.ema, Latent(), keys[4:], None).x0, drawn.x0[4:], atol=1e-6)


def test_latents_are_standard_normal_and_truncation_bounds_them():
    keys = jax.random.split(jax.random.key(1), 20_000)
    z = Latent()(keys, 2)
    np.testing.assert_allclose(z.mean(0), 0, atol=4 / np.sqrt(20_000))
    np.testing.assert_allclose(jnp.cov(z.T), np.eye(2), atol=4 * np.sqrt(2 / 20_000))
    cut = Latent(truncation=0.5)(keys, 2)
    assert jnp.abs(cut).max() <= 0.5
    # The variance of a normal held to [-c, c]: 1 - 2 c phi(c) / (2 Phi(c) - 1).
    np.testing.assert_allclose(cut.var(), 1 - 0.5 * 2 * 0.3520653 / 0.3829249, rtol=0.03)


def test_diversity_is_the_spread_of_generated_examples_over_that_of_real_ones():
    method = gan(optimizer=optax.sgd(0.0))
    state, batch, step = start(method)
    keys = keys_of(jax.random.fold_in(KEY, 0), 0, {"position": batch["position"][0]})
    z = Latent()(jax.vmap(lambda key: jax.random.split(key, 4))(keys)[:, 0], 2)
    fake = method.make(method.generator).apply(state.params["generator"], z)
    expected = jnp.var(fake, axis=0).mean() / jnp.var(batch["x"][0], axis=0).mean()
    np.testing.assert_allclose(step(state, batch)[1]["diversity"], expected, rtol=1e-4)


@pytest.mark.parametrize("conditional", [True, False])
def test_one_example_for_each_label_is_a_collapse_that_pooled_labels_would_hide(conditional):
    class ByLabel(nn.Module):
        shape: tuple
        num_classes: int
        precision: Precision
        axis: Axis
        latent = 1

        @nn.compact
        def __call__(self, z, label=None, train=False):
            means = jnp.array([[-3.0, 1.0], [2.0, 0.5], [1.0, -3.0]])
            return means[label] + self.param("bias", nn.initializers.zeros_init(), ())

    method = gan(LABELLED, batch_size=64, conditional=True, generator=ByLabel, optimizer=optax.sgd(0.0))
    state, batch, step = start(method)
    x = ByLabel((2,), 3, Precision(), Axis()).apply(state.params["generator"], None, batch["label"])
    batch = batch | {"x": x + 0.1 * batch["x"]}
    metrics = step(state, batch)[1]
    assert metrics["diversity"] < 1e-3 and metrics["collapsed"] == 1
    x, label, real = x[0], batch["label"][0], batch["x"][0]
    if conditional:
        within = sum(np.mean(label == k) * np.var(real[label == k], axis=0).mean() for k in range(3))
        np.testing.assert_allclose(spread(moments_of(real, label, 3)), within, rtol=1e-4)
        half = [moments_of(part, y, 3) for part, y in ((real[:20], label[:20]), (real[20:], label[20:]))]
        whole = jax.tree.map(lambda a, b: (20 * a + 44 * b) / 64, *half)
        np.testing.assert_allclose(spread(whole), within, rtol=1e-4)  # parts add up
    else:
        assert spread(moments_of(x, label, 0)) / spread(moments_of(real, label, 0)) > 0.95


def test_labels_of_one_example_each_tell_nothing_of_collapse():
    x = jax.random.normal(KEY, (8, 3))
    alone = spread(moments_of(x, jnp.arange(8), 8)) / spread(moments_of(x[::-1] + 2.0, jnp.arange(8), 8))
    assert 0.01 < alone < 100


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


def test_the_lazy_update_is_taken_into_account_by_rate_and_betas():
    """Karras et al. 2020, appendix B: c = k / (k + 1) for one update in k on the penalty alone."""
    adam = Adam(learning_rate=2e-3, b1=0.5, b2=0.99)
    found = adam.interleaved((1 / 16) / (1 + 1 / 16))
    c = 16 / 17
    assert_equal((found.learning_rate, found.b1, found.b2), (2e-3 * c, 0.5**c, 0.99**c), rtol=1e-12)
    assert adam.interleaved(0.0) == adam


def test_a_decay_ends_with_the_run_however_often_the_discriminator_is_updated():
    adam = Adam(learning_rate=1.0, b1=0.0, b2=0.0, eps=0.0, decay="cosine")
    method = gan(d_steps=5, lazy=4)
    optimizer = method.optimizer("discriminator", adam, images=8 * 8)  # 8 steps of 8
    state, sizes = optimizer.init(jnp.ones(())), []
    for _ in range(43):
        updates, state = optimizer.update(jnp.ones(()), state)
        sizes.append(-float(updates))
    c = 5 / 5.25  # 42 updates in all: 5 a step, and one more every fourth
    np.testing.assert_allclose((sizes[0], sizes[21], sizes[42]), (c, c / 2, 0), atol=1e-6)
    generator = method.optimizer("generator", adam, images=8 * 8)
    state = generator.init(jnp.ones(()))
    for _ in range(9):
        updates, state = generator.update(jnp.ones(()), state)
    np.testing.assert_allclose(updates, 0, atol=1e-6)


def test_rates_and_b2_end_where_they_are_told_to():
    """R3GAN's schedule: everything on half a cosine, counted in images."""
    adam = Adam(learning_rate=1.0, learning_rate_last=0.25, b1=0.0, b2=0.9, b2_last=0.99, decay="cosine")
    rate = adam.schedule(images_per_update=10, images=100)
    assert_equal([rate(n) for n in (0, 5, 10, 12)], [1.0, 0.625, 0.25, 0.25], rtol=1e-6)
    optimizer = adam.build(images_per_update=10, images=100)
    state, found = optimizer.init(jnp.ones(())), []
    for _ in range(12):
        _, state = optimizer.update(jnp.ones(()), state)
        found.append(float(state[0].hyperparams["b2"]))
    assert_equal([found[n] for n in (0, 5, 10, 11)], [0.9, 0.945, 0.99, 0.99], rtol=1e-6)


def test_rmsprop_is_pytorchs_and_shares_adams_schedule(x64):
    """v <- b2 v + (1 - b2) g^2 from 0; the update is -rate g / (sqrt(v) + eps), eps outside of the root."""
    spec = RMSProp(learning_rate=0.5, b2=0.9, eps=1e-2, decay="linear", weight_decay=0.1, clip_norm=2.0)
    optimizer, w, v = spec.build(images_per_update=10, images=80), np.array([1.0, -2.0]), np.zeros(2)
    state = optimizer.init(w)
    for n in range(4):
        g = np.array([3.0 * n - 4.0, 0.5])
        updates, state = optimizer.update(g, state, w)
        g *= min(1, 2 / np.linalg.norm(g))
        v = 0.9 * v + 0.1 * g**2
        expected = -0.5 * (1 - n / 8) * (g / (np.sqrt(v) + 1e-2) + 0.1 * w)
        np.testing.assert_allclose(updates, expected, rtol=1e-10)
        w += updates
    c = spec.interleaved(0.2)
    assert_equal((c.learning_rate, c.b2, c.eps), (0.4, 0.9**0.8, 1e-2), rtol=1e-12)
    for field, value in (("b2", 1.0), ("learning_rate_last", 0.1)):
        with pytest.raises(UserError, match=f"optim.{field}: {value}"):
            RMSProp(**{field: value})


def test_each_network_has_the_optimiser_that_its_section_says():
    idle, busy = component("optim", "adam", learning_rate=0.0), component("optim", "rmsprop")
    config = tiny.ring(train__steps=8).unlock()
    config.optim = ConfigDict({"generator": idle, "discriminator": busy})
    method = Experiment.of(config).method
    batch = batches(method)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    new, _ = jax.jit(partial(method.step, axis=Axis()))(state, batch, KEY)
    assert not moved(state.params["generator"], new.params["generator"])
    assert moved(state.params["discriminator"], new.params["discriminator"])
    first = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.params["discriminator"], new.params["discriminator"])
    np.testing.assert_allclose(max(jax.tree.leaves(first)), 5e-5 / 0.1, rtol=1e-2)  # sqrt(v) is a tenth of g at first
    config.optim = ConfigDict({"generator": idle})
    with pytest.raises(UserError, match="optim: has generator; this method trains generator, discriminator"):
        Experiment.of(config)


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
    method = styled(double=True, path_length=2.0, path_length_every=3, penalty=penalties.none)
    state, batch, step = start(method)
    state = state.replace(extra=state.extra | {"path_length": jnp.float64(0.3)})
    _, _, without = start(replace(method, path_length=0.0))
    G, between = method.make(method.generator), without(state, batch)[0].params["generator"]
    keys = keys_of(jax.random.fold_in(KEY, 3), 0, {"position": batch["position"][1]})
    play, drawn = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(keys)[:2]
    z, own = Latent()(play, 3), jax.vmap(lambda key: jax.random.fold_in(key, 2**31))(play)

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
    keys = keys_of(jax.random.fold_in(KEY, 0), 0, {"position": batch["position"][0]})
    z = Latent()(jax.vmap(lambda key: jax.random.split(key, 4))(keys)[:, 0], 2)
    label = batch["label"][0]
    fake = method.make(method.generator).apply(state.params["generator"], z, label)
    said = [method.critic().apply(state.params["discriminator"], x) for x in (batch["x"][0], fake)]
    entropy = sum(optax.softmax_cross_entropy_with_integer_labels(x[:, 1:], label).mean() for x in said)
    metrics = step(state, batch)[1]
    np.testing.assert_allclose(metrics["d_class_loss"], entropy, rtol=1e-5)
    np.testing.assert_allclose(metrics["d_real"], said[0][:, 0].mean(), rtol=1e-5)
    assert metrics["g_class_loss"] > 0


def test_weights_are_cut_after_every_update_of_the_discriminator_alone():
    method = gan(clip_weights=0.02, loss=Wasserstein(), penalty=penalties.none)
    state, batch, step = start(method)
    new, _ = step(state, batch)
    assert max(float(jnp.abs(w).max()) for w in jax.tree.leaves(new.params["discriminator"])) <= 0.02
    assert max(float(jnp.abs(w).max()) for w in jax.tree.leaves(new.params["generator"])) > 0.02


class Halved(Augment):
    """Images at half their contrast, so that a gradient with respect to the image before is half of that after."""

    def strength(self, history, seen):
        return jnp.ones(())

    def __call__(self, x, keys, p):
        return 0.5 * x


def test_penalties_are_taken_through_the_augmentation_to_the_image_before_it():
    images = Space("images", (8, 8, 1))
    networks = {
        "generator": partial(DcganGenerator, width=4, latent=3),
        "discriminator": partial(DcganDiscriminator, width=4),
    }
    method = gan(images, augment=Halved(), penalty=R1(gamma=1.0), optimizer=optax.sgd(0.0), **networks)
    state, batch, step = start(method)
    metrics = step(state, batch)[1]
    D, x = method.critic(), images.to_model(batch["x"][0])
    gradient = jax.grad(lambda x: D.apply(state.params["discriminator"], 0.5 * x).sum())(x)
    np.testing.assert_allclose(metrics["penalty"], 0.5 * jnp.mean(jnp.sum(gradient**2, (1, 2, 3))), rtol=1e-5)
    expected = D.apply(state.params["discriminator"], 0.5 * x).mean()
    np.testing.assert_allclose(metrics["d_real"], expected, rtol=1e-4, atol=1e-7)


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


class Dimmed(Augment):
    """Each image at a contrast of its own."""

    def strength(self, history, seen):
        return jnp.ones(())

    def __call__(self, x, keys, p):
        return x * jax.vmap(jax.random.uniform)(keys).reshape(-1, 1, 1, 1)


def test_r2_sees_the_generated_images_as_the_loss_does():
    """Huang et al. 2024, in their code: both are of one forward pass of the augmented images."""
    images = Space("images", (8, 8, 1))
    networks = {"generator": partial(R3GANGenerator, **TINY_R3GAN), "discriminator": Judge}
    method = gan(images, augment=Dimmed(), penalty=R2(gamma=1.0), optimizer=optax.sgd(0.0), **networks)
    state, batch, step = start(method)
    metrics = step(state, batch)[1]
    position = {"position": batch["position"][0]}
    play, _, _, fake_keys = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(
        keys_of(jax.random.fold_in(KEY, 0), 0, position)
    )
    x = method.make(method.generator).apply(state.params["generator"], Latent()(play, 64))
    judge = partial(method.critic().apply, state.params["discriminator"])
    np.testing.assert_allclose(metrics["d_fake"], judge(Dimmed()(x, fake_keys, 1.0)).mean(), rtol=1e-4)
    gradient = jax.grad(lambda x: judge(Dimmed()(x, fake_keys, 1.0)).sum())(x)
    np.testing.assert_allclose(metrics["penalty"], 0.5 * jnp.mean(jnp.sum(gradient**2, (1, 2, 3))), rtol=1e-4)


def test_the_probability_of_augmentation_follows_the_signs_and_is_part_of_the_state():
    images = Space("images", (8, 8, 1))
    networks = {
        "generator": partial(DcganGenerator, width=4, latent=3),
        "discriminator": partial(DcganDiscriminator, width=4),
    }
    method = gan(images, augment=Ada(every=2, images=80.0), **networks)
    state, batch, step = start(method)
    probabilities = [float(state.extra["augment"]["p"])]
    for _ in range(4):
        state, metrics = step(state, batch)
        probabilities.append(float(state.extra["augment"]["p"]))
    assert metrics["augment_p"] == probabilities[3]  # what the last step used
    steps = np.abs(np.diff(probabilities))
    assert steps[0] == steps[2] == 0 and set(np.round(steps[[1, 3]], 5)) <= {0.0, 0.2}  # 16 images of 80


def test_a_run_can_be_told_to_be_ill():
    watch = Watchman()
    good = {"diversity": 0.8, "logit_gap": 1.0, "g_gradient_norm": 0.1}

    def said_of(*steps):
        """What it says of a line: the means of so many steps' values, and of what it saw in each."""
        seen = [good | step for step in steps]
        seen = [step | watch.signs(jax.tree.map(jnp.float32, step)) for step in seen]
        return watch({name: float(np.mean([step[name] for step in seen])) for name in seen[0]})

    assert said_of({}) == watch({"loss": 1.0}) == ""
    assert "collapsed in 100% of steps: samples spread less than 0.01 times" in said_of({"diversity": 0.005})
    assert "diverged in 100% of steps: samples spread more than 100 times" in said_of({"diversity": 200.0})
    assert "logits are more than 10000 apart (means: diversity 0.8, logit_gap -2e+04" in said_of({"logit_gap": -2e4})
    assert "starved in 100% of steps: the generator's gradient is" in said_of({"g_gradient_norm": 0.0})
    assert said_of({"diversity": 1e9}, {}, {}) == ""  # one wild step, whose mean over them is wild too
    assert "collapsed in 67% of steps" in said_of({"diversity": 1e9}, {"diversity": 0.0}, {"diversity": 0.0})
    assert gan(watchman=Watchman(patience=0.0)).patience == float("inf")


def test_impossible_settings_are_the_users_mistake():
    with pytest.raises(UserError, match="method.conditional: true, but the data set has no labels; it must be false"):
        gan(POINTS, conditional=True)
    with pytest.raises(UserError, match="method.d_steps: 0"):
        gan(d_steps=0)
    with pytest.raises(UserError, match="method.lazy: 0 must be at least 1"):
        gan(lazy=0)
    with pytest.raises(UserError, match="method.auxiliary: 1.0 asks for classes; method.conditional must be true"):
        gan(LABELLED, auxiliary=1.0)
    with pytest.raises(UserError, match="method.packing: 2 examples have no label in common"):
        gan(LABELLED, conditional=True, packing=2)
    with pytest.raises(UserError, match="method.augment: ada is of images, and points cannot be augmented; use none"):
        gan(augment=Ada())
    with pytest.raises(UserError, match="method.augment: edm tells what was done, and no discriminator asks"):
        gan(Space("images", (8, 8, 1)), augment=EdmAugment())
    for penalty, name in ((R1(), "r1"), (R1R2(), "r1_r2")):
        with pytest.raises(UserError, match=f"method.discriminator.norm: 'batch' .* method.penalty is {name}, of the"):
            gan(Space("images", (8, 8, 1)), penalty=penalty, discriminator=partial(DcganDiscriminator, norm="batch"))
    for loss in (Wasserstein(), Relativistic()):
        with pytest.raises(UserError, match="method.augment.target: 0.6 is of the signs of logits"):
            gan(Space("images", (8, 8, 1)), loss=loss, augment=Ada())
    with pytest.raises(UserError, match="method.lazy: 16 updates on a penalty, but method.penalty is none"):
        gan(lazy=16, penalty=penalties.none)
    with pytest.raises(UserError, match="method.generator.name: MlpDiscriminator is no generator"):
        gan(generator=partial(MlpDiscriminator, width=8))
    with pytest.raises(UserError, match="watchman.most_diversity: 0.001 is not above 0.01"):
        Watchman(most_diversity=0.001)
    with pytest.raises(UserError, match="size: 6 is .* groups of 4 .method.packing, .*minibatch_std.; 4 and 8 are"):
        check_batch(6, layout("jit", 1), together=gan(packing=4).together)
    with pytest.raises(UserError, match="sampler.steps: 2 must be 1"):
        Latent(steps=2)
    with pytest.raises(UserError, match="sampler.truncation: -1"):
        Latent(truncation=-1.0)
    with pytest.raises(UserError, match="sampler.psi: -1.0 must not be negative"):
        Latent(psi=-1.0)
    with pytest.raises(UserError, match="sampler.psi: 0.5 goes .* MlpGenerator has no styles; use 1"):
        gan().check_sampler(Latent(psi=0.5))
    styled().check_sampler(Latent(psi=0.5))
    with pytest.raises(UserError, match="method.path_length: 2.0 is of .* MlpGenerator has no styles; use 0"):
        gan(path_length=2.0)
    with pytest.raises(UserError, match="method.path_length: -1.0 must not be negative"):
        gan(path_length=-1.0)
    with pytest.raises(UserError, match="method.path_length_every: 0 must be at least 1"):
        gan(path_length_every=0)
