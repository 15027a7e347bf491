from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.stats import kstest

from diffjax.adversarial import DRAGAN, PENALTIES, R1, R1R2, R2, GradientPenalty, PenaltyInputs, Relativistic
from diffjax.adversarial.penalties import clip_weights
from diffjax.errors import UserError
from diffjax.models.dcgan import DcganDiscriminator
from diffjax.models.layers import blur, conv, downsample, upsample
from diffjax.parallel import Axis
from diffjax.precision import Precision

KEYS = jax.random.split(jax.random.key(0), 5)
BOTH = ("r2", "r1_r2", "wgan_gp")  # those that look at generated images


def penalty_of(penalty, critic, real, fake=None, seen=0.0):
    @jax.jit
    def value(real, fake, keys, seen):
        return penalty(PenaltyInputs(critic, real, keys, fake, seen=seen))

    return value(real, fake, KEYS[: len(real)], seen)


@pytest.fixture
def quadratic(x64):
    """D(x) = x'Ax / 2 + b'x, its gradient by hand, and real and generated points."""
    rng = np.random.default_rng(0)
    a, b, real, fake = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    critic = lambda x: 0.5 * jnp.einsum("bi,ij,bj->b", x, a, x) + x @ b  # noqa: E731
    return critic, lambda x: x @ (a + a.T) / 2 + b, real, fake


def test_r1_r2_and_both_on_a_quadratic_critic_are_their_closed_forms(quadratic):
    critic, gradient, real, fake = quadratic
    at_real, at_fake = (np.sum(gradient(x) ** 2, axis=1) for x in (real, fake))
    value = partial(penalty_of, critic=critic, real=jnp.asarray(real), fake=jnp.asarray(fake))
    np.testing.assert_allclose(value(R1(gamma=4.0)), 2.0 * at_real, rtol=1e-12)
    np.testing.assert_allclose(value(R2(gamma=4.0)), 2.0 * at_fake, rtol=1e-12)
    np.testing.assert_allclose(value(R1R2(gamma=4.0)), 2.0 * (at_real + at_fake), rtol=1e-12)


def test_the_gradient_penalty_on_a_quadratic_critic_is_its_closed_form_where_it_was_drawn(quadratic):
    critic, gradient, real, fake = quadratic
    u = np.stack([jax.random.uniform(key, (), float) for key in KEYS])[:, None]
    size = np.linalg.norm(gradient(u * real + (1 - u) * fake), axis=1)
    for penalty in (GradientPenalty(), GradientPenalty(weight=3.0, norm=0.0)):
        found = penalty_of(penalty, critic, jnp.asarray(real), jnp.asarray(fake))
        np.testing.assert_allclose(found, penalty.weight * (size - penalty.norm) ** 2, rtol=1e-12)


def test_dragan_on_a_quadratic_critic_is_its_closed_form_where_it_was_drawn(quadratic):
    critic, gradient, real, _ = quadratic
    delta = np.stack([jax.random.normal(key, (3,), float) for key in KEYS])
    found = penalty_of(DRAGAN(noise=0.4, weight=2.0), critic, jnp.asarray(real))
    norm = np.linalg.norm(gradient(real + 0.4 * delta), axis=1)
    np.testing.assert_allclose(found, 2.0 * (norm - 1) ** 2, rtol=1e-12)


def test_the_gradient_penalty_looks_uniformly_along_the_segment_and_dragan_normally_around_the_data(x64):
    """Read off a critic whose gradient is the point it is asked about, D(x) = |x|^2 / 2: from 0 to 1, and around 0."""
    keys = jax.random.split(jax.random.key(3), 2000)
    one, zero = jnp.ones((2000, 1)), jnp.zeros((2000, 1))
    critic = lambda x: 0.5 * jnp.sum(x**2, axis=1)  # noqa: E731

    @partial(jax.jit, static_argnums=2)
    def look(real, fake, penalty):
        return jnp.sqrt(penalty(PenaltyInputs(critic, real, keys, fake)))

    u = look(one, zero, GradientPenalty(weight=1.0, norm=0.0))
    assert kstest(u, "uniform").pvalue > 0.01
    size = look(zero, None, DRAGAN(weight=1.0, norm=0.0, noise=0.3))
    assert kstest(size / 0.3, "halfnorm").pvalue > 0.01


def test_a_linear_critic_pays_the_same_wherever_it_is_asked(x64):
    w = np.array([3.0, -4.0])  # of norm 5
    real, fake = jnp.ones((5, 2)), jnp.zeros((5, 2))
    for name, value in {"r1": 125.0, "r2": 125.0, "r1_r2": 250.0, "wgan_gp": 160.0, "dragan": 160.0}.items():
        found = penalty_of(PENALTIES[name](), lambda x: x @ w, real, fake)
        np.testing.assert_allclose(found, value, rtol=1e-12)


def test_r1_sums_over_pixels():
    """The gradient of an image's sum is one at each of its pixels."""
    found = penalty_of(R1(gamma=10.0), lambda x: x.sum((1, 2, 3)), jnp.zeros((5, 4, 6, 3)))
    np.testing.assert_allclose(found, 5.0 * 4 * 6 * 3)


def test_r1_decays_the_weights_of_a_linear_critic():
    w, x = jnp.array([1.0, -2.0, 0.5]), jnp.ones((5, 3))
    gradient = jax.grad(lambda w: penalty_of(R1(gamma=3.0), lambda x: x @ w, x).mean())(w)
    np.testing.assert_allclose(gradient, 3.0 * w, rtol=1e-6)


@pytest.mark.parametrize("name", ["wgan_gp", "dragan"])
def test_a_critic_without_slope_has_a_finite_gradient_and_one_that_is_not_a_number_shows(name):
    x = jnp.ones((5, 3))
    value = jax.jit(
        jax.value_and_grad(lambda w: penalty_of(PENALTIES[name](), lambda x: x @ w, x, -x).mean()),
    )
    flat, tiny, unknown = np.zeros((3, 3), np.float32) + np.float32([[0.0], [1e-12], [np.nan]])
    assert value(flat)[0] == 10.0
    np.testing.assert_array_equal(value(flat)[1], 0)
    np.testing.assert_allclose(value(tiny)[1], -20 / np.sqrt(3), rtol=1e-6)  # 2 weight (norm - 1) w / norm
    assert np.isnan(value(unknown)[0])


def test_an_image_pays_the_same_whatever_the_others_in_its_batch(x64):
    """So that a penalty does not depend on how the batch is divided over devices."""
    real, fake = np.random.default_rng(0).normal(size=(2, 5, 3))
    made = {name: make() for name, make in PENALTIES.items()}

    @jax.jit
    def values(real, fake, keys):
        at = PenaltyInputs(lambda x: jnp.tanh(x).sum(1), real, keys, fake)
        return {name: penalty(at) for name, penalty in made.items()}

    one = values(real, fake, KEYS)
    real[1:] *= -7
    fake[1:] += 3
    other = values(real, fake, KEYS.at[1:].set(KEYS[1:][::-1]))
    for name in PENALTIES:
        assert one[name].shape == (5,)
        assert one[name][0] == other[name][0]
        assert name == "none" or not np.any(one[name][1:] == other[name][1:])


def test_r1_and_r2_do_not_see_a_constant_added_to_the_discriminator_so_rpgan_never_does(x64):
    """Discriminator's loss, both penalties, generator's loss, and all their gradients; none in the constant itself."""
    rng = np.random.default_rng(0)
    real, fake = jnp.asarray(rng.normal(size=(5, 3))), jnp.asarray(rng.normal(size=(5, 3)))
    d = {"w": jnp.asarray(rng.normal(size=(3, 4))), "v": jnp.asarray(rng.normal(size=4)), "constant": jnp.zeros(())}

    def losses(d, fake):
        critic = lambda x: jnp.tanh(x @ d["w"]) @ d["v"] + d["constant"]  # noqa: E731
        loss, logits = Relativistic(), (critic(real), critic(fake))
        penalty = penalty_of(R1R2(), critic, real, fake)
        return jnp.stack([loss.discriminator(*logits), penalty, loss.generator(*logits)]).mean(1)

    everything = jax.jit(lambda d, fake: (losses(d, fake), *jax.jacrev(losses, (0, 1))(d, fake)))
    here, there = everything(d, fake), everything(d | {"constant": jnp.asarray(11.0)}, fake)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-11, atol=1e-13), there, here)
    np.testing.assert_allclose(there[1]["constant"], 0, atol=1e-16)


class Resampler(nn.Module):
    """A critic of everything that ours are built of: convolutions, plain and grouped, and changes of resolution."""

    taps: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        kwargs = {"dtype": jnp.float64, "param_dtype": jnp.float64}
        x = nn.swish(conv(4, name="in", **kwargs)(x))
        x = downsample(x, self.taps)
        x = nn.swish(conv(4, feature_group_count=2, name="grouped", **kwargs)(x))
        x = upsample(x, self.taps)
        x = conv(2, stride=2, padding="VALID", name="strided", **kwargs)(blur(x, (1, 3, 3, 1)))
        return nn.Dense(1, name="logit", **kwargs)(x.reshape(len(x), -1))[:, 0]


def parameters(network, x):
    """Normal ones, of deviation a half."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda w: jnp.asarray(rng.normal(scale=0.5, size=w.shape)), shapes)


def assert_slope(value, params, size=1e-6):
    """The slope of value(params) in a random direction: its gradient's, and that of central differences."""
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda w: rng.normal(size=w.shape), params)
    value_and_gradient = jax.jit(jax.value_and_grad(value))
    at = lambda step: value_and_gradient(jax.tree.map(lambda w, d: w + step * d, params, direction))  # noqa: E731
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), at(0.0)[1], direction)))
    np.testing.assert_allclose(slope, (at(size)[0] - at(-size)[0]) / (2 * size), rtol=1e-7)


@pytest.mark.parametrize(("name", "taps"), [("r2", (1, 1)), ("wgan_gp", (1, 3, 3, 1))])
def test_penalties_through_convolutions_and_resampling_have_the_gradient_of_finite_differences(name, taps, x64):
    network = Resampler(taps)
    real, fake = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3, 4, 4, 2)))
    critic = lambda params: lambda x: network.apply(params, x)  # noqa: E731
    params = parameters(network, real)
    assert_slope(lambda params: penalty_of(PENALTIES[name](), critic(params), real, fake).mean(), params)


def test_the_slope_at_an_image_through_convolutions_and_resampling_is_that_of_finite_differences(x64):
    """The first of the two derivatives, pixel by pixel."""
    network = Resampler((1, 3, 3, 1))
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 4, 4, 2)))
    params = parameters(network, x)
    pixels = 1e-6 * np.eye(32).reshape(32, 1, 4, 4, 2)

    @jax.jit
    def both(x):
        critic = lambda x: network.apply(params, x)  # noqa: E731
        ahead, behind = (critic((x + step).reshape(-1, 4, 4, 2)).reshape(32, 2) for step in (pixels, -pixels))
        return penalty_of(R1(gamma=2.0), critic, x), jnp.sum(((ahead - behind) / 2e-6) ** 2, axis=0)

    np.testing.assert_allclose(*both(x), rtol=1e-7)


def test_the_gradient_of_r1_through_a_dcgan_is_that_of_finite_differences(x64):
    network = DcganDiscriminator((8, 8, 2), 0, Precision("float64", "float64"), Axis(), width=3)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(4, 8, 8, 2)))
    params = parameters(network, x)
    assert_slope(lambda params: penalty_of(R1(), lambda x: network.apply(params, x), x).mean(), params)


@pytest.mark.parametrize("name", ["r1", "r2", "r1_r2"])
def test_gamma_goes_from_its_first_value_to_its_last_on_half_a_cosine(name, x64):
    penalty = PENALTIES[name](gamma=4.0, gamma_last=2.0, ramp_images=100.0)
    x = jnp.ones((1, 1))
    value = jax.jit(lambda seen: penalty_of(penalty, lambda x: x[:, 0], x, x, seen)[0])  # gradient one: gamma / 2
    each = 2 if name == "r1_r2" else 1
    quarter = 2 + (1 + np.cos(np.pi / 4))
    for seen, gamma in ((0, 4.0), (25, quarter), (50, 3.0), (100, 2.0), (10**6, 2.0)):
        np.testing.assert_allclose(value(jnp.float64(seen)), each * gamma / 2, rtol=1e-12)
    steady = PENALTIES[name](gamma=4.0)
    np.testing.assert_allclose(penalty_of(steady, lambda x: x[:, 0], x, x, 10**6), each * 2.0)


def test_none_is_no_penalty():
    np.testing.assert_array_equal(penalty_of(PENALTIES["none"](), lambda x: x.sum(1), jnp.ones((5, 3))), np.zeros(5))


@pytest.mark.parametrize("name", ["r1", "dragan", "none"])
def test_what_looks_at_real_images_only_needs_no_others(name):
    assert np.all(np.isfinite(penalty_of(PENALTIES[name](), lambda x: x.sum(1), jnp.ones((5, 3)))))


@pytest.mark.parametrize("name", BOTH)
def test_what_looks_at_generated_images_says_so_without_them(name):
    with pytest.raises(UserError, match=f"penalty: {name} needs generated images") as error:
        penalty_of(PENALTIES[name](), lambda x: x.sum(1), jnp.ones((5, 3)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: R1(gamma=-1.0), "gamma: -1.0"),
        (lambda: R2(gamma=float("nan")), "gamma: nan"),
        (lambda: R1R2(gamma_last=-1.0, ramp_images=5.0), "gamma_last: -1.0"),
        (lambda: R1(gamma_last=0.5), "gamma_last: 0.5 is never reached"),
        (lambda: R1(ramp_images=-3.0), "ramp_images: -3.0"),
        (lambda: GradientPenalty(weight=-1.0), "weight: -1.0"),
        (lambda: DRAGAN(weight=-1.0), "weight: -1.0"),
        (lambda: DRAGAN(norm=-1.0), "norm: -1.0"),
        (lambda: DRAGAN(noise=-1.0), "noise: -1.0"),
    ],
)
def test_a_penalty_that_makes_no_sense_is_the_users_mistake(make, field):
    with pytest.raises(UserError, match=f"penalty.{field}") as error:
        make()
    assert "\n" not in str(error.value)


def test_clipping_projects_every_weight_and_moves_none_that_is_inside():
    params = {"dense": {"kernel": jnp.array([[-3.0, 0.005], [0.01, 2.0]]), "bias": jnp.array([-0.02])}}
    clipped = clip_weights(params, 0.01)
    np.testing.assert_array_equal(clipped["dense"]["kernel"], np.float32([[-0.01, 0.005], [0.01, 0.01]]))
    np.testing.assert_array_equal(clipped["dense"]["bias"], np.float32([-0.01]))
    jax.tree.map(np.testing.assert_array_equal, clip_weights(clipped, 0.01), clipped)  # a projection
