"""The pieces of a game: what a generator draws from, and what tells of collapse."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from diffjax.adversarial import Watchman
from diffjax.adversarial.diversity import moments_of, spread
from diffjax.methods.game import Latent
from diffjax.methods.method import example_keys
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.methods.games import KEY, LABELLED, Least, gan, start


def test_latents_are_standard_normal_and_truncation_bounds_them():
    keys = jax.random.split(jax.random.key(1), 20_000)
    z = Latent()(keys, 2)
    np.testing.assert_allclose(z.mean(0), 0, atol=4 / np.sqrt(20_000))
    np.testing.assert_allclose(jnp.cov(z.T), np.eye(2), atol=4 * np.sqrt(2 / 20_000))
    cut = Latent(truncation=0.5)(keys, 2)
    assert jnp.abs(cut).max() <= 0.5
    # The variance of a normal held to [-c, c]: 1 - 2 c phi(c) / (2 Phi(c) - 1).
    np.testing.assert_allclose(cut.var(), 1 - 0.5 * 2 * 0.3520653 / 0.3829249, rtol=0.03)


def test_diversity_is_the_spread_of_generated_examples_over_that_of_real_ones():
    method = gan(optimizer=optax.sgd(0.0))
    state, batch, step = start(method)
    keys = example_keys(jax.random.fold_in(KEY, 0), 0, {"position": batch["position"][0]})
    z = Latent()(jax.vmap(lambda key: jax.random.split(key, 4))(keys)[:, 0], 2)
    fake = method.make(method.generator).apply(state.params["generator"], z)
    expected = jnp.var(fake, axis=0).mean() / jnp.var(batch["x"][0], axis=0).mean()
    np.testing.assert_allclose(step(state, batch)[1]["diversity"], expected, rtol=1e-4)


def test_one_example_for_each_label_is_a_collapse_that_pooled_labels_would_hide():
    class ByLabel(Least):
        latent = 1

        @nn.compact
        def __call__(self, z, label=None, train=False):
            means = jnp.array([[-3.0, 1.0], [2.0, 0.5], [1.0, -3.0]])
            return means[label] + self.param("bias", nn.initializers.zeros_init(), ())

    method = gan(LABELLED, batch_size=64, conditional=True, generator=ByLabel, optimizer=optax.sgd(0.0))
    state, batch, step = start(method)
    x = ByLabel((2,), 3, Precision(), Axis()).apply(state.params["generator"], None, batch["label"])
    batch = batch | {"x": x + 0.1 * batch["x"]}
    metrics = step(state, batch)[1]
    assert metrics["diversity"] < 1e-3 and metrics["collapsed"] == 1
    x, label, real = x[0], batch["label"][0], batch["x"][0]
    assert spread(moments_of(x, label, 0)) / spread(moments_of(real, label, 0)) > 0.95, "pooled"
    within = sum(np.mean(label == k) * np.var(real[label == k], axis=0).mean() for k in range(3))
    np.testing.assert_allclose(spread(moments_of(real, label, 3)), within, rtol=1e-4)
    half = [moments_of(part, y, 3) for part, y in ((real[:20], label[:20]), (real[20:], label[20:]))]
    whole = jax.tree.map(lambda a, b: (20 * a + 44 * b) / 64, *half)
    np.testing.assert_allclose(spread(whole), within, rtol=1e-4)  # parts add up


def test_a_run_can_be_told_to_be_ill():
    watch = Watchman()
    good = {"diversity": 0.8, "logit_gap": 1.0, "g_gradient_norm": 0.1}

    def said_of(*steps):
        """What it says of a line: the means of so many steps' values, and of what it saw in each."""
        seen = [good | step for step in steps]
        seen = [step | watch.signs(jax.tree.map(jnp.float32, step)) for step in seen]
        return watch({name: float(np.mean([step[name] for step in seen])) for name in seen[0]})

    assert said_of({}) == watch({"loss": 1.0}) == ""
    assert "collapsed in 100% of steps: samples spread less than 0.01 times" in said_of({"diversity": 0.005})
    assert "diverged in 100% of steps: samples spread more than 100 times" in said_of({"diversity": 200.0})
    assert "logits are more than 10000 apart (means: diversity 0.8, logit_gap -2e+04" in said_of({"logit_gap": -2e4})
    assert "starved in 100% of steps: the generator's gradient is" in said_of({"g_gradient_norm": 0.0})
    assert said_of({"diversity": 1e9}, {}, {}) == ""  # one wild step, whose mean over them is wild too
    assert "collapsed in 67% of steps" in said_of({"diversity": 1e9}, {"diversity": 0.0}, {"diversity": 0.0})
    assert gan(watchman=Watchman(patience=0.0)).patience == float("inf")
