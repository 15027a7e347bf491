import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.signal import upfirdn

from diffjax.models.layers import (
    Attention,
    Dropout,
    GroupNorm,
    blur,
    conv,
    downsample,
    groups_for,
    upsample,
)
from tests.models.trained import trained


@pytest.mark.parametrize("shape", [(3, 4, 6, 32), (2, 5, 5, 40), (2, 3, 3, 6), (2, 7, 256)])
def test_group_norm_and_its_gradients_are_flaxs_in_float64(shape, x64):
    x = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), shape, jnp.float64)
    ours = GroupNorm(dtype=jnp.float64, param_dtype=jnp.float64)
    flaxs = nn.GroupNorm(
        groups_for(shape[-1]), epsilon=1e-6, use_fast_variance=False, dtype=jnp.float64, param_dtype=jnp.float64
    )
    variables = trained(ours, x)
    assert jax.tree.structure(variables) == jax.tree.structure(trained(flaxs, x))

    def value_and_gradients(module):
        def loss(variables, x):
            y = module.apply(variables, x)
            return jnp.sum(jnp.sin(y) * jnp.arange(y.size).reshape(y.shape) / y.size), y

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(variables, x)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10),
        value_and_gradients(ours),
        value_and_gradients(flaxs),
    )


def test_groups_divide_the_channels_and_have_four_at_least():
    assert [groups_for(c) for c in (128, 256, 64, 32, 40, 50, 3)] == [32, 32, 16, 8, 10, 10, 1]
    for channels in range(1, 600):
        assert channels % groups_for(channels) == 0
        assert groups_for(channels) <= 32
        assert channels < 4 or channels / groups_for(channels) >= 4


def test_group_norm_in_bfloat16_takes_its_moments_in_float32():
    # 256 + small: in bfloat16, squares of 65,000 have steps of 512, and the variance of 1 would be lost.
    x = (256 + 2 * jax.random.normal(jax.random.key(0), (2, 8, 8, 16))).astype(jnp.bfloat16)
    low, high = GroupNorm(dtype=jnp.bfloat16), GroupNorm()
    variables = {"params": {"scale": jnp.ones(16), "bias": jnp.zeros(16)}}
    y = low.apply(variables, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(np.float32), high.apply(variables, x.astype(jnp.float32)), atol=0.02)


class TwoDropouts(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x, keys):
        return Dropout(self.rate, name="first")(x, keys), Dropout(self.rate, name="second")(x, keys)


def test_a_dropout_mask_belongs_to_the_example_wherever_it_stands_in_a_batch():
    x, keys = jnp.ones((6, 5, 5, 8)), jax.random.split(jax.random.key(0), 6)
    drop = jax.jit(lambda x, keys: TwoDropouts(0.4).apply({}, x, keys))
    whole, second = drop(x, keys)
    np.testing.assert_array_equal(drop(x[2:5], keys[2:5])[0], whole[2:5])
    np.testing.assert_array_equal(drop(x, keys[::-1])[0], whole[::-1])
    assert not np.array_equal(whole[0], whole[1]), "two examples share a mask"
    assert not np.array_equal(whole, second), "two places in the network share a mask"


def test_dropout_drops_at_its_rate_keeps_the_mean_and_is_off_without_keys():
    x, keys, rate = jnp.ones((50, 40, 40)), jax.random.split(jax.random.key(0), 50), 0.3
    y = Dropout(rate).apply({}, x, keys)
    dropped, spread = np.mean(y == 0), np.sqrt(rate * (1 - rate) / x.size)
    assert abs(dropped - rate) < 4 * spread
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)
    assert Dropout(rate).apply({}, x, None) is x
    assert Dropout(0.0).apply({}, x, keys) is x


def test_upsampling_repeats_every_pixel():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    np.testing.assert_array_equal(upsample(x), np.repeat(np.repeat(x, 2, axis=1), 2, axis=2))


FILTERS = [(1, 1), (1, 3, 3, 1)]


def along_both_sides(filtered, x):
    """A filter of one axis, applied to both sides of images."""
    return np.apply_along_axis(filtered, 2, np.apply_along_axis(filtered, 1, x))


@pytest.mark.parametrize("taps", FILTERS)
def test_resampling_is_the_upsampled_filtered_and_downsampled_signal_of_signal_processing(taps, x64):
    x = np.random.default_rng(0).normal(size=(2, 8, 12, 3))
    h, early = np.array(taps) / sum(taps), len(taps) // 2 - 1  # SciPy's answer starts before the first pixel

    def down(line):
        return upfirdn(h, line)[early + 1 :: 2][: len(line) // 2]

    def up(line):
        return upfirdn(2 * h, line, up=2)[early:][: 2 * len(line)]

    np.testing.assert_allclose(downsample(jnp.asarray(x), taps), along_both_sides(down, x), atol=1e-12)
    np.testing.assert_allclose(upsample(jnp.asarray(x), taps), along_both_sides(up, x), atol=1e-12)


@pytest.mark.parametrize("taps", FILTERS)
def test_enlarging_is_four_times_the_transpose_of_shrinking(taps, x64):
    """So that both put a pixel in the same place: a shift of half a pixel would be learned around, and never seen."""
    keys = jax.random.split(jax.random.key(0))
    x, y = (jax.random.normal(key, (1, side, side, 2), jnp.float64) for key, side in zip(keys, (8, 4), strict=True))
    np.testing.assert_allclose(jnp.vdot(upsample(y, taps), x), 4 * jnp.vdot(y, downsample(x, taps)), rtol=1e-12)


def test_a_strided_convolution_of_blurred_corners_is_a_convolution_that_is_then_shrunk(x64):
    x = jax.random.normal(jax.random.key(0), (2, 8, 6, 3), jnp.float64)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4), jnp.float64)
    formats = {"dtype": jnp.float64, "param_dtype": jnp.float64, "use_bias": False}
    variables = {"params": {"kernel": kernel}}
    taps = (1, 3, 3, 1)

    @jax.jit
    def both(x):
        cheap = conv(4, stride=2, padding="VALID", **formats).apply(variables, blur(x, taps))
        wide = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))  # beyond the edge the features of zeros count too
        return cheap, downsample(conv(4, padding="SAME", **formats).apply(variables, wide), taps)[:, 1:-1, 1:-1]

    np.testing.assert_allclose(*both(x), atol=1e-11)


@pytest.mark.parametrize("to_text", [False, True])
@pytest.mark.parametrize("head_dim", [0, 4])
def test_attention_is_its_formula_one_head_at_a_time(head_dim, to_text, x64):
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 12), jnp.float64)
    tokens = jax.random.normal(jax.random.key(1), (2, 5, 7), jnp.float64)
    valid = np.array([[True, True, False, True, False], [True, False, False, False, False]])
    module = Attention(head_dim, dtype=jnp.float64, param_dtype=jnp.float64)
    text = (tokens, jnp.asarray(valid)) if to_text else ()
    variables = trained(module, x, *text)
    linear = {
        name: (np.asarray(p["kernel"]), np.asarray(p["bias"]))
        for name, p in variables["params"].items()
        if name != "norm"
    }
    norm = GroupNorm(dtype=jnp.float64, param_dtype=jnp.float64)
    h = np.asarray(norm.apply({"params": variables["params"]["norm"]}, x)).reshape(2, 12, 12)
    context = np.asarray(tokens) if to_text else h
    q, k, v = (
        source @ linear[name][0] + linear[name][1] for name, source in zip("qkv", (h, context, context), strict=True)
    )
    d, seen = head_dim or 12, np.zeros_like(h)
    for example in range(2):
        for head in range(0, 12, d):
            part = (example, slice(None), slice(head, head + d))
            weights = np.exp(q[part] @ k[part].T / np.sqrt(d)) * (valid[example] if to_text else 1)
            seen[part] = weights / weights.sum(axis=1, keepdims=True) @ v[part]
    expected = np.asarray(x) + (seen @ linear["out"][0] + linear["out"][1]).reshape(x.shape)
    np.testing.assert_allclose(module.apply(variables, x, *text), expected, rtol=1e-11, atol=1e-11)


def test_attention_does_not_care_where_a_pixel_is():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    module = Attention()
    variables = trained(module, x)
    order = jax.random.permutation(jax.random.key(2), 16)

    def shuffle(x):
        return x.reshape(2, 16, 8)[:, order].reshape(x.shape)

    np.testing.assert_allclose(module.apply(variables, shuffle(x)), shuffle(module.apply(variables, x)), atol=1e-5)
