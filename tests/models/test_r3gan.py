from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from diffjax.errors import UserError
from diffjax.models.r3gan import GAIN, Block, R3GANDiscriminator, R3GANGenerator, grouped_convolution
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained

KEY = jax.random.key(0)
FORMATS = {"dtype": "float32", "param_dtype": "float32"}
TINY = {"widths": (8, 4), "blocks": (1, 1), "group": 4}


def normal(*shape, seed=1):
    return jax.random.normal(jax.random.key(seed), shape)


def make(network, shape=(8, 8, 1), num_classes=0, precision=None, **fields):
    return network(shape, num_classes, precision or Precision(), Axis(), **TINY | fields)


def init(network, *inputs):
    return jax.jit(network.init)(KEY, *inputs)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def convolution(x, kernel, groups, method=lax.conv_general_dilated):
    numbers = ("NHWC", "HWIO", "NHWC")
    return method(x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups)


def test_a_block_is_exactly_the_identity_at_initialisation():
    block, x = Block(8, 2, 4, FORMATS), normal(2, 5, 5, 4)
    variables = init(block, x)
    np.testing.assert_array_equal(jax.jit(block.apply)(variables, x), x)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(block.apply(v, x) ** 2)))(variables)["params"]
    assert jnp.abs(gradient["contract"]["kernel"]).max() > 0  # and will not stay so


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_grouped_convolution_is_xlas_own(groups):
    x, kernel = normal(2, 5, 6, 8), normal(3, 3, 8 // groups, 12, seed=2)
    expected = convolution(x, kernel, groups)
    y = jax.jit(partial(convolution, groups=groups, method=grouped_convolution))(x, kernel)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_its_second_derivatives_are_those_of_xlas_own():
    x, kernel = normal(1, 3, 3, 4), normal(3, 3, 2, 4, seed=2)

    def penalty(kernel, method):
        slope = jax.grad(lambda x: jnp.sum(jnp.tanh(convolution(x, kernel, 2, method))))(x)
        return jnp.sum(slope**2)

    ours, theirs = (
        jax.jit(jax.grad(partial(penalty, method=m)))(kernel) for m in (grouped_convolution, lax.conv_general_dilated)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_other_devices_take_their_own_grouped_convolution():
    x, kernel = jax.ShapeDtypeStruct((1, 4, 4, 4), "float32"), jax.ShapeDtypeStruct((3, 3, 2, 4), "float32")
    traced = jax.jit(partial(convolution, groups=2, method=grouped_convolution)).trace(x, kernel)
    assert "feature_group_count = 2" not in traced.lower(lowering_platforms=("cpu",)).as_text()
    for platform in ("cuda", "tpu"):
        assert "feature_group_count = 2" in traced.lower(lowering_platforms=(platform,)).as_text()


def test_weights_start_at_he_s_size_made_smaller_for_the_number_of_blocks():
    params = init(Block(64, 4, 16, FORMATS), jnp.zeros((1, 4, 4, 32)))["params"]
    np.testing.assert_allclose(jnp.std(params["expand"]["kernel"]), GAIN / 2 * 32**-0.5, rtol=0.05)
    np.testing.assert_allclose(jnp.std(params["grouped"]["kernel"]), GAIN / 2 * (9 * 16) ** -0.5, rtol=0.05)


@pytest.mark.parametrize("network", [R3GANGenerator, R3GANDiscriminator])
def test_a_network_whose_contractions_are_0_is_linear(network):
    """As they are before training, which another test shows; all else is as after some."""
    network = make(network)
    x = normal(3, 64) if hasattr(network, "latent") else normal(3, 8, 8, 1)
    variables = trained(network, x)
    for name, block in variables["params"].items():
        if name.startswith("block"):
            block["contract"] = jax.tree.map(jnp.zeros_like, block["contract"])
    one, other, both = jnp.split(jax.jit(network.apply)(variables, x.at[2].set(x[0] + x[1])), 3)
    np.testing.assert_allclose(both, one + other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shape", "stages"), [((8, 8, 1), 2), ((28, 28, 1), 3), ((32, 32, 3), 4), ((16, 28, 3), 3)])
def test_the_generator_makes_images_that_the_discriminator_judges(shape, stages):
    fields = {"widths": (8,) * stages, "blocks": (1,) * stages, "group": 4}
    generator, discriminator = (make(network, shape, **fields) for network in (R3GANGenerator, R3GANDiscriminator))
    x, _ = jax.eval_shape(lambda z: generator.init_with_output(KEY, z), jnp.zeros((3, 64)))
    logits, _ = jax.eval_shape(lambda x: discriminator.init_with_output(KEY, x), x)
    assert (x.shape, x.dtype, logits.shape, logits.dtype) == ((3, *shape), jnp.float32, (3,), jnp.float32)
    packed = jnp.zeros((3, *shape[:2], 2 * shape[2]))
    assert jax.eval_shape(lambda x: discriminator.init_with_output(KEY, x), packed)[0].shape == (3,)


def test_those_for_cifar_have_nearly_21_million_parameters_each():
    generator, discriminator = (n((32, 32, 3), 0, Precision(), Axis()) for n in (R3GANGenerator, R3GANDiscriminator))
    assert count(jax.eval_shape(generator.init, KEY, jnp.zeros((1, 64)))) == 20_732_160
    assert count(jax.eval_shape(discriminator.init, KEY, jnp.zeros((1, 32, 32, 3)))) == 20_683_776
    generator, discriminator = (network.clone(num_classes=10) for network in (generator, discriminator))
    label = jnp.array([0])
    assert count(jax.eval_shape(generator.init, KEY, jnp.zeros((1, 64)), label)) == 20_781_952
    assert count(jax.eval_shape(discriminator.init, KEY, jnp.zeros((1, 32, 32, 3)), label)) == 21_280_512


@pytest.mark.parametrize("network", [R3GANGenerator, R3GANDiscriminator])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shape": (30, 30, 3)}, "cannot have the 30x30x3 of data.name and data.size"),
        ({"shape": (32, 32, 3)}, "widths: .8, 4. must have 4 numbers for 32x32x3, one for each side from 4 to 32"),
        ({"blocks": (1,)}, "blocks: .1,. must have 2 numbers"),
        ({"group": 3}, "group: 3 does not divide 2 times the width 8"),
        ({"group": 0}, "group: 0 must be at least 1"),
        ({"widths": (8, 0)}, "widths: .8, 0. must be at least 1"),
        ({"blocks": (1, -1)}, "blocks: .1, -1. must be at least 0"),
        ({"expansion": 0}, "expansion: 0 must be at least 1"),
    ],
)
def test_what_it_cannot_build_is_the_users_mistake(network, fields, message):
    player = "generator" if network is R3GANGenerator else "discriminator"
    with pytest.raises(UserError, match=f"method.{player}.*{message}"):
        make(network, **fields)


def test_a_generator_that_would_not_see_the_label_is_the_users_mistake():
    assert make(R3GANGenerator, embedding=0).embedding == 0
    with pytest.raises(UserError, match="method.generator.embedding: 0 must be at least 1"):
        make(R3GANGenerator, embedding=0, num_classes=10)


@pytest.mark.parametrize("conditioning", ["projection", "concat"])
def test_labels_change_the_answer_where_there_are_any(conditioning):
    x, one, other = normal(4, 8, 8, 1), jnp.full(4, 3), jnp.full(4, 4)
    network = make(R3GANDiscriminator, num_classes=10, conditioning=conditioning, minibatch_std=2)
    variables, judge = trained(network, x, one), jax.jit(network.apply)
    assert jnp.abs(judge(variables, x, one) - judge(variables, x, other)).min() > 0
    several = network.clone(outputs=11)
    assert jax.eval_shape(several.init_with_output, KEY, x)[0].shape == (4, 11)


def test_the_generator_shows_a_label_beside_z():
    network, z = make(R3GANGenerator, num_classes=10), normal(1, 64)
    variables, draw = trained(network, z, jnp.array([3])), jax.jit(network.apply)
    assert jnp.abs(draw(variables, z, jnp.array([3])) - draw(variables, z, jnp.array([4]))).max() > 0.01
    assert "embed" not in jax.eval_shape(network.init, KEY, z)["params"]


@pytest.mark.parametrize("network", [R3GANGenerator, R3GANDiscriminator])
def test_networks_compute_in_bfloat16_and_answer_in_float32(network):
    network = make(network, num_classes=10, precision=Precision(compute="bfloat16"))
    seen = jnp.ones((2, 64) if hasattr(network, "latent") else (2, 8, 8, 1))
    out, variables = jax.eval_shape(network.init_with_output, KEY, seen, jnp.array([0, 1]))
    assert out.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
