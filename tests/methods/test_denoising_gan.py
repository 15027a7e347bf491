"""A denoising diffusion GAN: its examples are steps of the chain, and with one step it is a GAN."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from diffjax.augment import Ada
from diffjax.data.space import Space
from diffjax.diffusion import EDM, Ancestral, VPLinear, VPSteps, grid
from diffjax.diffusion.denoiser import Denoiser, Prediction
from diffjax.errors import UserError
from diffjax.methods.denoising_gan import ChainKeys, DenoisingGAN, DenoisingSteps
from diffjax.methods.gan import GAN
from diffjax.models.denoising_gan import DenoisingDiscriminator, DenoisingGenerator
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.optim.ema import HalfLife
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.methods.games import batches
from tests.models.trained import trained

IMAGES = Space("images", (8, 8, 1), num_classes=3)
SMALL = {
    "generator": partial(MlpGenerator, width=16, latent=4),
    "discriminator": partial(MlpDiscriminator, width=16),
}
IMAGE_NETWORKS = {
    "generator": partial(DenoisingGenerator, channels=8, multipliers=(1, 1), blocks=1, attention=(), latent=4, style=8),
    "discriminator": partial(DenoisingDiscriminator, width=8, multipliers=(1, 1), embedding=8),
}


def ddgan(space=IMAGES, **fields):
    run = {"precision": Precision(), "ema": HalfLife(0.0), "batch_size": 8, "accumulate": 1}
    optimizers = dict.fromkeys(DenoisingGAN.networks, optax.sgd(0.1))
    return DenoisingGAN(space=space, optimizers=optimizers, **run | SMALL | fields)


class Truth(nn.Module):
    """A generator that knows x0 beforehand: always `value`."""

    shape: tuple
    num_classes: int
    precision: Precision
    axis: Axis
    value: float = 0.3
    latent: int = 1

    @nn.compact
    def __call__(self, z, x_t, t, label=None, train=False):
        return jnp.full_like(x_t, self.value) + self.param("none", nn.initializers.zeros_init(), ())


def test_one_step_trains_both_networks_and_averages_the_generator():
    method = ddgan(conditional=True, **IMAGE_NETWORKS)
    batch = batches(method)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    new, metrics = jax.jit(partial(method.step, axis=Axis()))(state, batch, jax.random.key(1))
    assert list(new.ema) == ["generator"] and new.step == 1 and new.extra["first_bad_step"] == -1
    assert metrics["g_gradient_norm"] > 0 and metrics["d_gradient_norm"] > 0


def test_a_generator_that_knows_x0_forges_what_cannot_be_told_from_the_chain(x64):
    """x_s ~ q(x_s | x_t, x0) after x_t ~ q(x_t | x0) has the moments of x_s ~ q(x_s | x0), jointly with x_t."""
    space = Space("images", (4, 4, 1))
    double = Precision("float64", "float64")
    method = ddgan(space, generator=Truth, process=VPSteps(timesteps=3), precision=double)
    stored = jnp.full((4000, 4, 4, 1), round((0.3 + 1) * 127.5), jnp.uint8)
    value = float(space.to_model(stored[:1])[0, 0, 0, 0])
    method = ddgan(space, generator=partial(Truth, value=value), process=VPSteps(timesteps=3), precision=double)
    variables = {"params": {"none": jnp.zeros(())}}
    keys = jax.random.split(jax.random.key(3), 4000)
    examples = method.draw_examples(variables, {"x": stored, "label": jnp.zeros(4000, jnp.int32)}, keys, Axis())
    t = examples.inputs["t"]
    assert set(np.unique(t)) == {0, 1, 2}
    for n in range(3):
        real, fake, x_t = (
            np.asarray(x[t == n]).reshape(-1) for x in (examples.real, examples.fake, examples.inputs["x_t"])
        )
        s = n / 3
        alpha, sigma = float(method.process.alpha(jnp.asarray(s))), float(method.process.sigma(jnp.asarray(s)))
        error = 5 / np.sqrt(len(real))
        for sort in (real, fake):
            np.testing.assert_allclose(sort.mean(), alpha * value, atol=error * max(sigma, 1e-9) + 1e-12)
            np.testing.assert_allclose(sort.std(), sigma, atol=error * sigma + 1e-12)
        np.testing.assert_allclose(np.cov(real, x_t)[0, 1], np.cov(fake, x_t)[0, 1], atol=3 * error)


def test_sampling_is_the_ancestral_sampler_of_a_generator_without_chance():
    method = ddgan(Space("images", (4, 4, 1)), generator=Truth, process=VPSteps(timesteps=4))
    keys = jax.random.split(jax.random.key(0), 5)
    variables = {"generator": {"params": {"none": jnp.zeros(())}}}
    drawn = method.sample(variables, DenoisingSteps(), keys, None, trajectory=True)
    assert jnp.all(drawn.nfe == 4) and drawn.x_t.shape == drawn.x0_hat.shape == (4, 5, 4, 4, 1)
    np.testing.assert_allclose(drawn.x0, 0.3, atol=1e-6)  # the last step adds no noise
    # The spread along the way is the chain's, as the ancestral sampler with the posterior's variance has it.
    walk = Ancestral(steps=4, variance="small")
    known = Denoiser(lambda x_t, t, label: Prediction(jnp.full_like(x_t, 0.3)))
    keys = jax.random.split(jax.random.key(0), 3000)
    ours = method.sample(variables, DenoisingSteps(), keys, None, trajectory=True)
    x = method.process.sigma(jnp.ones(())) * jax.random.normal(jax.random.key(1), (3000, 4, 4, 1))
    theirs = walk(method.process, known, x, grid.linear(method.process, 4), keys, trajectory=True)
    np.testing.assert_allclose(ours.x_t.std((1, 2, 3, 4)), theirs.x_t.std((1, 2, 3, 4)), rtol=0.02)
    np.testing.assert_allclose(ours.x_t.mean((1, 2, 3, 4)), theirs.x_t.mean((1, 2, 3, 4)), atol=0.02)
    for i, t in enumerate((1.0, 0.75, 0.5)):  # a walk: what comes next is as near to what was as the chain has it
        s, t = jnp.asarray(t - 0.25), jnp.asarray(t)
        expected = method.process.transition(s, t)[0] * method.process.sigma(s) / method.process.sigma(t)
        for states in (ours.x_t, theirs.x_t):
            found = np.corrcoef(states[i].reshape(-1), states[i + 1].reshape(-1))[0, 1]
            np.testing.assert_allclose(found, expected, atol=0.02)


def test_with_one_step_it_is_a_gan():
    """x_1 is noise, whatever the example, and what is forged is the generator's own x0."""
    method = ddgan(process=VPSteps(timesteps=1))
    batch = batches(method)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    own = jax.tree.map(lambda x: x[0], batch)
    keys = jax.random.split(jax.random.key(5), 8)
    examples = method.draw_examples(state.params["generator"], own, keys, Axis())
    np.testing.assert_allclose(examples.real, method.space.to_model(own["x"]), atol=1e-6)
    other = method.draw_examples(state.params["generator"], own | {"x": 255 - own["x"]}, keys, Axis())
    assert jnp.abs(other.real - examples.real).max() > 1
    np.testing.assert_allclose(other.inputs["x_t"], examples.inputs["x_t"], atol=0.05)  # alpha(1) = 0.007 of it
    beside = {"x_t": examples.inputs["x_t"], "t": examples.inputs["t"]}
    drawn = ChainKeys(*jax.vmap(lambda key: jax.random.split(key, 5), out_axes=1)(keys))
    forged, _ = method.generate(state.params["generator"], drawn.z, Axis(), **beside)
    np.testing.assert_allclose(examples.fake, forged, atol=1e-6)  # with no noise added


def test_with_one_step_its_update_is_a_gans(x64):
    """Networks that look at neither x_t nor t, one step from noise, and the same z: both games move them alike."""

    class Forger(Truth):
        latent: int = 3

        @nn.compact
        def __call__(self, z, x_t=None, t=None, label=None, train=False):
            return nn.Dense(16, param_dtype="float64")(z).reshape(-1, 4, 4, 1)

    class Judge(Truth):
        @nn.compact
        def __call__(self, x, x_t=None, t=None, label=None, train=False):
            return nn.Dense(1, param_dtype="float64")(jnp.tanh(x.reshape(len(x), -1)))[:, 0]

    class Plain(GAN):
        def draw_examples(self, generator, batch, keys, axis):
            z = jax.vmap(lambda key: jax.random.split(key, len(ChainKeys._fields)), out_axes=1)(keys)[-1]
            return super().draw_examples(generator, batch, z, axis)

    networks = {"generator": Forger, "discriminator": Judge, "precision": Precision("float64", "float64")}
    bridge = ddgan(Space("images", (4, 4, 1)), process=VPSteps(timesteps=1), **networks)
    run = {"optimizers": bridge.optimizers, "ema": bridge.ema, "batch_size": 8, "accumulate": 1}
    plain, batch = Plain(space=bridge.space, **networks, **run), batches(bridge)
    state = jax.jit(plain.init)(jax.random.key(0), batch)
    ours, theirs = (jax.jit(partial(m.step, axis=Axis()))(state, batch, jax.random.key(1)) for m in (bridge, plain))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), ours, theirs)
    assert ours[1]["d_gradient_norm"] > 0.01 and ours[1]["penalty"] > 0


def test_dropout_acts_in_training_and_never_in_samples():
    def game(dropout):
        generator = partial(IMAGE_NETWORKS["generator"], multipliers=(1,), dropout=dropout)
        return ddgan(Space("images", (4, 4, 1)), generator=generator, process=VPSteps(timesteps=1))

    x, t, keys = jnp.ones((3, 4, 4, 1)), jnp.zeros(3), jax.random.split(jax.random.key(0), 3)
    variables = trained(game(0.0).make(game(0.0).generator), jnp.zeros((3, 4)), x, t)

    def generated(dropout):
        return jax.jit(lambda keys: game(dropout).generate(variables, keys, Axis(), x_t=x, t=t)[0])(keys)

    def sampler(dropout):
        given = {"generator": variables}, DenoisingSteps(1)
        return str(jax.make_jaxpr(lambda keys: game(dropout).sample(*given, keys, None).x0)(keys))

    assert jnp.abs(generated(0.5) - generated(0.0)).max((1, 2, 3)).min() > 0.01
    assert sampler(0.5) == sampler(0.0)


def test_the_chain_meets_the_vp_process_whose_steps_it_takes(x64):
    """Xiao et al. 2021, appendix B.1: alpha at step n is that of the continuous process at t_n, relative to t_min."""
    vp, t_min = VPLinear(), 1e-3
    for steps in (1, 2, 4, 8):
        chain = VPSteps(timesteps=steps)
        n = jnp.arange(steps + 1)
        t = t_min + (1 - t_min) * n / steps
        np.testing.assert_allclose(chain.alpha(n / steps), vp.alpha(t) / vp.alpha(jnp.asarray(t_min)), rtol=1e-12)


def test_an_example_depends_on_its_key_alone():
    method = ddgan()
    state = jax.jit(method.init)(jax.random.key(0), batches(method))
    keys = jax.random.split(jax.random.key(1), 6)
    draw = jax.jit(lambda keys: method.sample(state.ema, DenoisingSteps(), keys, None).x0)
    np.testing.assert_allclose(draw(keys)[4:], draw(keys[4:]), atol=1e-5)


def test_a_collapse_is_seen_through_the_noise_of_the_chain():
    """A generator of one x0: what it forges has the chain's noise and much of x_t, and yet no diversity."""
    method = ddgan(Space("images", (4, 4, 1)), generator=Truth)
    batch = batches(method)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    _, metrics = jax.jit(partial(method.step, axis=Axis()))(state, batch, jax.random.key(1))
    values = {name: float(value) for name, value in metrics.items()}
    assert values["diversity"] < 1e-6 and "collapsed" in method.complaint(values)


def test_without_a_latent_there_is_one_x0_for_each_x_t():
    generator = partial(IMAGE_NETWORKS["generator"], latent=0)
    method = ddgan(generator=generator, discriminator=IMAGE_NETWORKS["discriminator"])
    shapes = jax.eval_shape(method.init, jax.random.key(0), batches(method))
    assert not any("style" in name for name in shapes.params["generator"]["params"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"process": EDM()}, "method.process: edm has no steps to undo; take vp_steps"),
        ({"packing": 2}, "method.packing: 2 packed examples would differ in time"),
        ({"augment": Ada()}, "method.augment: ada would transform x_s, but not the x_t shown beside it; use none"),
    ],
)
def test_what_makes_no_sense_is_one_line(fields, message):
    with pytest.raises(UserError, match=message):
        ddgan(**fields)


def test_a_sampler_of_another_length_is_one_line():
    with pytest.raises(UserError, match="sampler.steps: 2 must be the 4 of method.process"):
        ddgan().check_sampler(DenoisingSteps(steps=2))
