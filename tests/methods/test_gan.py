from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from diffjax.adversarial import R1, NonSaturating, penalties
from diffjax.data.space import Space
from diffjax.ema import HalfLife
from diffjax.errors import UserError
from diffjax.methods.gan import GAN, Latent
from diffjax.methods.method import keys_of
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.parallel import Axis
from diffjax.precision import Precision

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


def test_one_step_is_the_two_descents_of_the_paper_one_after_the_other():
    method = gan(penalty=R1(gamma=0.3))
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
            return jnp.mean(nn.softplus(-D.apply(d, G.apply(g, noise(1)))))

        d_value, gradient = jax.value_and_grad(d_loss)(d)
        d = jax.tree.map(lambda w, slope: w - 0.1 * slope, d, gradient)
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
    class Relativistic(NonSaturating):
        def generator(self, real, fake):
            return nn.softplus(real - fake)

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
        *("d_loss", "g_loss", "penalty", "d_real", "d_fake", "d_accuracy", "d_gradient_norm", "g_gradient_norm")
    }


def test_a_step_that_is_not_finite_is_marked():
    method = gan()
    state, batch, step = start(method)
    new, _ = step(state, batch | {"x": batch["x"].at[0, 3].set(jnp.nan)})
    assert new.extra["first_bad_step"] == 1


def test_accuracy_is_the_share_of_logits_on_the_right_side_of_zero():
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
    expected = {"d_accuracy": 14 / 16, "d_real": 1.0, "d_fake": -2.0, "penalty": 0.5 * 2}
    assert_equal({name: metrics[name] for name in expected}, expected, rtol=1e-6)


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


def test_four_devices_take_the_step_of_one_batch_statistics_included(x64):
    """`vmap` over a named axis has pmap's collectives."""
    method = gan(
        Space("images", (8, 8, 1), num_classes=3),
        double=True,
        conditional=True,
        generator=partial(DcganGenerator, width=4, latent=3),
        discriminator=partial(DcganDiscriminator, width=4),
        penalty=R1(gamma=1.0),
    )
    state, batch, step = start(method)
    shards = jax.tree.map(lambda x: x.reshape(2, 4, -1, *x.shape[2:]), batch)
    mapped = jax.jit(jax.vmap(partial(method.step, axis=Axis("data")), (None, 1, None), axis_name="data"))
    one, many = step(state, batch), mapped(state, shards, KEY)
    for device in range(4):
        assert_equal(one, jax.tree.map(lambda x: x[device], many), rtol=1e-9, atol=1e-12)  # noqa: B023


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


def test_impossible_settings_are_the_users_mistake():
    with pytest.raises(UserError, match="method.conditional"):
        gan(POINTS, conditional=True)
    with pytest.raises(UserError, match="method.d_steps: 0"):
        gan(d_steps=0)
    with pytest.raises(UserError, match="sampler.steps: 2 must be 1"):
        Latent(steps=2)
    with pytest.raises(UserError, match="sampler.truncation: -1"):
        Latent(truncation=-1.0)
