"""The loss: one denoiser has one, however its network is asked; equal products of switches are equal objectives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import (
    EDM,
    PROCESSES,
    TARGETS,
    VARIANCES,
    Flow,
    Parametrisation,
    VPCosine,
    VPLinear,
    bound,
    ddpm_linear,
    denoising_loss,
    end_terms,
    table,
    times,
    variance,
    weighting,
)
from diffjax.errors import UserError

pytestmark = pytest.mark.usefixtures("x64")
PER_DRAW = [weighting.Simple(), weighting.Uniform(), weighting.EDM(), weighting.MinSNR(), weighting.P2()]


def some(key, n=16):
    k1, k2 = jax.random.split(jax.random.key(key))
    return jax.random.normal(k1, (n, 3)), jax.random.normal(k2, (n, 3))


def guess(x_t, t):
    """Some denoiser."""
    return jnp.tanh(x_t) * 0.3 + 0.1


def says(target, process, denoise):
    """The network that stands for a denoiser: the output from which `target` makes its x0, found from its own map."""

    def predict(shown, t):
        scale = target.input(jnp.ones_like(shown), t, process)
        x_t = shown / scale
        zero = target.to_x0(jnp.zeros_like(x_t), x_t, t, process)
        one = target.to_x0(jnp.ones_like(x_t), x_t, t, process)
        return (denoise(x_t, t) - zero) / (one - zero)

    return predict


def loss_of(process, target, weigh, denoise=guess, key=0, t=None, n=16):
    x0, eps = some(key, n)
    if t is None:
        t = jnp.linspace(0.1, 0.9, n)
        t = jnp.round(t * process.steps) / process.steps if process.steps else t
    loss = denoising_loss(Parametrisation(process, target, variance.Small()), weigh, bound.Density())
    return loss(says(target, process, denoise), x0, t, eps, {})


@pytest.mark.parametrize("weigh", [*PER_DRAW, weighting.VLB()], ids=lambda w: type(w).__name__)
@pytest.mark.parametrize("process", ["vp_linear", "edm", "flow", "ddpm_linear"])
def test_one_denoiser_has_one_loss_whatever_its_network_is_asked_for(process, weigh):
    process = PROCESSES[process]()
    expected = loss_of(process, TARGETS["x0"](), weigh)
    for name in TARGETS:
        if not (name == "velocity" and process.steps):
            np.testing.assert_allclose(loss_of(process, TARGETS[name](), weigh), expected, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("weigh", "target", "process"),
    [
        (weighting.Simple(), "eps", VPLinear()),
        (weighting.Uniform(), "x0", VPLinear()),
        (weighting.SNRPlusOne(), "v", VPLinear()),
        (weighting.EDM(), "F", EDM()),
        (weighting.FlowMatching(), "velocity", Flow()),
    ],
)
def test_each_targets_plain_error_is_a_weighting_of_x0s(weigh, target, process):
    x0, eps = some(0)
    t, ask = jnp.linspace(0.1, 0.9, 16), TARGETS[target]()
    x_t = process.corrupt(x0, eps, t)
    shown = ask.input(x_t, t, process)
    error = says(ask, process, guess)(shown, t) - ask.of(x0, eps, t, process)
    np.testing.assert_allclose(loss_of(process, ask, weigh), jnp.mean(error**2, axis=1), rtol=1e-9)


def test_the_plain_error_is_that_of_the_networks_own_output():
    """What Ho et al. 2020 call "unweighted MSE" of mu~, and flow matching's loss of the velocity."""
    for process, name in ((ddpm_linear(), "mean"), (VPLinear(), "velocity"), (EDM(), "F")):
        ask, (x0, eps), t = TARGETS[name](), some(0), jnp.linspace(0.1, 0.9, 16).round(3)
        shown = ask.input(process.corrupt(x0, eps, t), t, process)
        error = says(ask, process, guess)(shown, t) - ask.of(x0, eps, t, process)
        ours = loss_of(process, ask, weighting.Plain(), t=t)
        np.testing.assert_allclose(ours, jnp.mean(error**2, axis=1), rtol=1e-9)


def integral(process, weigh, density, target="eps", n=4000):
    """The expected loss and its gradient, x0 and eps fixed: a sum over the quantiles of p(t)."""
    x0, eps = some(1, 1)
    u = (jnp.arange(n) + 0.5) / n
    t = density.quantile(u, process)

    def expected(w):
        def denoise(x_t, t):  # one function of (x_t / alpha, log_snr), so that it is the same on every process
            z, log_snr = x_t / process.alpha(t)[:, None], process.log_snr(t)[:, None]
            return z * jax.nn.sigmoid(log_snr) + w * jnp.tanh(z) * jax.nn.sigmoid(-log_snr)

        loss = denoising_loss(Parametrisation(process, TARGETS[target](), variance.Small()), weigh, bound.Density())
        x, e = jnp.tile(x0, (n, 1)), jnp.tile(eps, (n, 1))
        losses = loss(says(TARGETS[target](), process, denoise), x, t, e, {})
        return jnp.mean(losses / density.density(t, process) if weigh.per_log_snr else losses)

    return np.asarray(jax.jit(jax.value_and_grad(expected))(0.4))


def test_equal_products_of_target_weight_and_times_have_equal_loss_and_gradient():
    """EDM's own objective, written on a straight flow: F -> velocity, EDM's weight, the same density of log-SNR."""
    wide = EDM(sigma_max=1e3)  # as wide as the others: draws are cut off at a process's own ends
    edm = integral(wide, weighting.EDM(), times.LogNormal(), "F")
    for process, target in ((Flow(), "velocity"), (VPLinear(), "v"), (VPCosine(log_snr_min=-30.0), "x0")):
        np.testing.assert_allclose(integral(process, weighting.EDM(), times.LogNormal(), target), edm, rtol=1e-5)


def test_an_integral_over_log_snr_is_the_same_whatever_the_density_of_t():
    """Sigmoid weighting, sampled three ways on two processes (Kingma & Gao 2023, eq. 7)."""
    whole = VPCosine(log_snr_min=-24.0)
    expected = integral(whole, weighting.Sigmoid(), times.Cosine())
    for process, density in (
        (whole, times.LogNormal(0.0, 3.0)),
        (Flow(), times.Cosine()),
        (Flow(), times.LogitNormal()),
    ):
        np.testing.assert_allclose(integral(process, weighting.Sigmoid(), density), expected, rtol=4e-3)


def test_what_is_drawn_per_t_depends_on_the_density_of_t():
    """The other kind of weighting: otherwise `times` would not be a switch."""
    a, b = (integral(Flow(), weighting.Uniform(), density)[0] for density in (times.Uniform(), times.LogitNormal(-1.0)))
    assert abs(a / b - 1) > 0.1


def test_vlb_weighting_is_likelihood_weighting():
    """g^2 / 2 of the score's error, at uniform t (Song et al. 2021b, eq. 7), and VDM's gamma' / 2 of eps's (eq. 17)."""
    process, t = VPLinear(), jnp.linspace(0.1, 0.9, 16)
    ours = loss_of(process, TARGETS["x0"](), weighting.VLB())
    x0, eps = some(0)
    x_t = process.corrupt(x0, eps, t)
    error = jnp.mean((guess(x_t, t) - x0) ** 2, axis=1)
    _, g2 = process.sde(t)
    score_error = (process.alpha(t) / process.sigma(t) ** 2) ** 2 * error
    np.testing.assert_allclose(ours, g2 / 2 * score_error, rtol=1e-9)
    gamma_rate = -jax.vmap(jax.grad(process.log_snr))(t)
    np.testing.assert_allclose(ours, gamma_rate / 2 * jnp.exp(process.log_snr(t)) * error, rtol=1e-9)


def test_weightings_are_the_papers():
    log_snr = jnp.asarray([-4.0, 0.0, 1.0, 4.0])
    snr = np.exp(np.asarray(log_snr))
    cases = {
        weighting.TruncatedSNR(): np.maximum(snr, 1),
        weighting.MinSNR(gamma=5.0): np.minimum(snr, 5),
        weighting.P2(k=1.0, gamma=0.5): snr / (1 + snr) ** 0.5,
        weighting.P2(gamma=0.0): snr,
        weighting.EDM(sigma_data=0.5): (1 / snr + 0.25) / (np.sqrt(1 / snr) * 0.5) ** 2,
        weighting.Sigmoid(bias=2.0): snr / (1 + np.exp(np.asarray(log_snr) - 2)) / 2,
    }
    for weigh, expected in cases.items():
        np.testing.assert_allclose(weigh(log_snr), expected, rtol=1e-12, err_msg=str(weigh))


def test_learned_uncertainty_is_least_where_every_noise_level_has_a_loss_of_one():
    """min over u of L e^-u + u is at u = log L (Karras et al. 2024, eq. 14)."""
    weigh = weighting.Uncertainty(features=64)
    params, log_snr = weigh.init(jax.random.key(0)), jnp.linspace(-6, 6, 200)
    losses = 3 + 2 * jnp.sin(log_snr / 2)
    np.testing.assert_allclose(weigh.balance(params, log_snr, losses), losses)  # before training: u = 0

    def objective(params):
        return jnp.mean(weigh.balance(params, log_snr, losses))

    @jax.jit
    def descend(params):
        return jax.lax.fori_loop(
            0, 3000, lambda _, p: jax.tree.map(lambda x, g: x - g, p, jax.grad(objective)(p)), params
        )

    np.testing.assert_allclose(objective(descend(params)), jnp.mean(1 + jnp.log(losses)), atol=1e-3)


def test_l_simple_and_its_gradient_are_the_hand_derived_ones():
    """For eps_hat = w x_t: L = mean |eps - w x_t|^2 and dL/dw = -2 mean (eps - w x_t) x_t (Ho et al. 2020, eq. 14)."""
    process, (x0, eps) = ddpm_linear(), some(5)
    t = times.Uniform().quantile(times.independent(jax.random.split(jax.random.key(6), len(x0))), process)
    x_t = process.corrupt(x0, eps, t)
    loss = denoising_loss(
        Parametrisation(process, TARGETS["eps"](), variance.Small()), weighting.Simple(), bound.Density()
    )
    value, slope = jax.value_and_grad(lambda w: jnp.mean(loss(lambda x, t: w * x, x0, t, eps, {})))(0.37)
    np.testing.assert_allclose(value, jnp.mean((eps - 0.37 * x_t) ** 2), rtol=1e-12)
    np.testing.assert_allclose(slope, -2 * jnp.mean((eps - 0.37 * x_t) * x_t), rtol=1e-12)


def test_the_bound_of_a_step_weighs_the_error_in_x0_by_half_the_change_of_snr():
    """KL of equal variances: (SNR(s) - SNR(t)) |x0_hat - x0|^2 / 2 (Kingma et al. 2021, eq. 14), times T / d."""
    process, t = ddpm_linear(), jnp.asarray([0.1, 0.5, 0.9, 1.0])
    x0, eps = some(7, 4)
    losses = loss_of(process, TARGETS["x0"](), weighting.VLB(), key=7, t=t, n=4)
    snr = lambda t: jnp.exp(process.log_snr(t))  # noqa: E731
    error = jnp.mean((guess(process.corrupt(x0, eps, t), t) - x0) ** 2, axis=1)
    np.testing.assert_allclose(losses, 1000 * (snr(t - 0.001) - snr(t)) / 2 * error, rtol=1e-7)


@pytest.mark.parametrize("name", ["learned", "learned_log", "learned_range"])
def test_l_hybrid_trains_the_variance_by_the_bound_and_the_mean_by_l_simple_alone(name):
    """Nichol & Dhariwal 2021, eq. 16: with the mean held fixed in the bound."""
    process, (x0, eps) = ddpm_linear(timesteps=10), some(8, 10)
    t = jnp.arange(1, 11) / 10
    parts = Parametrisation(process, TARGETS["eps"](), VARIANCES[name]())
    simple = Parametrisation(process, TARGETS["eps"](), variance.Small())

    def value(w, parts, weigh, scale=0.001):
        def predict(x, t):
            mean = w[0] * x
            return mean if parts is simple else jnp.concatenate([mean, w[1] * jnp.ones_like(x)], axis=-1)

        return jnp.mean(denoising_loss(parts, weigh, bound.Density(), scale)(predict, x0, t, eps, {}))

    w = jnp.asarray([0.4, 0.3])
    hybrid, vlb = (jax.value_and_grad(value)(w, parts, weigh) for weigh in (weighting.Simple(), weighting.VLB()))
    plain = jax.value_and_grad(value)(w, simple, weighting.Simple())
    np.testing.assert_allclose(hybrid[0], plain[0] + 0.001 * vlb[0] / np.log(2), rtol=1e-10)
    np.testing.assert_allclose(hybrid[1][0], plain[1][0], rtol=1e-10)
    np.testing.assert_allclose(hybrid[1][1], 0.001 * vlb[1][1] / np.log(2), rtol=1e-10)


def test_variances_are_beta_and_beta_tilde_and_what_lies_between():
    process, betas = ddpm_linear(), np.linspace(1e-4, 0.02, 1000)
    bars = np.concatenate([[1], np.cumprod(1 - betas)])
    n = np.asarray([2, 500, 1000])
    s, t, raw = jnp.asarray((n - 1) / 1000), jnp.asarray(n / 1000), jnp.asarray([[0.2], [-0.6], [1.0]])
    tilde = (1 - bars[n - 1]) / (1 - bars[n]) * betas[n - 1]
    np.testing.assert_allclose(jnp.exp(variance.Small().log_var(None, process, s, t)), tilde, rtol=1e-8)
    np.testing.assert_allclose(jnp.exp(variance.Large().log_var(None, process, s, t)), betas[n - 1], rtol=1e-8)
    between = variance.LearnedRange().log_var(raw, process, s, t)[:, 0]
    v = (np.asarray(raw)[:, 0] + 1) / 2
    np.testing.assert_allclose(between, v * np.log(betas[n - 1]) + (1 - v) * np.log(tilde), rtol=1e-8)
    np.testing.assert_array_equal(variance.LearnedLog().log_var(raw, process, s, t), raw)
    relative = variance.Learned().log_var(raw, process, s, t)
    np.testing.assert_allclose(relative, np.log(tilde)[:, None] + raw, rtol=1e-8)
    # The step to the data has beta~ = 0; the released code takes the next step's instead.
    first = variance.Small().log_var(None, process, jnp.zeros(1), jnp.asarray([0.001]))
    np.testing.assert_allclose(jnp.exp(first), [(1 - bars[1]) / (1 - bars[2]) * betas[1]], rtol=1e-8)
    np.testing.assert_allclose(variance.Large().log_var(None, process, jnp.zeros(1), jnp.asarray([0.001])), first)
    # What is learned lies between that and the first beta, as in the released code of Nichol & Dhariwal 2021.
    learned = variance.LearnedRange().log_var(raw, process, jnp.zeros(3), jnp.full(3, 0.001))[:, 0]
    np.testing.assert_allclose(learned, v * np.log(betas[0]) + (1 - v) * first, rtol=1e-8)


@pytest.mark.parametrize("name", ["small", "large", "learned", "learned_range"])
def test_a_chain_of_one_step_has_the_variance_of_its_step(name):
    process, raw = table(betas=(0.3,)), jnp.zeros((1, 1))
    log_var = VARIANCES[name]().log_var(raw, process, jnp.zeros(1), jnp.ones(1))
    np.testing.assert_allclose(jnp.exp(log_var), np.full_like(log_var, 0.3), rtol=1e-6)


def test_the_ends_of_a_schedule_cost_what_is_left_of_the_signal_and_of_the_noise():
    process, (x0, eps) = VPLinear(), some(9)
    t = jnp.ones(16)
    kept = process.alpha(t) ** 2 * jnp.sum(x0**2, axis=1) / (2 * process.sigma(t) ** 2) / 3
    assert VPLinear().sigma(jnp.zeros(1)) == 0  # no noise at t = 0: the reconstruction of VP is exact, and infinite
    flow = PROCESSES["learned_log_snr"](width=0)
    learned = flow.bind(flow.init(jax.random.key(0)))
    left = 0.5 * (jnp.sum(eps**2, axis=1) / 3 + jnp.log(2 * jnp.pi) - learned.log_snr(jnp.zeros(())))
    prior = learned.alpha(t) ** 2 * jnp.sum(x0**2, axis=1) / (2 * learned.sigma(t) ** 2) / 3
    np.testing.assert_allclose(end_terms(learned, x0, eps, bound.Density()), prior + left, rtol=1e-6)
    np.testing.assert_allclose(bound.prior_term(process, x0) / 3, kept, rtol=1e-9)


def test_uncertainty_balances_losses_at_a_t_and_nothing_else():
    for inner in (weighting.VLB(), weighting.Sigmoid(), weighting.Uncertainty()):
        with pytest.raises(UserError, match="method.weighting.weighting"):
            weighting.Uncertainty(weighting=inner)
    plain = weighting.Uncertainty(weighting=weighting.Plain())
    np.testing.assert_allclose(plain.of_output(jnp.zeros(2), jnp.asarray([3.0, 4.0])), 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: weighting.MinSNR(gamma=-5.0), "gamma: -5.0 must be positive"),
        (lambda: weighting.P2(k=0.0), "k: 0.0 must be positive"),
        (lambda: weighting.P2(gamma=-1.0), "gamma: -1.0 must not be negative"),
        (lambda: weighting.EDM(sigma_data=0.0), "sigma_data: 0.0 must be positive"),
        (lambda: weighting.Uncertainty(features=0), "features: 0 must be at least 1"),
    ],
)
def test_a_weighting_that_makes_no_sense_is_one_line(make, message):
    with pytest.raises(UserError, match=f"^method.weighting.{message}"):
        make()


def test_an_integral_over_log_snr_of_a_table_is_one_line():
    with pytest.raises(UserError, match="method.weighting: .* continuous time"):
        loss_of(ddpm_linear(), TARGETS["eps"](), weighting.Sigmoid())
