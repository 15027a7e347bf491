import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.models import DiT
from diffjax.models.dit import Block, from_patches, to_patches
from diffjax.models.text import Text
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained

FLOAT32 = Precision()
SHAPE = (4, 8, 2)


def dit(shape=SHAPE, num_classes=3, precision=FLOAT32, **hyper):
    small = {"width": 16, "depth": 2, "heads": 2, "embedding": 8}
    return DiT(shape, num_classes, precision, Axis(), **small | hyper)


def inputs(batch=4):
    x = jax.random.normal(jax.random.key(0), (batch, *SHAPE))
    return x, jnp.linspace(-1.5, 1.1, batch), jnp.arange(batch) % 4


@pytest.fixture(scope="module")
def variables():
    return trained(dit(), *inputs())


@pytest.fixture(scope="module")
def apply():
    return jax.jit(dit(dropout=0.2).apply)


@pytest.mark.parametrize(
    ("size", "count"),  # 33M, 130M, 675M
    [((384, 12, 6), 32_963_360), ((768, 12, 12), 130_512_416), ((1152, 28, 16), 675_129_632)],
)
def test_the_papers_sizes_have_their_number_of_parameters(size, count):
    """Peebles & Xie 2022, table 1; theirs count the 256 fixed positions, which are no parameters here."""
    width, depth, heads = size
    network = DiT((32, 32, 4), 1000, FLOAT32, Axis(), outputs=2, width=width, depth=depth, heads=heads)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 4)), jnp.zeros(1))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count - 256 * width


def test_patches_are_the_squares_of_an_image_and_make_it_again():
    x = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patches = to_patches(x, 2)
    assert patches.shape == (2, 6, 12)
    np.testing.assert_array_equal(patches[1, 4], x[1, 2:4, 2:4].reshape(-1))
    np.testing.assert_array_equal(from_patches(patches, 2, 4, 6), x)


def test_an_untrained_network_says_exactly_zero():
    output, _ = jax.jit(dit(outputs=2).init_with_output)(jax.random.key(1, impl="rbg"), *inputs())
    assert output.shape == (4, 4, 8, 4) and output.dtype == jnp.float32
    assert not output.any()


def test_a_new_block_is_the_identity_and_its_attention_as_sharp_as_the_authors():
    """Their q, k and v are one matrix [width, 3 width] with Glorot's variance 2 / (4 width)."""
    block, width = Block(4, 4.0, 0.0, jnp.float32, jnp.float32), 128
    h, condition = jax.random.normal(jax.random.key(0), (2, 6, width)), jnp.ones((2, width))
    output, variables = jax.jit(lambda key: block.init_with_output(key, h, condition, None, Text()))(jax.random.key(1))
    np.testing.assert_array_equal(output, h)
    for name in "qkv":
        np.testing.assert_allclose(variables["params"][name]["kernel"].var(), 1 / (2 * width), rtol=0.03)


def test_time_and_label_reach_the_output_and_examples_do_not_see_each_other(variables, apply):
    x, t, label = inputs()
    order = jnp.array([2, 0, 3, 1])
    y = apply(variables, x, t, label)
    np.testing.assert_allclose(apply(variables, x[order], t[order], label[order]), y[order], atol=1e-5)
    for other in (apply(variables, x, t + 0.5, label), apply(variables, x, t, (label + 1) % 4)):
        assert np.abs(other - y).reshape(4, -1).max(axis=1).min() > 1e-3


def test_a_patch_knows_where_it_is(variables, apply):
    x, t, label = inputs()
    moved = jnp.roll(apply(variables, jnp.roll(x, 2, axis=2), t, label), -2, axis=2)
    assert np.abs(moved - apply(variables, x, t, label)).max() > 1e-2


def test_dropout_masks_go_with_the_example_and_are_off_without_keys(variables, apply):
    x, t, label = inputs()
    keys, order = jax.random.split(jax.random.key(5), 4), jnp.array([2, 0, 3, 1])
    y = apply(variables, x, t, label, keys)
    np.testing.assert_allclose(apply(variables, x[order], t[order], label[order], keys[order]), y[order], atol=1e-5)
    assert np.abs(apply(variables, x, t, label) - y).max() > 1e-2


def test_bfloat16_keeps_float32_parameters_and_output(variables, apply):
    x, t, label = inputs()
    low = dit(precision=Precision(compute="bfloat16"))
    y, exact = jax.jit(low.apply)(variables, x, t, label), apply(variables, x, t, label)
    assert y.dtype == jnp.float32
    assert np.linalg.norm(y - exact) < 0.03 * np.linalg.norm(exact)


def test_recomputing_blocks_changes_memory_and_not_the_gradients(variables):
    x, t, label = inputs()
    keys = jax.random.split(jax.random.key(5), 4)
    gradients = []
    for remat in (False, True):
        network = dit(dropout=0.2, remat=remat)
        gradient = jax.grad(lambda v, network=network: jnp.mean((network.apply(v, x, t, label, keys) - x) ** 2))
        gradients.append(jax.jit(gradient)(variables))
        assert ("remat" in str(jax.make_jaxpr(gradient)(variables))) == remat
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max() + 1e-7), *gradients)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"shape": (2,)}, "name: DiT is for images.*use mlp"),
        ({"patch": 3}, "method.network.patch: 3 does not divide the sides of a 4x8 image"),
        ({"width": 18}, "method.network.width: 18 must be a multiple of 4"),
        ({"heads": 3}, "method.network.heads: 3 does not divide the width 16"),
        ({"depth": 0}, "method.network.depth: 0"),
        ({"dropout": 1.0}, "method.network.dropout: 1.0"),
    ],
)
def test_a_network_that_cannot_be_is_refused(hyper, message):
    with pytest.raises(UserError, match=message):
        dit(**hyper)
