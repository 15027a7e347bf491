import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from diffjax.adversarial import (
    LOSSES,
    PENALTIES,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Relativistic,
    Wasserstein,
)
from diffjax.config import build, component
from diffjax.errors import UserError

REAL, FAKE = np.array([-3.0, 0.0, 0.7, 5.0]), np.array([2.0, 0.0, -1.3, -4.0])

# Two distributions on the same four points.
PLACES = np.array([-1.0, 0.0, 0.5, 2.0])
P, Q = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.1, 0.25, 0.25])

log_sigmoid = lambda t: -np.log(1 + np.exp(-t))  # noqa: E731
FORMULAS = {  # (discriminator, generator) of the papers, as they print them
    "minimax": (lambda r, f: -log_sigmoid(r) - log_sigmoid(-f), lambda r, f: log_sigmoid(-f)),
    "non_saturating": (lambda r, f: -log_sigmoid(r) - log_sigmoid(-f), lambda r, f: -log_sigmoid(f)),
    "least_squares": (lambda r, f: ((r - 1) ** 2 + f**2) / 2, lambda r, f: (f - 1) ** 2 / 2),
    "wasserstein": (lambda r, f: -(r - f), lambda r, f: -f),
    "hinge": (lambda r, f: -np.minimum(0, r - 1) - np.minimum(0, -f - 1), lambda r, f: -f),
    "relativistic": (lambda r, f: -log_sigmoid(r - f), lambda r, f: -log_sigmoid(f - r)),
}


def call(of_pairs, real=REAL, fake=FAKE):
    """A loss, given NumPy's arrays."""
    return np.asarray(of_pairs(jnp.asarray(real), jnp.asarray(fake)))


def gradients(of_pairs, real=REAL, fake=FAKE):
    """The derivatives of the summed loss in the real and in the generated logits."""
    slopes = jax.grad(lambda r, f: of_pairs(r, f).sum(), (0, 1))(jnp.asarray(real), jnp.asarray(fake))
    return np.asarray(slopes)


def expected(loss, logits):
    """The discriminator's expected loss over independent x ~ P and y ~ Q, where D takes these logits on the points."""
    x, y = (index.ravel() for index in np.indices((4, 4)))
    return jnp.sum(P[x] * Q[y] * loss.discriminator(logits[x], logits[y]))


def jensen_shannon(p, q):
    mid = (p + q) / 2
    return (np.sum(p * np.log(p / mid)) + np.sum(q * np.log(q / mid))) / 2


def assert_best(loss, logits, value):
    """What the expected loss is at `logits`, and that it is nowhere lower (it is convex: look near, and far)."""
    directions = np.random.default_rng(0).normal(size=(500, 4))
    directions[0] = 0
    for size in (1e-3, 1.0):
        found = jax.jit(jax.vmap(lambda logits: expected(loss, logits)))(logits + size * directions)
        np.testing.assert_allclose(found[0], value, rtol=1e-12)
        assert np.all(found > value - 1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_papers_formula(name, x64):
    loss = LOSSES[name]()
    for ours, formula in zip((loss.discriminator, loss.generator), FORMULAS[name], strict=True):
        assert call(ours).shape == (4,)
        np.testing.assert_allclose(call(ours), formula(REAL, FAKE), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("slot", "table"), [("loss", LOSSES), ("penalty", PENALTIES)])
def test_every_part_can_be_named_in_a_config(slot, table):
    for name, factory in table.items():
        built = build(slot, component(slot, name))
        assert type(built) is factory or built.func is factory


@pytest.mark.parametrize("name", LOSSES)
def test_both_players_agree_which_way_is_real(name):
    """The discriminator wants real logits up and generated ones down, the generator wants its own up."""
    real, fake = np.full(1, 0.2), np.full(1, -0.1)  # within the hinge's margin, between the targets of least squares
    d_real, d_fake = gradients(LOSSES[name]().discriminator, real, np.full(1, 0.1))
    assert d_real < 0 < d_fake
    assert gradients(LOSSES[name]().generator, real, fake)[1] < 0


@pytest.mark.parametrize("name", ["minimax", "non_saturating", "relativistic"])
def test_certainty_overflows_nothing(name):
    sure, wrong = np.full(1, 1e4, np.float32), np.full(1, -1e4, np.float32)
    loss = LOSSES[name]()
    for of_pairs in (loss.discriminator, loss.generator):
        for pair in ((sure, wrong), (wrong, sure)):
            assert np.all(np.isfinite(call(of_pairs, *pair)))
            assert np.all(np.isfinite(gradients(of_pairs, *pair)))


def test_an_undecided_discriminator_pays_two_log_two_and_its_generator_log_two():
    zero = jnp.zeros(1)
    for loss in (Minimax(), NonSaturating()):
        np.testing.assert_allclose(loss.discriminator(zero, zero), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(Minimax().generator(zero, zero), -np.log(2), rtol=1e-6)
    np.testing.assert_allclose(NonSaturating().generator(zero, zero), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(Relativistic().discriminator(zero, zero), np.log(2), rtol=1e-6)  # one pair, one call


def test_gradients_of_cross_entropy_are_the_errors_of_the_sigmoid(x64):
    d_real, d_fake = gradients(NonSaturating().discriminator)
    g_real, g_fake = gradients(NonSaturating().generator)
    np.testing.assert_allclose(d_real, -jax.nn.sigmoid(-REAL), rtol=1e-12)
    np.testing.assert_allclose(d_fake, jax.nn.sigmoid(FAKE), rtol=1e-12)
    np.testing.assert_allclose(g_fake, -jax.nn.sigmoid(-FAKE), rtol=1e-12)
    np.testing.assert_array_equal(g_real, 0)


def test_the_original_game_sums_to_zero_but_for_what_the_generator_cannot_change(x64):
    total = call(Minimax().discriminator) + call(Minimax().generator)
    np.testing.assert_allclose(total, -log_sigmoid(REAL), rtol=1e-12)
    np.testing.assert_array_equal(gradients(Minimax().generator)[1], -gradients(Minimax().discriminator)[1])


def test_saturating_and_not_differ_by_exactly_the_odds_of_the_fake(x64):
    """One discriminator's loss; the generator's gradients differ by the factor sigmoid(-f) / sigmoid(f) = exp(-f)."""
    for of in (call, gradients):
        np.testing.assert_array_equal(of(Minimax().discriminator), of(NonSaturating().discriminator))
    saturating, not_saturating = (gradients(loss.generator)[1] for loss in (Minimax(), NonSaturating()))
    np.testing.assert_allclose(not_saturating, np.exp(-FAKE) * saturating, rtol=1e-12)


def test_where_the_discriminator_is_certain_only_the_non_saturating_generator_learns():
    sure = np.full(1, -1e4, np.float32)
    assert gradients(NonSaturating().generator, sure, sure)[1] == -1
    assert gradients(Minimax().generator, sure, sure)[1] == 0


@pytest.mark.parametrize("loss", [Minimax(), NonSaturating()])
def test_the_best_discriminator_is_the_log_ratio_of_densities_and_its_loss_tells_jensen_shannon(loss, x64):
    """Goodfellow et al. 2014, proposition 1 and theorem 1."""
    assert_best(loss, np.log(P / Q), 2 * np.log(2) - 2 * jensen_shannon(P, Q))
    np.testing.assert_allclose(jax.grad(lambda logits: expected(loss, logits))(jnp.log(P / Q)), 0, atol=1e-15)


def test_the_best_discriminator_of_pairs_is_that_ratio_too_and_tells_jensen_shannon_of_pairs(x64):
    """log p / q up to a constant: a pair is classified as (real, fake) against (fake, real)."""
    pairs = jensen_shannon(np.outer(P, Q), np.outer(Q, P))
    for constant in (0.0, 3.0):
        assert_best(Relativistic(), np.log(P / Q) + constant, np.log(2) - pairs)


def test_the_best_least_squares_discriminator_is_the_weighted_mean_of_its_targets(x64):
    """Mao et al. 2017, eq. 4, for any targets."""
    for loss in (LeastSquares(), LeastSquares(-1.0, 1.0, 0.0), LeastSquares(-2.0, 0.3, 1.0)):
        best = (loss.b * P + loss.a * Q) / (P + Q)
        assert_best(loss, best, np.sum(P * (best - loss.b) ** 2 + Q * (best - loss.a) ** 2) / 2)


@pytest.mark.parametrize("a", [1.0, 2.0])
def test_a_target_for_real_images_that_is_not_the_higher_one_is_the_users_mistake(a):
    with pytest.raises(UserError, match=f"loss.a: {a} must be below loss.b 1.0, the target for real images"):
        LeastSquares(a=a)


def test_least_squares_with_the_papers_conditions_on_its_targets_is_pearsons_divergence(x64):
    """Mao et al. 2017, eq. 5 to 7: E_p + E_q of (D* - c)^2 / 2 is chi^2(p + q, 2 q) / 2."""
    for loss in (LeastSquares(-1.0, 1.0, 0.0), LeastSquares(2.0, 4.0, 3.0)):
        best = (loss.b * P + loss.a * Q) / (P + Q)
        value = np.sum((P + Q) * call(loss.generator, best, best))
        np.testing.assert_allclose(value, 0.5 * np.sum((2 * Q - (P + Q)) ** 2 / (P + Q)), rtol=1e-12)


def test_the_best_hinge_discriminator_is_a_sign_and_its_loss_tells_total_variation(x64):
    """Lim & Ye 2017: 2 sum min(p, q) = 2 - 2 TV(p, q)."""
    assert_best(Hinge(), np.sign(P - Q), 2 - np.sum(np.abs(P - Q)))


def test_the_best_critic_of_slope_one_tells_the_earth_movers_distance(x64):
    """On a line the best potential climbs where the data's mass lies further right, and falls elsewhere."""
    slopes = np.sign(np.cumsum(Q - P))[:-1]
    best = np.concatenate([[0.0], np.cumsum(slopes * np.diff(PLACES))])
    distance = wasserstein_distance(PLACES, PLACES, P, Q)
    np.testing.assert_allclose(expected(Wasserstein(), jnp.asarray(best)), -distance, rtol=1e-12)
    for slopes in np.random.default_rng(0).uniform(-1, 1, (50, 3)):  # no other critic of slope one tells more
        other = np.concatenate([[0.0], np.cumsum(slopes * np.diff(PLACES))])
        assert expected(Wasserstein(), jnp.asarray(other)) > -distance


def test_of_the_losses_only_the_relativistic_does_not_see_a_constant_added_to_the_discriminator(x64):
    """Losses and gradients of both players. (Nor does Wasserstein's discriminator; its generator does.)"""
    for name, make in LOSSES.items():
        same = [
            np.allclose(of(of_pairs, REAL + 7, FAKE + 7), of(of_pairs), rtol=1e-10, atol=1e-12)
            for of_pairs in (make().discriminator, make().generator)
            for of in (call, gradients)
        ]
        expected = {"relativistic": [True] * 4, "wasserstein": [True, True, False, True], "hinge": [False] * 3 + [True]}
        assert same == expected.get(name, [False] * 4)
