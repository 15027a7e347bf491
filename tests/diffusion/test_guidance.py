"""Guidance on a mixture of Gaussians whose conditional and unconditional denoisers, and classifier, are exact."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import DDIM, EDM, GUIDANCE, Denoiser, Flow, Prediction, VPLinear, grid, guidance, nested
from diffjax.diffusion.oracle import GaussianMixture
from diffjax.errors import UserError

pytestmark = pytest.mark.usefixtures("x64")


def mixture():
    means = jnp.asarray([[1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]])
    return GaussianMixture(means, jnp.asarray([0.3, 0.2, 0.4]), jnp.asarray([0.4, 0.35, 0.25]))


with jax.enable_x64(True):
    X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2)))
    LABEL, NULL, T = jnp.asarray([0, 1, 2, 0, 1, 2]), 3, jnp.asarray(0.3, float)


@pytest.mark.parametrize("process", [VPLinear(), EDM(sigma_max=5.0), Flow()])
def test_the_exact_classifier_at_scale_one_makes_the_conditional_denoiser_of_the_unconditional(process):
    """Bayes: score(x_t | y) = score(x_t) + grad log p(y | x_t)."""
    exact = mixture().denoiser(process)
    guided = guidance.classifier(exact, NULL, process, lambda x, t: mixture().log_class(x, t, process), scale=1.0)
    np.testing.assert_allclose(guided(X, T, LABEL).x0, exact(X, T, LABEL).x0, rtol=1e-9)


def test_classifier_and_classifier_free_guidance_are_one_when_everything_is_exact():
    process, exact = VPLinear(), mixture().denoiser(VPLinear())
    a = guidance.classifier(exact, NULL, process, lambda x, t: mixture().log_class(x, t, process), scale=2.5)
    b = guidance.classifier_free(exact, NULL, process, scale=2.5)
    np.testing.assert_allclose(a(X, T, LABEL).x0, b(X, T, LABEL).x0, rtol=1e-8)


@pytest.mark.parametrize(("scale", "calls"), [(0.0, 1), (1.0, 1), (2.5, 2)])
def test_classifier_free_guidance_extrapolates_and_says_what_it_costs(scale, calls):
    exact = mixture().denoiser(VPLinear())
    conditional, unconditional = exact(X, T, LABEL).x0, exact(X, T, jnp.full(6, NULL)).x0
    guided = guidance.classifier_free(exact, NULL, VPLinear(), scale=scale)
    expected = unconditional + scale * (conditional - unconditional)
    np.testing.assert_allclose(guided(X, T, LABEL).x0, expected, rtol=1e-12)
    assert guided.cost(T) == calls


def test_rescaling_brings_back_the_conditional_standard_deviation():
    exact = mixture().denoiser(VPLinear())
    conditional = exact(X, T, LABEL).x0
    plain, half, whole = (
        guidance.classifier_free(exact, NULL, VPLinear(), scale=3.0, rescale=share)(X, T, LABEL).x0
        for share in (0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(whole.std(axis=1), conditional.std(axis=1), rtol=1e-12)
    np.testing.assert_allclose(half, (plain + whole) / 2, rtol=1e-12)


def test_interval_guidance_guides_and_costs_only_inside_its_interval():
    process = VPLinear()
    exact = mixture().denoiser(process)
    guided = partial(guidance.classifier_free, scale=3.0)
    wrapped = guidance.interval(exact, NULL, process, low=0.2, high=1.5, guidance=guided)
    inside = process.time_of(-2 * jnp.log(jnp.asarray(1.0)))
    below, above = process.time_of(-2 * jnp.log(jnp.asarray([0.1, 3.0])))
    both = guided(exact, NULL, process)
    np.testing.assert_allclose(wrapped(X, inside, LABEL).x0, both(X, inside, LABEL).x0)
    for t in (below, above):
        np.testing.assert_allclose(wrapped(X, t, LABEL).x0, exact(X, t, LABEL).x0)
    assert [int(wrapped.cost(t)) for t in (below, inside, above)] == [1, 2, 1]
    # The same for a time per example, as likelihoods have it.
    times = jnp.where(jnp.arange(6) < 3, inside, above)
    expected = jnp.where(jnp.arange(6)[:, None] < 3, both(X, inside, LABEL).x0, exact(X, above, LABEL).x0)
    np.testing.assert_allclose(wrapped(X, times, LABEL).x0, expected)
    # And a sampler counts what it was told: the calls inside and outside its interval.
    times = grid.linear(process, 20)
    drawn = DDIM()(process, wrapped.with_label(LABEL), X, times, jax.random.key(0))
    levels = process.sigma(times[:-1]) / process.alpha(times[:-1])
    assert jnp.all(drawn.nfe == 20 + jnp.sum((levels > 0.2) & (levels <= 1.5)))


def test_autoguidance_extrapolates_away_from_the_worse_model():
    process = VPLinear()
    exact = mixture().denoiser(process)
    worse = Denoiser(lambda x_t, t, label=None: Prediction(exact(x_t, t, label).x0 * 0.9 + 0.1))
    guided = guidance.autoguidance(exact, NULL, process, worse, scale=2.0)
    np.testing.assert_allclose(guided(X, T, LABEL).x0, 2 * exact(X, T, LABEL).x0 - worse(X, T, LABEL).x0)
    assert guided.cost(T) == 2
    assert guidance.autoguidance(exact, NULL, process, worse, scale=1.0) is exact


def test_dynamic_thresholding_divides_by_the_percentile_where_it_is_above_one():
    x0 = jnp.asarray([[0.1, -0.4, 0.9, 0.2], [0.5, -3.0, 2.0, 1.0]])
    answers = Denoiser(lambda x_t, t, label=None: Prediction(x0))
    held = guidance.dynamic_threshold(answers, 0, EDM(), percentile=2 / 3, guidance=guidance.none)
    np.testing.assert_allclose(held(x0, T).x0, [x0[0], [0.25, -1.0, 1.0, 0.5]])  # of the second the 2/3 quantile is 2


def test_rounded_times_keep_the_networks_eps_of_the_next_known_time_and_change_nothing_at_the_times_themselves():
    process, exact = VPLinear(), mixture().denoiser(VPLinear())
    coarse = guidance.rounded(exact, NULL, process, steps=10)
    np.testing.assert_allclose(coarse(X, T, LABEL).x0, exact(X, T, LABEL).x0, rtol=1e-12)
    known, steps = jnp.arange(1, 11) / 10, jnp.arange(1, 21) / 20
    told = jax.vmap(lambda t: process.eps(coarse(X, t, LABEL).x0, X, t))(steps)
    np.testing.assert_allclose(told[1::2], told[::2], rtol=1e-9)  # floor(i / 2) at step i of 20
    np.testing.assert_allclose(
        told[1::2], jax.vmap(lambda t: process.eps(exact(X, t, LABEL).x0, X, t))(known), rtol=1e-9
    )
    between, following = jnp.asarray(0.33), jnp.asarray(0.4)
    eps = process.eps(exact(X, following, LABEL).x0, X, following)
    found = coarse(X, between, LABEL).x0
    np.testing.assert_allclose(process.eps(found, X, between), eps, rtol=1e-9)
    assert np.abs(found - exact(X, between, LABEL).x0).max() > 0.01
    first, early = jnp.asarray(0.1), jnp.asarray(0.01)  # 0 is no time that a network is told
    eps = process.eps(exact(X, first, LABEL).x0, X, first)
    np.testing.assert_allclose(process.eps(coarse(X, early, LABEL).x0, X, early), eps, rtol=1e-9)


def test_rounded_times_leave_x0_where_no_signal_is_left_and_count_the_calls_of_the_time_they_use():
    process, exact = Flow(), mixture().denoiser(Flow())
    coarse, end = guidance.rounded(exact, NULL, process, steps=10), jnp.ones(())
    for t in (end, jnp.asarray(0.95)):  # the second is rounded up to the first
        np.testing.assert_array_equal(coarse(X, t, LABEL).x0, exact(X, end, LABEL).x0)
    within = partial(guidance.interval, low=0.5, guidance=partial(guidance.classifier_free, scale=3.0))
    wrapped = guidance.rounded(exact, NULL, process, steps=10, guidance=within)
    t = jnp.asarray([0.31, 0.4])  # the second is the first, rounded up to a tenth
    np.testing.assert_array_equal(process.sigma(t) / process.alpha(t) > 0.5, [False, True])
    assert wrapped.cost(t[0]) == 2


def test_static_clipping_holds_every_estimate_to_the_datas_range():
    answers = Denoiser(lambda x_t, t, label=None: Prediction(jnp.asarray([[-3.0], [0.5]])))
    np.testing.assert_array_equal(guidance.clip_x0(answers)(X[:2], T).x0, [[-1], [0.5]])


def test_a_learned_variance_stays_the_conditional_models_under_guidance():
    said = Denoiser(lambda x_t, t, label: Prediction(x_t, lambda s: label[:, None] * jnp.ones_like(x_t)))
    guided = guidance.classifier_free(said, NULL, VPLinear(), scale=2.0)
    np.testing.assert_array_equal(guided(X, T, LABEL).log_var(T)[:, 0], LABEL)


def test_the_scale_given_on_the_command_line_reaches_the_guidance_that_is_wrapped():
    wrapped = partial(guidance.dynamic_threshold, guidance=partial(guidance.interval, low=0.1))
    scaled = nested.with_scale(wrapped, 4.0)
    assert scaled.keywords["guidance"].keywords["low"] == 0.1
    assert scaled.keywords["guidance"].keywords["guidance"].keywords == {"scale": 4.0}
    assert nested.innermost(scaled) is guidance.classifier_free
    assert nested.with_scale(guidance.none, 2.0).keywords == {"scale": 2.0}


def test_a_second_model_is_handed_to_the_guidance_that_needs_one():
    wrapped = partial(guidance.interval, guidance=partial(guidance.autoguidance, run="weak", scale=3.0))
    completed = nested.with_other(wrapped, lambda func, fields: (func, fields["run"]))
    assert completed.keywords["guidance"].keywords["other"] == (guidance.autoguidance, "weak")
    assert nested.with_other(guidance.classifier_free, lambda *_: 1 / 0) is guidance.classifier_free


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("classifier_free", {"scale": -1.0}),
        ("classifier_free", {"rescale": 1.5}),
        ("interval", {"low": 2.0}),
        ("dynamic_threshold", {"percentile": 0.0}),
        ("rounded", {"steps": 0}),
        ("autoguidance", {"scale": -0.5, "other": Denoiser(lambda *_: None)}),
    ],
)
def test_guidance_that_makes_no_sense_is_one_line(name, fields):
    field = next(iter(fields))
    with pytest.raises(UserError, match=f"sampler.guidance.{field}"):
        GUIDANCE[name](Denoiser(lambda *_: None), NULL, VPLinear(), **fields)
