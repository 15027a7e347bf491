from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from diffjax.errors import UserError
from diffjax.models.norms import (
    ConditionalBatchNorm,
    SpectralConv,
    SpectralDense,
    SpectralEmbed,
    minibatch_deviation,
    power_iteration,
)

KEY = jax.random.key(0)
LAYERS = {
    "conv": (partial(SpectralConv, 6, (3, 3)), jnp.ones((1, 4, 4, 5)), "kernel"),
    "dense": (partial(SpectralDense, 6), jnp.ones((1, 5)), "kernel"),
    "embed": (partial(SpectralEmbed, 7, 6), jnp.array([2]), "embedding"),
}


def matrix(kernel):
    return np.asarray(kernel).reshape(-1, kernel.shape[-1])


def normal(*shape, seed=1, **how):
    return jax.random.normal(jax.random.key(seed), shape, **how)


@pytest.mark.parametrize("name", LAYERS)
def test_weights_are_divided_by_their_largest_singular_value(name, x64):
    layer, x, weights = LAYERS[name]
    formats = {"dtype": "float64", "param_dtype": "float64"}
    train = layer(train=True, **formats)
    variables = jax.jit(train.init)(KEY, x)
    call = jax.jit(lambda v: train.apply(v, x, mutable=["spectral"])[1])
    for _ in range(300):
        variables = variables | call(variables)
    kernel = variables["params"][weights]
    sigma = np.linalg.svd(matrix(kernel), compute_uv=False)[0]
    plain = {"conv": partial(nn.Conv, 6, (3, 3)), "dense": partial(nn.Dense, 6), "embed": partial(nn.Embed, 7, 6)}
    divided = {"params": variables["params"] | {weights: kernel / sigma}}
    expected = plain[name](**formats).apply(divided, x)
    np.testing.assert_allclose(layer(**formats).apply(variables, x), expected, rtol=1e-6)


def test_the_largest_singular_value_is_that_of_numpy(x64):
    kernel, u = normal(3, 3, 4, 8, dtype="float64"), normal(8, dtype="float64")
    step = jax.jit(power_iteration)
    for _ in range(500):
        sigma, u = step(kernel, u)
    np.testing.assert_allclose(sigma, np.linalg.svd(matrix(kernel), compute_uv=False)[0], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(matrix(kernel / sigma), 2), 1, rtol=1e-6)


def test_the_gradient_of_sigma_is_the_outer_product_of_its_vectors():
    """d sigma / d W = v u^T with u and v constants, and not what the iteration that found them would add."""
    kernel, u = normal(5, 3), normal(3, seed=2)
    (_, new), gradient = jax.jit(jax.value_and_grad(power_iteration, has_aux=True))(kernel, u)
    v = np.asarray(kernel) @ np.asarray(u)
    np.testing.assert_allclose(gradient, np.outer(v / np.linalg.norm(v), new), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_spectral_vectors_move_in_training_only(name):
    layer, x, weights = LAYERS[name]
    variables = jax.jit(layer().init)(KEY, x)
    assert set(variables["params"]) <= {weights, "bias"}
    start = variables["spectral"]["u"]
    np.testing.assert_allclose(jnp.linalg.norm(start), 1, rtol=1e-6)
    evaluated, kept = layer().apply(variables, x, mutable=["spectral"])
    np.testing.assert_array_equal(kept["spectral"]["u"], start)
    trained, kept = layer(train=True).apply(variables, x, mutable=["spectral"])
    assert not np.allclose(kept["spectral"]["u"], start)
    np.testing.assert_array_equal(trained, evaluated)
    np.testing.assert_array_equal(layer(train=True).apply(variables, x), trained)  # where nothing may change


def test_averaged_vectors_need_not_have_length_one():
    """An average over training is shorter than what it averages; the networks that are drawn from are averages."""
    layer, x, _ = LAYERS["dense"]
    variables = layer().init(KEY, x)
    shorter = variables | {"spectral": {"u": 0.5 * variables["spectral"]["u"]}}
    np.testing.assert_allclose(layer().apply(shorter, x), layer().apply(variables, x), rtol=1e-5)


def test_bfloat16_layers_keep_their_norm_in_float32():
    layer = SpectralDense(4, dtype=jnp.bfloat16, train=True)
    y, variables = jax.eval_shape(layer.init_with_output, KEY, jnp.ones((2, 3)))
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_each_class_has_its_own_scale_and_shift_and_all_share_the_statistics():
    x, label = 3 + 2 * normal(6, 4, 4, 5), jnp.array([0, 1, 2, 0, 1, 2])
    norm = ConditionalBatchNorm(train=True, axis_name=None, num_classes=3)
    variables = jax.jit(norm.init)(KEY, x, label)
    plain = nn.BatchNorm(use_running_average=False, momentum=0.9)
    expected, kept = jax.jit(lambda x: plain.apply(plain.init(KEY, x), x, mutable=["batch_stats"]))(x)
    apply = jax.jit(partial(norm.apply, mutable=["batch_stats"]))
    y, stats = apply(variables, x, label)
    np.testing.assert_allclose(y, expected, atol=1e-6)  # scale 1 and shift 0 at first
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), stats["batch_stats"], kept["batch_stats"])

    scale, shift = normal(3, 5, seed=2), normal(3, 5, seed=3)
    params = {"scale": {"embedding": scale}, "shift": {"embedding": shift}}
    y, _ = apply(variables | {"params": params}, x, label)
    rows = (1 + scale[label])[:, None, None], shift[label][:, None, None]
    np.testing.assert_allclose(y, expected * rows[0] + rows[1], atol=1e-5)


def test_scale_and_shift_are_linear_in_a_vector_and_absent_without_a_condition():
    x, vector = normal(6, 4, 4, 5), normal(6, 3, seed=2)
    norm = ConditionalBatchNorm(train=False, axis_name=None)
    y, variables = jax.jit(norm.init_with_output)(KEY, x, vector)
    scale, shift = (vector @ variables["params"][name]["kernel"] for name in ("scale", "shift"))
    np.testing.assert_allclose(y, x * (1 + 1e-5) ** -0.5 * (1 + scale[:, None, None]) + shift[:, None, None], atol=1e-5)
    plain = jax.eval_shape(norm.init, KEY, x)
    assert jax.tree.structure(plain) == jax.tree.structure(
        jax.eval_shape(nn.BatchNorm(use_running_average=True).init, KEY, x)
    )
    spectral = ConditionalBatchNorm(train=False, axis_name=None, spectral_norm=True)
    assert set(jax.eval_shape(spectral.init, KEY, x, vector)["spectral"]) == {"scale", "shift"}


def test_batch_statistics_are_those_of_the_whole_batch_on_any_number_of_devices():
    x, label = 1 + normal(8, 2, 2, 3), jnp.arange(8) % 3
    one = ConditionalBatchNorm(train=True, axis_name=None, num_classes=3)
    many = ConditionalBatchNorm(train=True, axis_name="data", num_classes=3)
    variables = jax.jit(one.init)(KEY, x, label)

    def apply(norm, x, label):
        return norm.apply(variables, x, label, mutable=["batch_stats"])

    y, kept = jax.jit(partial(apply, one))(x, label)
    shards = x.reshape(4, 2, 2, 2, 3), label.reshape(4, 2)
    ys, each = jax.jit(jax.vmap(partial(apply, many), axis_name="data"))(*shards)
    np.testing.assert_allclose(ys.reshape(x.shape), y, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[3], b, rtol=1e-5), each, kept)


def test_the_deviation_is_the_mean_over_pixels_and_channels_of_the_groups_own():
    x = normal(6, 2, 3, 4)
    y = jax.jit(partial(minibatch_deviation, group=3))(x)
    assert y.shape == (6, 2, 3, 5)
    np.testing.assert_array_equal(y[..., :4], x)
    groups = np.asarray(x).reshape(2, 3, 2, 3, 4)
    expected = np.sqrt(groups.var(axis=1) + 1e-8).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(y[..., 4], np.repeat(expected, 3)[:, None, None] * np.ones((1, 2, 3)), rtol=1e-5)
    np.testing.assert_array_equal(minibatch_deviation(x, 0), x)
    np.testing.assert_allclose(minibatch_deviation(normal(4, 7), 4)[:, -1], normal(4, 7).std(axis=0).mean(), rtol=1e-5)


def test_a_group_is_of_neighbours_so_that_devices_do_not_matter():
    x = normal(8, 2, 2, 3)
    deviation = partial(minibatch_deviation, group=2)
    shards = jax.jit(jax.vmap(deviation))(x.reshape(4, 2, 2, 2, 3))
    np.testing.assert_allclose(shards.reshape(8, 2, 2, 4), jax.jit(deviation)(x), rtol=1e-6)


def test_equal_images_have_a_deviation_with_finite_derivatives():
    x = jnp.ones((4, 2, 2, 3))

    def squared(x):
        return jnp.sum(jax.grad(lambda x: jnp.sum(minibatch_deviation(x, 4)[..., -1]))(x) ** 2)

    assert jnp.isfinite(jax.jit(jax.grad(squared))(x)).all()


def test_a_group_that_does_not_divide_the_batch_is_the_users_mistake():
    with pytest.raises(UserError, match="method.discriminator.minibatch_std: 4 does not divide a batch of 6"):
        minibatch_deviation(jnp.ones((6, 3)), 4)
    with pytest.raises(UserError, match="method.discriminator.minibatch_std: -1 must not be negative"):
        minibatch_deviation(jnp.ones((6, 3)), -1)
    assert minibatch_deviation(jnp.ones((1, 3)), 4, initializing=True).shape == (1, 4)
