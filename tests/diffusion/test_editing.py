"""Editing with exact denoisers: what is known stays, and what is not follows the exact conditional distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import DDIM, EDM, VE, Ancestral, Denoiser, Flow, Heun, Prediction, VPLinear, ddpm_linear, grid
from diffjax.diffusion.editing import (
    Denoise,
    Posterior,
    RePaint,
    SDEdit,
    agreeing,
    back_and_forth,
    block_means,
    observed,
    pixels,
    posterior,
    smoothed,
    solve,
)
from diffjax.diffusion.guidance import multiplied
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.errors import UserError
from diffjax.metrics.energy import energy_distance

pytestmark = pytest.mark.usefixtures("x64")
PHOTO = np.array([0.5, 0.0])
KNOWN = np.array([True, False])
COVARIANCE = 0.25 * np.array([[1.0, 0.8], [0.8, 1.0]])


def mixture():
    means = jnp.array([[-1.0, -0.6], [1.0, 0.7], [0.2, 1.5]])
    return GaussianMixture(means, jnp.array([0.25, 0.35, 0.2]), jnp.array([0.4, 0.35, 0.25]))


def correlated(process, covariance=COVARIANCE):
    """E[x0 | x_t] for x0 ~ N(0, covariance)."""

    def predict(x_t, t, label=None):
        alpha, sigma = process.alpha(t), process.sigma(t)
        gain = alpha * covariance @ jnp.linalg.inv(alpha**2 * covariance + sigma**2 * jnp.eye(len(covariance)))
        return Prediction(x_t @ gain.T)

    return Denoiser(predict)


def run(sampler, process, denoiser, n=2000, seed=0, shape=(2,), trajectory=False):
    start, walk = jax.random.split(jax.random.key(seed))
    times = sampler.grid(process, sampler.steps)
    x = process.sigma(times[0]) * jax.random.normal(start, (n, *shape))
    return jax.jit(lambda x: sampler(process, denoiser, x, times, walk, trajectory))(x)


def slow_walk(steps):
    return Ancestral(steps=steps, grid=grid.log_snr)


# ------------------------------------------------------------------------------------------------- from a photo


@pytest.mark.parametrize("sampler", [Heun(steps=7), Ancestral(steps=7)], ids=lambda s: type(s).__name__)
def test_strength_one_is_the_sampler_without_a_photo_and_strength_zero_the_photo(sampler):
    process = EDM()
    denoiser = mixture().denoiser(process)
    plain = run(sampler, process, denoiser, n=5)
    whole = run(SDEdit.around(sampler, jnp.asarray(PHOTO), strength=1.0), process, denoiser, n=5)
    np.testing.assert_array_equal(whole.x0, plain.x0)
    assert jnp.array_equal(whole.nfe, plain.nfe)
    none = run(SDEdit.around(sampler, jnp.asarray(PHOTO), strength=0.0), process, denoiser, n=5, trajectory=True)
    np.testing.assert_array_equal(none.x0, np.broadcast_to(PHOTO, (5, 2)))
    assert jnp.all(none.nfe == 0) and none.x_t.shape == (0, 5, 2)


@pytest.mark.parametrize("process", [ddpm_linear(), VPLinear(), EDM(), Flow()], ids=lambda p: type(p).__name__)
def test_an_edit_starts_from_the_noised_photo_and_runs_its_share_of_the_steps(process):
    edit = SDEdit.around(DDIM(steps=10), jnp.asarray(PHOTO), strength=0.4)
    times = edit.grid(process, 10)
    np.testing.assert_allclose(times, grid.linear(process, 10)[6:])
    out = run(edit, process, mixture().denoiser(process), n=4000, trajectory=True)
    assert jnp.all(out.nfe == 4)
    alpha, sigma = process.alpha(times[0]), process.sigma(times[0])
    np.testing.assert_allclose(out.x_t[0].mean(axis=0), alpha * PHOTO, atol=4 * sigma / 4000**0.5)
    np.testing.assert_allclose(np.cov(out.x_t[0].T), sigma**2 * np.eye(2), atol=6 * sigma**2 / 4000**0.5)


@pytest.mark.parametrize(("strength", "steps"), [(1e-6, 1), (0.5, 4), (0.999, 7)])
def test_any_strength_above_zero_runs_a_step(strength, steps):
    edit = SDEdit.around(DDIM(steps=7), jnp.asarray(PHOTO), strength=strength)
    assert len(edit.grid(VPLinear(), 7)) == steps + 1


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_strength_outside_zero_and_one_is_an_error(strength):
    with pytest.raises(UserError, match=r"strength: .* must be in \[0, 1\]"):
        SDEdit.around(DDIM(), jnp.asarray(PHOTO), strength=strength)


# --------------------------------------------------------------------------------------------------- inpainting


def edits(sampler):
    photo, known = jnp.asarray(PHOTO), jnp.asarray(KNOWN)
    return {
        "repaint": RePaint.around(sampler, photo, known, resamples=2),
        "posterior": Posterior.around(sampler, photo, project=pixels(known)),
    }


@pytest.mark.parametrize("process", [ddpm_linear(), Flow()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("way", ["repaint", "posterior"])
def test_what_is_known_is_unchanged_to_the_last_bit(way, process):
    sampler = DDIM(steps=6)
    out = run(edits(sampler)[way], process, mixture().denoiser(process), n=8)
    np.testing.assert_array_equal(out.x0[:, 0], PHOTO[0])
    assert np.isfinite(out.x0).all() and len(set(np.asarray(out.x0[:, 1]))) == 8


@pytest.mark.parametrize("way", ["repaint", "posterior"])
def test_a_painted_sample_does_not_depend_on_its_neighbours(way):
    process = VPLinear()
    edit, denoiser, times = edits(slow_walk(5))[way], mixture().denoiser(process), grid.log_snr(process, 5)
    times = edit.grid(process, 5)
    keys, x = jax.random.split(jax.random.key(3), 6), jax.random.normal(jax.random.key(4), (6, 2))
    whole = edit(process, denoiser, x, times, keys).x0
    np.testing.assert_allclose(edit(process, denoiser, x[2:4], times, keys[2:4]).x0, whole[2:4], rtol=1e-12)


def test_the_walk_goes_back_and_forth_as_repaints():
    """Its released schedule for T = 8, jump length 2 and 3 resamplings, written out in steps still to go."""
    to_go = [8, 7, 6, 5, 7, 6, 5, 7, 6, 5, 4, 3, 5, 4, 3, 5, 4, 3, 2, 1, 3, 2, 1, 3, 2, 1, 0]
    np.testing.assert_array_equal(back_and_forth(8, 2, 3), 8 - np.array(to_go))
    np.testing.assert_array_equal(back_and_forth(5, 1, 1), np.arange(6))


def test_repaint_says_what_it_costs():
    out = run(RePaint.around(DDIM(steps=8), jnp.asarray(PHOTO), jnp.asarray(KNOWN), 3, 2), EDM(), correlated(EDM()), 3)
    assert jnp.all(out.nfe == 8 + 2 * 2 * 3)


@pytest.mark.parametrize(
    ("own", "said"), [({"resamples": 0}, "resamples: 0"), ({"jump": 8}, "jump: 8"), ({"jump": -1}, "jump")]
)
def test_a_walk_that_cannot_be_is_an_error(own, said):
    with pytest.raises(UserError, match=said):
        RePaint.around(DDIM(steps=8), jnp.asarray(PHOTO), jnp.asarray(KNOWN), **own)


@pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
def test_the_posterior_denoiser_is_exact_for_gaussian_data(t):
    """E[x0 | x_t, y] by conditioning the joint Gaussian of (x0, x_t, y), for a mask and noise, in five dimensions."""
    process = VPLinear()
    root = jax.random.normal(jax.random.key(0), (5, 5))
    covariance = root @ root.T / 5
    known, y, noise = jnp.array([1, 1, 0, 0, 1]) > 0, jnp.array([0.3, -1.0, 0.0, 0.0, 0.7]), 0.2
    x_t = jax.random.normal(jax.random.key(1), (3, 5))
    t = jnp.asarray(t)
    alpha, sigma = process.alpha(t), process.sigma(t)
    seen = jnp.concatenate([alpha * jnp.eye(5), jnp.eye(5)[known]])
    errors = jnp.diag(jnp.concatenate([jnp.full(5, sigma**2), jnp.full(3, noise**2)]))
    gain = covariance @ seen.T @ jnp.linalg.inv(seen @ covariance @ seen.T + errors)
    expected = jnp.concatenate([x_t, jnp.broadcast_to(y[known], (3, 3))], axis=1) @ gain.T
    told = posterior(correlated(process, covariance), process, pixels(known), y, noise, iterations=3)
    np.testing.assert_allclose(told(x_t, t).x0, expected, rtol=1e-6)
    assert told.cost(t) == 5


def test_conjugate_gradients_solve_each_example_by_itself():
    matrices = jax.random.normal(jax.random.key(0), (4, 3, 3))
    matrices = matrices @ matrices.mT + 0.1 * jnp.eye(3)
    b = jax.random.normal(jax.random.key(1), (4, 3)).at[2].set(0.0)
    u = solve(lambda u: jnp.einsum("bij,bj->bi", matrices, u), b, 4)
    np.testing.assert_allclose(u, jnp.linalg.solve(matrices, b[..., None])[..., 0], rtol=1e-6)


def conditional_moments(edit, process):
    x = np.asarray(run(edit, process, correlated(process)).x0[:, 1])
    return x.mean(), x.var()


def test_on_gaussian_data_the_posterior_is_right_in_the_limit_and_replacement_is_not():
    """x[1] given x[0] = 0.5 is N(0.4, 0.09). Ancestral steps, 2,000 samples."""
    process, photo, known = VPLinear(), jnp.asarray(PHOTO), jnp.asarray(KNOWN)
    errors = []
    for steps in (20, 100):
        own = Posterior.around(slow_walk(steps), photo, project=pixels(known), iterations=1)
        mean, variance = conditional_moments(own, process)
        assert abs(mean - 0.4) < 0.02
        errors.append(abs(variance - 0.09))  # the ancestral sampler's own, of first order, and 0.003 of sampling
    assert errors[1] < min(0.015, 0.4 * errors[0])
    once, often = (
        conditional_moments(RePaint.around(slow_walk(50), photo, known, resamples=r), process)[0] for r in (1, 10)
    )
    assert once < 0.3 and 0.33 < often < 0.4


def exact_conditional(data, y):
    """x[1] given x[0] = y, for a mixture of round Gaussians: a mixture again."""
    log = jnp.log(data.weights) - 0.5 * (y - data.means[:, 0]) ** 2 / data.stds**2 - jnp.log(data.stds)
    return GaussianMixture(data.means[:, 1:], data.stds, jax.nn.softmax(log))


@pytest.mark.slow
def test_repaint_approaches_the_conditional_of_a_mixture_and_the_posterior_does_not():
    """Energy distances, where 2,000 exact samples are 0.0003 from each other; y = 0.1 lies between two clusters."""
    process, data, known, photo = VPLinear(), mixture(), jnp.asarray(KNOWN), jnp.array([0.1, 0.0])
    exact = np.asarray(exact_conditional(data, 0.1).sample(jax.random.key(9), 2000))

    def distance(edit):
        return energy_distance(np.asarray(run(edit, process, data.denoiser(process)).x0[:, 1:]), exact)

    few, many = (distance(RePaint.around(slow_walk(30), photo, known, resamples=r)) for r in (1, 30))
    assert few > 0.4 and many < 0.006
    assert 0.2 < distance(Posterior.around(slow_walk(30), photo, project=pixels(known), iterations=1)) < few


# ---------------------------------------------------------------------------------- denoising, super-resolution


def observed_mixture(data, y, noise):
    """p(x0 | y = x0 + noise n) of a mixture of round Gaussians, by hand."""
    total = data.stds**2 + noise**2
    log = jnp.log(data.weights) - 0.5 * jnp.sum((y - data.means) ** 2, axis=1) / total - jnp.log(total)
    means = data.means + (data.stds**2 / total)[:, None] * (y - data.means)
    return GaussianMixture(means, data.stds * noise / jnp.sqrt(total), jax.nn.softmax(log))


@pytest.mark.parametrize("process", [VPLinear(), EDM(), Flow()], ids=lambda p: type(p).__name__)
def test_the_denoiser_of_a_noisy_copy_is_that_of_the_exact_posterior(process):
    """The posterior of a mixture is a mixture, whose own denoiser is E[x0 | x_t, y]."""
    data, y, noise = mixture(), jnp.array([0.1, 0.4]), 0.6
    x_t = jax.random.normal(jax.random.key(0), (6, 2))
    told = observed(data.denoiser(process), process, y, noise)
    for t in (0.01, 0.3, 0.8, 1.0):
        exact = observed_mixture(data, y, noise).denoiser(process)(x_t, jnp.asarray(t)).x0
        np.testing.assert_allclose(told(x_t, jnp.asarray(t)).x0, exact, atol=1e-6)


def test_denoising_reaches_the_exact_posterior_as_steps_grow():
    process, data, y, noise = VPLinear(), mixture(), jnp.array([0.1, 0.4]), 0.6
    exact = np.asarray(observed_mixture(data, y, noise).sample(jax.random.key(9), 2000))

    def distance(steps):
        out = run(Denoise.around(slow_walk(steps), y, noise=noise), process, data.denoiser(process))
        assert jnp.all(out.nfe == steps)
        return energy_distance(np.asarray(out.x0), exact)

    assert distance(5) > 0.01 and distance(150) < 0.003


def test_multiplying_by_r_is_exact_for_the_r_of_each_time_and_wrong_for_a_constant_one():
    """N(0, 1) times N(x; 1, 0.5^2) is N(0.8, 0.2); r(x_t, t) = E[r(x0) | x_t] is known, r(x_t) = r(x0) is 2015's."""
    process = VPLinear()
    denoiser = Denoiser(lambda x_t, t, label=None: Prediction(process.alpha(t) * x_t))

    def of_time(x, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        return -0.5 * (1.0 - alpha * x[:, 0]) ** 2 / (sigma**2 + 0.25)

    def constant(x, t):
        return -0.5 * (1.0 - x[:, 0]) ** 2 / 0.25

    right, wrong = (
        run(slow_walk(400), process, multiplied(denoiser, process, log_r), shape=(1,)).x0[:, 0]
        for log_r in (of_time, constant)
    )
    np.testing.assert_allclose([right.mean(), right.var()], [0.8, 0.2], atol=0.03)
    assert abs(wrong.var() - 0.2) > 0.04


def test_multiplying_leaves_the_denoiser_where_no_signal_is_left():
    plain = Denoiser(lambda x_t, t, label=None: Prediction(0.5 * x_t))
    x_t = jnp.ones((2, 1))
    times_r = multiplied(plain, Flow(), lambda x, t: jnp.sum(x**2, axis=1))
    np.testing.assert_array_equal(times_r(x_t, jnp.ones(2)).x0, plain(x_t, jnp.ones(2)).x0)
    np.testing.assert_allclose(times_r(x_t, jnp.full(2, 0.5)).x0, 0.5 * x_t + 0.25 / 0.5 * 2 * x_t)


def test_a_noisy_copy_with_less_noise_than_ve_ever_has_is_seen_at_its_least():
    """The equivalent observation has less noise than sigma_min, for which VE has no time."""
    asked = []
    denoiser = Denoiser(lambda x_t, t, label=None: asked.append(t) or Prediction(x_t))
    observed(denoiser, VE(), jnp.zeros(2), 0.011)(jnp.zeros((1, 2)), jnp.asarray(0.05))
    assert asked[0] > 0 and jnp.isfinite(VE().log_snr(asked[0]))


@pytest.mark.parametrize("project", [pixels(np.arange(64).reshape(8, 8, 1) % 3 == 0), block_means(2), block_means(4)])
def test_a_projector_is_one_and_what_agrees_agrees_exactly(project):
    x, other = jax.random.normal(jax.random.key(0), (2, 3, 8, 8, 1))
    y = project(other)
    np.testing.assert_allclose(project(project(x)), project(x), atol=1e-15)
    np.testing.assert_allclose(jnp.vdot(project(x), other), jnp.vdot(x, project(other)), rtol=1e-12)
    np.testing.assert_allclose(project(agreeing(x, project, y)), y, atol=1e-15)
    moved = agreeing(x, project, y) - x
    np.testing.assert_allclose(project(moved), moved, atol=1e-15)  # nothing else moves: it is the nearest


def test_super_resolution_keeps_the_small_image_and_null_space_alone_is_one_call():
    process, project = EDM(), block_means(2)
    denoiser = Denoiser(lambda x_t, t, label=None: Prediction(x_t * 0.25 / (0.25 + process.sigma(t) ** 2)))
    photo = jax.random.uniform(jax.random.key(0), (4, 4, 1))
    for iterations in (0, 2):
        edit = Posterior.around(Heun(steps=5), photo, project=project, iterations=iterations)
        out = run(edit, process, denoiser, n=3, shape=(4, 4, 1))
        np.testing.assert_allclose(project(out.x0), jnp.broadcast_to(project(photo), out.x0.shape), atol=1e-14)
        assert jnp.all(out.nfe == 9 * (4 if iterations else 1))


@pytest.mark.parametrize("call", [
    lambda: observed(correlated(EDM()), EDM(), jnp.zeros(2), 0.0),
    lambda: posterior(correlated(EDM()), EDM(), pixels(jnp.asarray(KNOWN)), jnp.zeros(2), -1.0),
    lambda: posterior(correlated(EDM()), EDM(), pixels(jnp.asarray(KNOWN)), jnp.zeros(2), iterations=-1),
])  # fmt: skip
def test_noise_and_iterations_that_cannot_be_are_errors(call):
    with pytest.raises(UserError, match="must be a"):
        call()


def test_the_small_image_beside_x_t_is_smooth_and_says_no_more_than_the_means():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    np.testing.assert_allclose(smoothed(x, 4), smoothed(block_means(4)(x), 4), atol=1e-14)
    np.testing.assert_allclose(smoothed(jnp.full((1, 8, 8, 3), 0.3), 4), 0.3, atol=1e-14)
    assert (smoothed(x, 4) != block_means(4)(x)).all()
