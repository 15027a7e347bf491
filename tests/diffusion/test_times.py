"""Times: what is drawn has the density that is stated, whatever the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import EDM, VE, Flow, VPCosine, VPLinear, ddpm_linear, times
from diffjax.errors import UserError

CASES = {
    "uniform": (times.Uniform(t_min=0.1), VPLinear()),
    "log_normal": (times.LogNormal(), EDM()),
    "log_normal on vp": (times.LogNormal(0.3, 0.8), VPCosine()),
    "logit_normal": (times.LogitNormal(-0.4, 0.7), Flow()),
    "cosine": (times.Cosine(), Flow()),
    "cosine on vp": (times.Cosine(), VPLinear()),
    "cosine cut off": (times.Cosine(), EDM(sigma_max=1.5)),
    "cosine cut off at both ends": (times.Cosine(), VE(sigma_min=0.3, sigma_max=2.0)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_density_integrates_to_one_and_is_that_of_the_quantiles(case, x64):
    """t(u) is the quantile function: dt/du = 1 / p(t), and u runs from 0 to 1."""
    density, process = CASES[case]
    u = jnp.linspace(0.01, 0.99, 23)
    t, slope = jax.jvp(lambda u: density.quantile(u, process), (u,), (jnp.ones_like(u),))
    np.testing.assert_allclose(jnp.abs(slope) * density.density(t, process), 1, rtol=1e-8)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    grid = jnp.asarray((nodes + 1) / 2 * 0.999 + 5e-4)  # as t^4, to see the small times
    mass = jnp.sum(density.density(grid**4, process) * 4 * grid**3 * weights / 2 * 0.999)
    np.testing.assert_allclose(mass, 1, atol=0.03)


def test_a_table_is_drawn_uniformly_from_step_one_to_t():
    u = times.independent(jax.random.split(jax.random.key(0), 20_000))
    for drawn in (
        times.Uniform().quantile(u, ddpm_linear(timesteps=10)),
        times.Discrete(steps=10).quantile(u, VPLinear()),
    ):
        counts = np.bincount(np.asarray(jnp.round(drawn * 10), int), minlength=11)
        assert counts[0] == 0
        np.testing.assert_allclose(counts[1:] / 2000, 1, atol=0.1)


def test_each_example_has_its_own_draw():
    keys = jax.random.split(jax.random.key(1), 8)
    np.testing.assert_array_equal(times.independent(keys[3:5]), times.independent(keys)[3:5])


def test_no_time_is_drawn_at_which_ve_has_no_noise():
    """sigma_min cuts off a fifth of the draws."""
    t = times.LogNormal(mean=-4.0).quantile(jnp.linspace(0, 1, 1001), VE())
    assert VE().sigma(t).min() >= 0.01 and jnp.isfinite(VE().log_snr(t)).all()
    assert (t[200:-1] > t[:-201]).all(), "they were moved to sigma_min"


def test_a_log_normal_time_is_ln_sigma_normal():
    u = times.independent(jax.random.split(jax.random.key(0), 50_000))
    log_noise = jnp.log(EDM().sigma(times.LogNormal().quantile(u, EDM())))
    np.testing.assert_allclose([log_noise.mean(), log_noise.std()], [-1.2, 1.2], atol=0.02)


def test_the_cosine_density_is_uniform_time_under_the_cosine_schedule_and_cosmap_on_a_flow(x64):
    u = jnp.linspace(0.05, 0.95, 7)
    whole = VPCosine(log_snr_min=-30.0)  # the quarter turn, from which the density cuts off as little
    np.testing.assert_allclose(times.Cosine().quantile(u, whole), u, rtol=1e-9)
    np.testing.assert_allclose(times.Cosine().quantile(u, Flow()), 1 - 1 / (jnp.tan(jnp.pi * u / 2) + 1), rtol=1e-9)


def test_evenly_spread_draws_are_uniform_one_by_one_and_low_discrepancy_together(x64):
    shares = jnp.arange(16) / 16
    many = jax.vmap(lambda key: times.evenly_spread(key, shares))(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(jnp.sort(many, axis=1)[:, 1:] - jnp.sort(many, axis=1)[:, :-1], 1 / 16, atol=1e-9)
    for i in (0, 5, 15):
        quantiles = np.quantile(many[:, i], [0.1, 0.25, 0.5, 0.75, 0.9])
        np.testing.assert_allclose(quantiles, [0.1, 0.25, 0.5, 0.75, 0.9], atol=0.03)
    # Of u^2, which jumps by 1 where u wraps round: 1 / (12 b^2) to leading order, against 4 / (45 b) drawn alone.
    np.testing.assert_allclose(jnp.var(jnp.mean(many**2, axis=1)), 1 / (12 * 16**2), rtol=0.1)


def history(losses, count=None):
    losses = jnp.asarray(losses, float)
    return {"losses": losses, "count": jnp.full(len(losses), losses.shape[1] if count is None else count, jnp.int32)}


def test_importance_sampling_draws_a_step_as_its_losses_second_moment_says(x64):
    """p_n ~ sqrt(E[L_n^2]), mixed with a little uniform (Nichol & Dhariwal 2021, eq. 18)."""
    process, spec = ddpm_linear(timesteps=4), times.LossSecondMoment(history=2, uniform=0.1)
    bound = spec.bind(history([[3, 4], [1, 1], [0, 0], [2, 0]]))
    moment = np.sqrt([12.5, 1, 0, 2])
    share = 0.9 * moment / moment.sum() + 0.1 / 4
    np.testing.assert_allclose(bound.density(jnp.asarray([0.25, 0.5, 0.75, 1.0]), process), 4 * share, rtol=1e-12)
    drawn = bound.quantile(jnp.linspace(1e-6, 1 - 1e-6, 40_001), process)
    np.testing.assert_allclose(np.bincount(np.asarray(jnp.round(drawn * 4), int))[1:] / 40_001, share, atol=1e-4)
    assert bound.importance
    # The mean of L_t / p(t) is the mean of L at uniform t, whatever the shares.
    values = jnp.asarray([5.0, 1.0, 0.3, 2.0])
    weighted = values[jnp.round(drawn * 4).astype(int) - 1] / bound.density(drawn, process)
    np.testing.assert_allclose(weighted.mean(), values.mean(), rtol=1e-3)


def test_importance_sampling_is_uniform_until_every_step_has_its_history():
    spec = times.LossSecondMoment(history=2)
    bound = spec.bind(history([[3, 4], [1, 1]], count=1))
    np.testing.assert_allclose(bound.density(jnp.asarray([0.5, 1.0]), ddpm_linear(timesteps=2)), 1)


def test_a_new_loss_replaces_the_oldest_of_its_step_in_the_order_of_the_batch():
    spec = times.LossSecondMoment(history=3)
    kept = spec.init(2)
    remembered = {1: [], 2: []}  # by hand: what one list for each step would hold
    rng = np.random.default_rng(0)
    for _ in range(6):
        steps, losses = rng.integers(1, 3, 7), rng.random(7).astype(np.float32)
        kept = spec.update(kept, jnp.asarray(steps / 2), jnp.asarray(losses))
        for n, loss in zip(steps, losses, strict=True):
            remembered[n] = (remembered[n] + [loss])[-3:]
    for n in (1, 2):
        np.testing.assert_allclose(sorted(kept["losses"][n - 1]), sorted(remembered[n]))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: times.Discrete(steps=0), "steps"),
        (lambda: times.LossSecondMoment(history=0), "history"),
        (lambda: times.LossSecondMoment(uniform=0.0), "uniform"),
        (lambda: times.LossSecondMoment().init(0), "loss_second_moment"),
        (lambda: times.Uniform(t_min=1.0), "t_min: 1.0 must be at least 0 and less than 1"),
        (lambda: times.LogNormal(std=0.0), "std: 0.0 must be positive"),
        (lambda: times.LogitNormal(std=-1.0), "std: -1.0 must be positive"),
    ],
)
def test_times_that_make_no_sense_are_one_line(make, field):
    with pytest.raises(UserError, match=f"method.times.*{field}"):
        make()
