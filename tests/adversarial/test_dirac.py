"""The Dirac-GAN (Mescheder et al. 2018, section 2): data at 0, a generator that is a point theta, D(x) = psi x.

Both players take plain gradient steps of size h towards their one equilibrium, (theta, psi) = (0, 0). Simultaneous
updates move both from where both stand; alternating ones move the discriminator first, then the generator against the
new discriminator, as `diffjax.methods.gan` does with d_steps = 1. Nothing here is derived by hand but what is expected:
every gradient is that of the library's own losses and penalties.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.adversarial import (
    R1,
    R1R2,
    R2,
    GradientPenalty,
    Minimax,
    NonSaturating,
    NoPenalty,
    PenaltyInputs,
    Relativistic,
    Wasserstein,
)
from diffjax.adversarial.penalties import clip_weights

pytestmark = pytest.mark.usefixtures("x64")
FREE = NoPenalty()


def players(loss, penalty=FREE):
    """(d_loss(psi, theta), g_loss(theta, psi)), of one real and one generated example."""
    real, keys = jnp.zeros((1, 1)), jax.random.split(jax.random.key(0), 1)

    def d_loss(psi, theta):
        critic, fake = (lambda x: psi * x[:, 0]), theta.reshape(1, 1)
        value = loss.discriminator(critic(real), critic(fake)) + penalty(PenaltyInputs(critic, real, keys, fake))
        return value[0]

    def g_loss(theta, psi):
        return loss.generator(psi * real[:, 0], psi * theta.reshape(1))[0]

    return d_loss, g_loss


def simultaneous(h, loss, penalty=FREE, project=lambda psi: psi):
    """(theta, psi) -> (theta, psi): both players move from where both stand."""
    d_loss, g_loss = players(loss, penalty)

    def step(state):
        theta, psi = state
        return jnp.stack([theta - h * jax.grad(g_loss)(theta, psi), project(psi - h * jax.grad(d_loss)(psi, theta))])

    return step


def alternating(h, loss, penalty=FREE, project=lambda psi: psi):
    """(theta, psi) -> (theta, psi): the discriminator moves, then the generator sees the new one."""
    d_loss, g_loss = players(loss, penalty)

    def step(state):
        theta, psi = state
        psi = project(psi - h * jax.grad(d_loss)(psi, theta))
        return jnp.stack([theta - h * jax.grad(g_loss)(theta, psi), psi])

    return step


RULES = pytest.mark.parametrize("rule", [simultaneous, alternating])


def run(step, steps, *starts):
    """The states (theta, psi) from each start: [starts, steps + 1, ..., 2], or [steps + 1, 2] from (1, 1)."""

    @partial(jax.jit, static_argnums=1)
    @partial(jax.vmap, in_axes=(0, None))
    def trajectory(start, steps):
        states = jax.lax.scan(lambda state, _: (step(state), step(state)), start, None, steps)[1]
        return jnp.concatenate([start[None], states])

    states = np.asarray(trajectory(jnp.array(starts or [(1.0, 1.0)], float), steps))
    return states if starts else states[0]


def together(*steps):
    """Several games played at once: states [games, 2] -> [games, 2]."""
    return lambda states: jnp.stack([step(state) for step, state in zip(steps, states, strict=True)])


def square(states):
    """theta^2 + psi^2."""
    return np.sum(states**2, axis=-1)


def linear(rule, h, slope, gamma=0.0):
    """The step near the equilibrium, where the losses of logits have this slope."""
    d = np.array([[1, 0], [-h * slope, 1 - h * gamma]])
    g = np.array([[1, h * slope], [0, 1]])
    return d + g - np.eye(2) if rule is simultaneous else g @ d


@RULES
def test_eigenvalues_at_the_equilibrium_are_those_of_the_paper(rule):
    """f' = 1/2, or 1 for Wasserstein. No penalty: their modulus is sqrt(1 + (h f')^2), in alternating steps exactly 1.

    With R1 they are 1 + h (-gamma / 2 +- sqrt(gamma^2 / 4 - f'^2)) in simultaneous steps: within 1 for small h.
    """
    h, gamma = 0.1, 0.5
    games = {
        "minimax": (Minimax(), FREE, 0.5, 0.0),
        "non_saturating": (NonSaturating(), FREE, 0.5, 0.0),
        "relativistic": (Relativistic(), FREE, 0.5, 0.0),
        "wasserstein": (Wasserstein(), FREE, 1.0, 0.0),
        "r1": (NonSaturating(), R1(gamma), 0.5, gamma),
        "r2": (NonSaturating(), R2(gamma), 0.5, gamma),
        "wasserstein_r1": (Wasserstein(), R1(gamma), 1.0, gamma),
    }
    jacobians = jax.jit(lambda at: {name: jax.jacobian(rule(h, *game[:2]))(at) for name, game in games.items()})
    for name, jacobian in jacobians(jnp.zeros(2)).items():
        *_, slope, gamma = games[name]
        np.testing.assert_allclose(jacobian, linear(rule, h, slope, gamma), atol=1e-15)
        eigenvalues = np.linalg.eigvals(jacobian)
        if rule is simultaneous:
            root = np.sqrt(gamma**2 / 4 - slope**2 + 0j)
            np.testing.assert_allclose(
                np.sort_complex(eigenvalues),
                1 + h * np.sort_complex([-gamma / 2 - root, -gamma / 2 + root]),
                rtol=1e-12,
            )
        if gamma:
            assert np.all(np.abs(eigenvalues) < 1)
        else:
            modulus = np.sqrt(1 + (h * slope) ** 2) if rule is simultaneous else 1.0
            np.testing.assert_allclose(np.abs(eigenvalues), modulus, rtol=1e-12)


# ------------------------------------------------------------------------------------------------ simultaneous updates


@pytest.mark.parametrize("h", [0.1, 0.2])
def test_simultaneous_non_saturating_steps_end_on_a_cycle_of_radius_root_2h(h):
    """From within and from without, and for ever: neither towards the equilibrium nor away.

    A step changes r^2 = theta^2 + psi^2 by -2 h s tanh(s / 2), s = theta psi, and by h^2 (r / 2)^2 to leading order;
    over a turn the mean of s^2 is r^4 / 8, and the two are equal at r^2 = 2 h. The cycle is the step size's doing: in
    continuous time it shrinks to the equilibrium.
    """
    states = run(simultaneous(h, NonSaturating()), int(400 / h**2), (0.1, 0.0), (1.5, 1.0))
    turn = 4 * np.pi / h  # steps: the angle moves by h / 2
    late = square(states)[:, -int(10 * turn) :]
    radius = np.sqrt(late.mean(axis=1))
    np.testing.assert_allclose(radius[0], radius[1], rtol=1e-5)
    np.testing.assert_allclose(radius, np.sqrt(2 * h), rtol=h**2 / 30)  # so that the leading order is the right one
    np.testing.assert_allclose(np.sqrt(late), np.sqrt(2 * h), rtol=h / 10)  # all along it
    theta = states[0, -int(10 * turn) :, 0]
    assert np.sum(theta[1:] * theta[:-1] < 0) == pytest.approx(20, abs=1)  # it goes round: zero twice a turn


def test_simultaneous_steps_of_the_original_game_go_outwards_each_by_the_square_of_its_size():
    """The field turns without pulling: theta^2 + psi^2 grows by 1 + (h sigmoid(theta psi))^2."""
    states = run(simultaneous(0.1, Minimax()), 1000)
    growth = 1 + (0.1 / (1 + np.exp(-np.prod(states[:-1], axis=-1)))) ** 2
    np.testing.assert_allclose(square(states)[1:], growth * square(states)[:-1], rtol=1e-12)


def test_simultaneous_wasserstein_diverges_at_one_plus_the_square_of_the_step():
    states = run(simultaneous(0.1, Wasserstein()), 2000)
    np.testing.assert_allclose(square(states)[1:], 1.01 * square(states)[:-1], rtol=1e-12)
    assert square(states)[-1] > 1e8


@RULES
def test_wasserstein_with_the_gradient_penalty_does_not_converge_to_the_equilibrium(rule):
    """The penalty asks for a slope of +-1 where the equilibrium has none, however close by one starts.

    While psi > 0 it is a spring about (2 weight, 0): theta' = psi, psi' = 2 weight - theta - 2 weight psi. One of a
    weight below 1 swings through psi = 0, where the penalty throws it to the other side, and so for ever. From 1 on it
    is damped too much to: the generator comes to rest at 2 weight, far from the data, before a critic without slope.
    """
    starts = (1.0, 1.0), (1e-3, 1e-3)
    states = run(rule(0.02, Wasserstein(), GradientPenalty(weight=0.25)), 20_000, *starts)
    for theta in states[:, 10_000:15_000, 0], states[:, 15_000:, 0]:
        assert np.all(theta.max(axis=1) > 0.5) and np.all(theta.min(axis=1) < -0.5)
    assert np.all(square(states[:, 10_000:]) > 0.25)
    states = run(rule(0.02, Wasserstein(), GradientPenalty()), 20_000, *starts)
    np.testing.assert_allclose(states[:, -1], [[20.0, 0.0]] * 2, atol=1e-6)


@RULES
def test_wasserstein_with_clipped_weights_does_not_converge(rule):
    step = rule(0.02, Wasserstein(), project=lambda psi: clip_weights(psi, 0.5))
    states = run(step, 20_000)
    assert np.all(np.abs(states[1:, 1]) <= 0.5)
    for theta in states[10_000:15_000, 0], states[15_000:, 0]:
        assert theta.max() > 0.4 and theta.min() < -0.4
    assert np.all(square(states[10_000:]) > 0.1)


# ------------------------------------------------------------------------------------------------- alternating updates


def test_alternating_non_saturating_steps_creep_in_as_one_over_the_root_of_their_number():
    """n h |state|^2 -> 8 (1 - h^2 / 16): the pull of the simultaneous steps is left, -h r^4 / 8, and the push is not.

    The squared distance is that which turning preserves, theta^2 + psi^2 - (h / 2) theta psi.
    """
    h, steps = 0.5, 80_000
    states = run(alternating(h, NonSaturating()), steps)
    distance = square(states) - h / 2 * np.prod(states, axis=-1)
    np.testing.assert_allclose(steps * h * distance[-1], 8 * (1 - h**2 / 16), rtol=1e-3)
    order = np.log(distance[-1] / distance[steps // 4]) / np.log(4)
    np.testing.assert_allclose(order, -1, rtol=1e-3)  # slower than any rate: halving |state| takes 4 times the steps


def test_alternating_wasserstein_stays_between_two_circles():
    """Its steps preserve theta^2 + psi^2 - h theta psi: an ellipse, neither left inwards nor outwards."""
    h = 0.1
    states = run(alternating(h, Wasserstein()), 20_000)
    ellipse = square(states) - h * np.prod(states, axis=-1)
    np.testing.assert_allclose(ellipse, ellipse[0], rtol=1e-11)
    assert square(states).min() > ellipse[0] / (1 + h / 2) - 1e-9
    assert square(states).max() < ellipse[0] / (1 - h / 2) + 1e-9


# ----------------------------------------------------------------------------------------------------------- penalties


@RULES
@pytest.mark.parametrize("gamma", [0.5, 2.0])  # round and round, and straight in
def test_r1_and_r2_converge_at_the_rate_of_the_largest_eigenvalue(rule, gamma):
    """From far away; at the end each step shrinks the leading mode (a left eigenvector's) by exactly that modulus."""
    h, jacobian = 0.1, linear(rule, 0.1, 0.5, gamma)
    eigenvalues, modes = np.linalg.eig(jacobian.T)
    rate = np.abs(eigenvalues).max()
    mode = modes[:, np.abs(eigenvalues).argmax()]
    steps = int(np.log(1e-12) / np.log(rate))
    both = together(*(rule(h, NonSaturating(), penalty) for penalty in (R1(gamma), R2(gamma))))
    states = run(both, steps, [(1.0, 1.0)] * 2, [(-2.0, 3.0)] * 2)
    assert np.all(square(states[:, -1]) < 1e-20)
    size = np.abs(states[:, -100:] @ mode)
    np.testing.assert_allclose(size[:, 1:] / size[:, :-1], rate, rtol=1e-9)


@RULES
def test_the_toy_tells_neither_rpgan_from_gan_nor_r2_from_r1(rule):
    """D is 0 at the data and has one slope everywhere. So it cannot explain why, on StackedMNIST, one of each fails.

    RpGAN's discriminator pays log 2 less, always; R1 + R2 is R1 of twice the gamma.
    """
    theta, psi = np.random.default_rng(0).normal(size=(2, 50)) * 2
    (d, g), (relative_d, relative_g) = (map(jax.vmap, players(loss)) for loss in (NonSaturating(), Relativistic()))
    np.testing.assert_allclose(d(psi, theta) - relative_d(psi, theta), np.log(2), rtol=1e-12)
    np.testing.assert_array_equal(g(theta, psi), relative_g(theta, psi))

    games = {
        "gan": (NonSaturating(), FREE),
        "rpgan": (Relativistic(), FREE),
        "gan_r1": (NonSaturating(), R1(0.5)),
        "gan_r2": (NonSaturating(), R2(0.5)),
        "gan_r1_r2": (NonSaturating(), R1R2(0.25)),
        "rpgan_r1_r2": (Relativistic(), R1R2(0.25)),
    }
    states = run(together(*(rule(0.1, *game) for game in games.values())), 1000, [(1.0, 1.0)] * 6, [(-2.0, 3.0)] * 6)
    path = dict(zip(games, np.moveaxis(states, 2, 0), strict=True))
    np.testing.assert_allclose(path["rpgan"], path["gan"], rtol=1e-12)
    np.testing.assert_allclose(path["gan_r2"], path["gan_r1"], rtol=1e-12)
    np.testing.assert_allclose(path["gan_r1_r2"], path["gan_r1"], rtol=1e-12)
    np.testing.assert_allclose(path["rpgan_r1_r2"], path["gan_r1"], rtol=1e-12)
