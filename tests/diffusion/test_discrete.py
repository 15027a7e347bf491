"""Diffusion of categories against the enumeration of small chains, and against an exact model of a finite data set."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.diffusion import discrete
from diffjax.errors import UserError

PROCESSES = {
    "binomial": discrete.binomial(2, steps=5),
    "uniform": discrete.uniform(3, steps=5),
    "absorbing": discrete.absorbing(3, steps=5),
    "absorbing cosine": discrete.absorbing(2, steps=4, schedule="cosine"),
}
every = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)


def kernel(process, n):
    """The matrix q(x_n | x_{n-1}) of one step, row x_{n-1}: a value is kept, or drawn anew."""
    beta = process.betas[n - 1]
    return (1 - beta) * np.eye(process.states) + beta * np.asarray(process.noise)


def between(process, first, last):
    """The product of the kernels of steps first + 1 .. last."""
    matrices = [kernel(process, n) for n in range(first + 1, last + 1)]
    return np.linalg.multi_dot([np.eye(process.states), np.eye(process.states), *matrices])


def beats(length, period):
    return np.array([np.arange(length) % period == phase for phase in range(period)]).astype(int)


def oracle(process, data):
    """p(x0 | x_t) of each entry where x0 is any row of `data` [n, d], equally likely: exact, by Bayes' rule."""

    def denoise(x_t, t):
        def log_likelihood(x0):
            marginal = process.marginal(jnp.broadcast_to(x0, x_t.shape), t)
            return jnp.log(jnp.take_along_axis(marginal, x_t[..., None], axis=-1)).sum(axis=(-2, -1))

        weight = jax.nn.softmax(jax.lax.map(log_likelihood, jnp.asarray(data)), axis=0)
        return jnp.einsum("nb,ndk->bdk", weight, jax.nn.one_hot(data, process.values))

    return denoise


def exact_terms(process, denoise, data):
    """The divergence of each step 1 .. T, in nats, averaged over the data and all x_t: nothing is drawn."""
    x_t = jnp.asarray(list(itertools.product(range(process.states), repeat=data.shape[1])))

    def at(n):
        t = jnp.full(len(x_t), n / process.steps)
        x0_hat = denoise(x_t, t)

        def of(x0):
            x0 = jnp.broadcast_to(x0, x_t.shape)
            likely = jnp.take_along_axis(process.marginal(x0, t), x_t[..., None], axis=-1)[..., 0].prod(axis=-1)
            terms = discrete.step_divergence(process, x0_hat, x0, x_t, t)
            return jnp.sum(jnp.where(likely > 0, likely * terms, 0))

        return jnp.mean(jax.vmap(of)(jnp.asarray(data)))

    return np.asarray(jax.lax.map(at, jnp.arange(1, process.steps + 1)))


# ------------------------------------------------------------------------------------------------------------ the chain


@every
def test_the_marginal_is_the_product_of_one_step_kernels(process, x64):
    for n in range(process.steps + 1):
        found = process.marginal(jnp.arange(process.values)[None], jnp.full(1, n / process.steps))[0]
        np.testing.assert_allclose(found, between(process, 0, n)[: process.values], atol=1e-14)


@every
def test_the_posterior_is_bayes_rule_between_any_two_times(process, x64):
    T = process.steps
    for s, t in itertools.combinations(range(T + 1), 2):
        for x0, x_t in itertools.product(range(process.values), range(process.states)):
            joint = between(process, 0, s)[x0] * between(process, s, t)[:, x_t]
            if joint.sum() < 1e-12:  # an x_t that this x0 never leads to
                continue
            truth = jax.nn.one_hot(jnp.full((1, 1), x0), process.values)
            found = process.posterior(truth, jnp.full((1, 1), x_t), jnp.full(1, s / T), jnp.full(1, t / T))[0, 0]
            np.testing.assert_allclose(found, joint / joint.sum(), atol=1e-14)


@every
def test_the_reverse_step_of_true_marginals_is_the_true_reverse_step(process, x64):
    """p(x_s | x_t) of data that are not uniform, from their p(x0 | x_t)."""
    T, data = process.steps, np.arange(1, process.values + 1) / sum(range(1, process.values + 1))
    for s, t in itertools.combinations(range(T + 1), 2):
        at_s, forward = data @ between(process, 0, s)[: process.values], between(process, s, t)
        x0_and_t = data[:, None] * between(process, 0, t)[: process.values]
        for x_t in np.flatnonzero(x0_and_t.sum(0) > 1e-12):
            x0_hat = jnp.asarray(x0_and_t[:, x_t] / x0_and_t[:, x_t].sum())[None, None]
            found = process.posterior(x0_hat, jnp.full((1, 1), x_t), jnp.full(1, s / T), jnp.full(1, t / T))[0, 0]
            joint = at_s * forward[:, x_t]
            np.testing.assert_allclose(found, joint / joint.sum(), atol=1e-14)


def test_the_binomial_kernel_of_2015_is_d3pm_uniform_with_two_values():
    """B(x_t; x_{t-1} (1 - beta_t) + 0.5 beta_t), beta_t = 1 / (T - t + 1), which erases 1/T of the signal a step."""
    T, process = 2000, discrete.binomial(2)
    assert process == discrete.uniform(2, steps=T, schedule="linear")
    for n in (1, 2, 1000, 1999, 2000):
        beta = 1 / (T - n + 1)
        rate = np.array([0, 1]) * (1 - beta) + 0.5 * beta
        np.testing.assert_allclose(kernel(process, n), np.stack([1 - rate, rate], -1), rtol=1e-12)
    t = jnp.arange(T + 1) / T
    np.testing.assert_allclose(process.keep(t), 1 - t, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 7, 1000])
@pytest.mark.parametrize("schedule", discrete.SCHEDULES)
def test_nothing_of_the_data_is_left_at_the_end_of_a_schedule(schedule, steps):
    process = discrete.uniform(4, steps=steps, schedule=schedule)
    assert process.keep(jnp.array([0.0, 1.0])).tolist() == [1.0, 0.0]
    assert np.all(np.diff(process.keep(jnp.arange(steps + 1) / steps)) < 0)


def test_what_is_not_masked_stays_and_a_mask_is_lifted_at_its_rate_by_the_models_word():
    process, s, t = discrete.absorbing(3, steps=10), jnp.full(1, 0.2), jnp.full(1, 0.5)
    x0_hat = jnp.array([[[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]]])
    found = process.posterior(x0_hat, jnp.array([[1, 3]]), s, t)[0]
    np.testing.assert_allclose(found[0], [0, 1, 0, 0], atol=1e-6)
    lifted = (0.8 - 0.5) / (1 - 0.5)
    np.testing.assert_allclose(found[1], [*(lifted * x0_hat[0, 1]), 1 - lifted], atol=1e-6)


@every
def test_corruption_has_the_frequencies_of_the_marginal_and_each_example_its_own_key(process):
    keys, t = jax.random.split(jax.random.key(0), 4000), jnp.full(4000, 0.4)
    x0 = jnp.broadcast_to(jnp.arange(process.values), (4000, process.values))
    x_t = process.corrupt(x0, t, keys)
    for entry in range(process.values):
        share = np.bincount(x_t[:, entry], minlength=process.states) / 4000
        expected = process.marginal(x0[:1], t[:1])[0, entry]
        np.testing.assert_allclose(share, expected, atol=4 * 0.5 / np.sqrt(4000))
    np.testing.assert_array_equal(process.corrupt(x0[7:9], t[7:9], keys[7:9]), x_t[7:9])


# ------------------------------------------------------------------------------------------------------------ the bound


def test_the_divergence_is_the_textbooks():
    generator = np.random.RandomState(0)
    q, p = generator.dirichlet([1, 1, 1], (2, 6, 5))
    q[0, 0], q[1, 1] = [0, 1, 0], [0.5, 0, 0.5]
    textbook = np.sum(np.where(q > 0, q * np.log(np.where(q > 0, q, 1) / p), 0), axis=(1, 2))
    np.testing.assert_allclose(discrete.divergence(jnp.asarray(q), jnp.asarray(p)), textbook, rtol=1e-5)
    assert discrete.divergence(jnp.array([[[0.5, 0.5]]]), jnp.array([[[1.0, 0.0]]]))[0] == np.inf


@pytest.mark.parametrize("shift", [1e-3, 1e-5, 1e-6])
def test_the_divergence_of_nearly_equal_distributions_is_accurate_in_float32(shift):
    q = np.array([[[0.25, 0.75], [1e-4, 1 - 1e-4]]], np.float32)
    p = (q + np.array([shift, -shift], np.float32)).astype(np.float32)
    in_full, other = q.astype(np.float64), p.astype(np.float64)
    # The second order of sum q log(q/p), in numbers that float32 holds exactly; its rest is of the third.
    exact = np.sum(in_full * np.log(in_full / other) - in_full + other)
    np.testing.assert_allclose(discrete.divergence(jnp.asarray(q), jnp.asarray(p))[0], exact, rtol=1e-3)


@every
def test_with_the_exact_model_of_one_entry_the_bound_is_the_entropy_of_the_data(process, x64):
    """For one entry the reverse chain is exact, whatever the number of steps: nothing is lost."""
    data = np.array([[0], [0], [0], [1]])
    terms = exact_terms(process, oracle(process, data), data)
    np.testing.assert_allclose(terms.sum(), -0.75 * np.log(0.75) - 0.25 * np.log(0.25), rtol=1e-10)


@every
def test_the_bound_of_any_model_is_the_divergence_of_its_whole_trajectories(process, x64):
    """sum q(x_1 .. x_T | x0) log(q(x_1 .. x_T | x0) / p(x_0 .. x_T)), every trajectory enumerated."""
    T, x0 = process.steps, 1
    tables = jax.nn.softmax(jax.random.normal(jax.random.key(1), (T + 1, process.states, process.values)))

    def denoise(x_t, t):
        return tables[jnp.round(t * T).astype(int)[:, None], x_t]

    def reverse(n):
        x_t, t = jnp.arange(process.states)[:, None], jnp.full(process.states, n / T)
        return process.posterior(denoise(x_t, t), x_t, t - 1 / T, t)[:, 0]

    forward, back = [kernel(process, n) for n in range(1, T + 1)], [np.asarray(reverse(n)) for n in range(1, T + 1)]
    whole = 0.0
    for way in itertools.product(range(process.states), repeat=T):
        way = (x0, *way)
        q = np.prod([forward[n][way[n], way[n + 1]] for n in range(T)])
        if q > 0:
            p = process.noise[way[-1]] * np.prod([back[n][way[n + 1], way[n]] for n in range(T)])
            whole += q * np.log(q / p)
    terms = exact_terms(process, denoise, np.array([[x0]]))
    np.testing.assert_allclose(terms.sum(), whole, rtol=1e-10)

    keys = jax.random.split(jax.random.key(2), 3000)
    estimate = jax.jit(lambda keys: discrete.bound(process, denoise, jnp.full((3000, 1), x0), keys, draws=3))(keys)
    for term, expected in ((estimate.decoder, terms[0]), (estimate.steps, terms[1:].sum()), (estimate.total, whole)):
        np.testing.assert_allclose(term.mean(), expected, atol=4 * term.std() / np.sqrt(3000) + 1e-9)
    np.testing.assert_allclose(estimate.prior, 0, atol=1e-12)
    np.testing.assert_allclose(estimate.total, estimate.prior + estimate.steps + estimate.decoder)


@pytest.mark.parametrize("name", ["binomial", "absorbing"])
def test_what_independent_entries_lose_vanishes_as_steps_grow(name, x64):
    """For two phases of four bits the truth is 1 bit; with the exact model the bound approaches it like 1/T."""
    data, gaps = beats(4, 2), []
    for steps in (16, 32, 64):
        process = discrete.KERNELS[name](2, steps=steps)
        gaps.append(exact_terms(process, oracle(process, data), data).sum() / np.log(2) - 1)
    assert 0 < gaps[2] < 0.05
    np.testing.assert_allclose(np.array(gaps[:-1]) / gaps[1:], 2, atol=0.25)


def test_the_exact_model_of_heartbeat_reaches_the_truth_but_its_k_only_the_truth_less_the_edge():
    process, data = discrete.binomial(2), beats(20, 5)
    edge = discrete.edge_entropy(process, 20) / np.log(2)
    rate = 1 / 4000
    np.testing.assert_allclose(edge, -20 * (rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate)), rtol=1e-3)
    np.testing.assert_allclose(edge, 0.0670, atol=5e-4)

    x0 = jnp.asarray(np.tile(data, (80, 1)))
    keys = jax.random.split(jax.random.key(0), len(x0))
    found = jax.jit(lambda x0, keys: discrete.bound(process, oracle(process, data), x0, keys, 256))(x0, keys)
    total, error = found.total.mean() / np.log(2), found.total.std() / np.log(2) / np.sqrt(len(x0))
    assert error < 0.02
    np.testing.assert_allclose(total, np.log2(5) + 0.003, atol=4 * error + 0.003)  # 0.003: independent entries
    assert abs(-found.steps.mean() / np.log(2) - edge - -2.391) < 4 * error  # K; published is -2.414


def test_no_k_is_above_minus_the_entropy_of_the_first_step(x64):
    """For two phases of four bits: K is -H(X_1) less what independent entries lose, the bound -H(X_0) less that."""
    data, process = beats(4, 2), discrete.binomial(2, steps=64)
    x_1 = jnp.asarray(list(itertools.product(range(2), repeat=4)))
    first = [process.marginal(jnp.broadcast_to(jnp.asarray(x0), x_1.shape), jnp.full(16, 1 / 64)) for x0 in data]
    q = np.mean([np.take_along_axis(np.asarray(m), np.asarray(x_1)[..., None], -1).prod((1, 2)) for m in first], axis=0)
    limit, edge = np.sum(q * np.log(q)), discrete.edge_entropy(process, 4)
    np.testing.assert_allclose(limit, -np.log(2) - edge, atol=2e-3)  # x_1 all but determines x_0
    terms = exact_terms(process, oracle(process, data), data)
    assert limit - 0.03 < -terms[1:].sum() - edge < limit
    assert -np.log(2) - 0.03 < -terms.sum() < -np.log(2)


def test_k_is_not_defined_with_a_mask():
    with pytest.raises(ValueError, match="K is not defined"):
        discrete.edge_entropy(discrete.absorbing(2), 20)


@every
def test_the_gradient_is_finite_from_the_first_step_to_the_last_for_a_model_that_is_sure_and_wrong(process):
    x0 = jnp.broadcast_to(jnp.arange(2), (8, 2))

    def loss(logits, n):
        t = jnp.full(8, n / process.steps)
        x0_hat = jnp.broadcast_to(jax.nn.softmax(logits), (8, 2, process.values))
        return discrete.step_divergence(process, x0_hat, x0, process.corrupt(x0, t, jax.random.key(n)), t).sum()

    steps, sure = jnp.arange(1, process.steps + 1), jnp.array([0.0, 5.0, 25.0, 80.0])
    logits = sure[:, None] * jnp.arange(process.values - 1.0, -1, -1)
    for_all_steps = jax.vmap(jax.value_and_grad(loss), (None, 0))
    values, gradients = jax.jit(jax.vmap(for_all_steps, (0, None)))(logits, steps)
    assert np.isfinite(values).all() and np.isfinite(gradients).all()


@pytest.mark.parametrize("sure", [1.0, 20.0, 80.0])
def test_the_divergence_of_the_first_step_is_the_surprise_of_the_data(sure):
    """Even where p(x0) is lost beside 1: float32 holds exp(-80)."""
    process, t = discrete.uniform(2, steps=5), jnp.full(1, 1 / 5)
    log_x0 = jax.nn.log_softmax(jnp.array([[[0.0, sure]]]))
    found = discrete.step_divergence(process, jnp.exp(log_x0), jnp.zeros((1, 1), int), jnp.ones((1, 1), int), t)
    np.testing.assert_allclose(found, -log_x0[0, :, 0], rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------- sampling


@pytest.mark.parametrize("name", discrete.KERNELS)
def test_the_exact_model_draws_the_five_heartbeats_in_equal_shares_and_nothing_else(name):
    data, number = beats(20, 5), 600
    process = discrete.KERNELS[name](2, steps=250)
    spec, keys = discrete.DiscreteAncestral(steps=250), jax.random.split(jax.random.key(3), number)
    drawn = np.asarray(jax.jit(lambda keys: spec(process, oracle(process, data), (20,), keys).x0)(keys))
    count = (drawn[:, None] == data).all(-1).sum(0)
    # What was once unmasked is never corrected: two entries of a step that contradict each other stay.
    assert number - count.sum() <= {"absorbing": 0.04 * number}.get(name, 0)
    assert np.sum((count - count.mean()) ** 2) / count.mean() < 18.5  # chi squared with 4 degrees: 1 in 1,000


def test_a_sample_depends_on_its_own_key_alone_and_the_way_there_is_shown():
    process, even = discrete.absorbing(2, steps=8), lambda x_t, t: jnp.full((*x_t.shape, 2), 0.5)
    spec, keys = discrete.DiscreteAncestral(steps=4), jax.random.split(jax.random.key(3), 6)
    all_six = spec(process, even, (4,), keys, trajectory=True)
    np.testing.assert_array_equal(spec(process, even, (4,), keys[2:4]).x0, all_six.x0[2:4])
    assert all_six.x_t.shape == all_six.x0_hat.shape == (4, 6, 4) and jnp.all(all_six.nfe == 4)
    np.testing.assert_array_equal(all_six.x_t[0], 2)  # nothing but masks
    assert set(np.unique(all_six.x0)) <= {0, 1}


def test_a_step_over_several_draws_from_their_composition(x64):
    """One entry, 3 of 6 steps at a time: the data's own frequencies still come out."""
    process, data = discrete.uniform(3, steps=6), np.array([[0], [1], [1], [2], [2], [2]])
    keys = jax.random.split(jax.random.key(0), 6000)
    drawn = discrete.DiscreteAncestral(steps=2)(process, oracle(process, data), (1,), keys).x0
    np.testing.assert_allclose(np.bincount(drawn[:, 0]) / 6000, [1 / 6, 2 / 6, 3 / 6], atol=4 * 0.5 / np.sqrt(6000))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: discrete.binomial(2, steps=0), "method.kernel.steps: 0"),
        (lambda: discrete.uniform(2, schedule="sine"), "method.kernel.schedule: 'sine'"),
        (lambda: discrete.binomial(3), "method.kernel.name: 'binomial' needs data with 2 values"),
        (lambda: discrete.DiscreteAncestral(steps=0), "sampler.steps: 0"),
        (
            lambda: discrete.DiscreteAncestral(steps=9).check(discrete.binomial(2, steps=8)),
            "sampler.steps: 9 must be at most the 8 steps",
        ),
    ],
)
def test_a_wrong_hyper_parameter_is_named(make, field):
    with pytest.raises(UserError, match=field):
        make()
