import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.models import UNet
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained

FLOAT32 = Precision()
SHAPE = (8, 8, 2)


def unet(shape=SHAPE, num_classes=3, precision=FLOAT32, **hyper):
    return UNet(
        shape,
        num_classes,
        precision,
        Axis(),
        **{"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,), **hyper},
    )


def inputs(batch=4, dtype=jnp.float32):
    x = jax.random.normal(jax.random.key(0), (batch, *SHAPE), dtype)
    return x, jnp.linspace(-1.5, 1.1, batch, dtype=dtype), jnp.arange(batch) % 4


@pytest.fixture(scope="module")
def variables():
    return trained(unet(), *inputs(), size=0.1)


@pytest.fixture(scope="module")
def apply():
    return jax.jit(unet(dropout=0.2).apply)


def parameters(module):
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *module.shape)), jnp.zeros(1))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): x
        for path, x in jax.tree_util.tree_leaves_with_path(shapes)
    }


def test_the_defaults_are_ddpms_cifar10_network_to_the_last_parameter():
    network = UNet((32, 32, 3), 0, Precision(), Axis())
    assert sum(x.size for x in parameters(network).values()) == 35_746_307  # "35.7 million", Ho et al. 2020, appendix B


def test_ddpms_256_pixel_network_has_114_million_parameters():
    network = UNet((256, 256, 3), 0, Precision(), Axis(), multipliers=(1, 1, 2, 2, 4, 4))
    assert sum(x.size for x in parameters(network).values()) == 113_673_219  # "114 million", ibid.


def test_an_untrained_network_says_exactly_zero():
    x, t, label = inputs()
    key = jax.random.key(1, impl="rbg")  # compiles in half of threefry's time
    output, _ = jax.jit(unet().init_with_output)(key, x, t, label)
    assert output.shape == x.shape
    assert output.dtype == jnp.float32
    assert not output.any()


def test_attention_stands_where_it_was_asked_for_and_in_the_middle():
    def attended(attention):
        names = parameters(unet((16, 16, 1), multipliers=(1, 1, 2), attention=attention))
        return {name.split("/")[1] for name in names if "attention/q/kernel" in name}

    middle = {"middle_attention"}
    assert attended(()) == middle
    assert attended((8,)) == middle | {"down_1_0_attention", "up_1_0_attention", "up_1_1_attention"}
    assert attended((16, 4)) == middle | {
        f"{way}_{level}_{i}_attention" for level in (0, 2) for way, i in (("down", 0), ("up", 0), ("up", 1))
    }
    assert attended((5,)) == middle


def test_examples_do_not_see_each_other(variables, apply):
    x, t, label = inputs()
    order = jnp.array([2, 0, 3, 1])
    y = apply(variables, x, t, label)
    np.testing.assert_allclose(apply(variables, x[order], t[order], label[order]), y[order], atol=2e-5)


def test_time_and_label_reach_the_output(variables, apply):
    x, t, label = inputs()
    y = apply(variables, x, t, label)
    for other in (apply(variables, x, t + 0.5, label), apply(variables, x, t, (label + 1) % 4)):
        assert np.abs(other - y).reshape(4, -1).max(axis=1).min() > 1e-3


def test_dropout_masks_go_with_the_example_and_are_off_without_keys(variables, apply):
    x, t, label = inputs()
    keys, order = jax.random.split(jax.random.key(5), 4), jnp.array([2, 0, 3, 1])
    y = apply(variables, x, t, label, keys)
    moved = apply(variables, x[order], t[order], label[order], keys[order])
    np.testing.assert_allclose(moved, y[order], atol=2e-5)
    assert np.abs(apply(variables, x, t, label) - y).max() > 1e-2
    assert np.abs(apply(variables, x, t, label, keys[order]) - y).reshape(4, -1).max(axis=1).min() > 1e-2


def test_recomputing_blocks_changes_memory_and_not_the_gradients():
    x, t, label = inputs()
    keys = jax.random.split(jax.random.key(5, impl="rbg"), 4)  # compiles in half of threefry's time
    small = {"multipliers": (1,), "attention": (), "dropout": 0.2}
    variables = trained(unet(**small), x, t, label, size=0.1)

    def gradient(remat):
        network = unet(remat=remat, **small)

        def loss(variables):
            return jnp.mean((network.apply(variables, x, t, label, keys) - x) ** 2)

        return loss, jax.jit(jax.grad(loss))(variables)

    (plain_loss, plain), (remat_loss, remat) = gradient(False), gradient(True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max() + 1e-7), plain, remat)
    for loss, recomputes in ((plain_loss, False), (remat_loss, True)):
        assert ("remat" in str(jax.make_jaxpr(jax.grad(loss))(variables))) == recomputes


def test_bfloat16_computes_in_16_bits_but_keeps_float32_parameters_and_output(variables, apply):
    x, t, label = inputs()
    network = unet(precision=Precision(compute="bfloat16"))
    assert {p.dtype for p in parameters(network).values()} == {jnp.dtype("float32")}
    y = jax.jit(network.apply)(variables, x, t, label)
    exact = apply(variables, x, t, label)
    assert y.dtype == jnp.float32
    assert np.linalg.norm(y - exact) < 0.03 * np.linalg.norm(exact)
    jaxpr = str(jax.make_jaxpr(network.apply)(variables, x, t, label))
    convolutions = re.findall(r"(\w+)\[[\d,]+\] = conv_general_dilated", jaxpr)
    assert convolutions == ["bf16"] * (len(convolutions) - 1) + ["f32"]  # the last one writes the output


def test_in_float64_nothing_is_rounded_to_fewer_bits(x64):
    x, t, label = inputs(dtype=jnp.float64)
    network = unet(precision=Precision(compute="float64", params="float64"), head_dim=4)
    shapes = jax.eval_shape(network.init, jax.random.key(1), x, t, label)
    jaxpr = str(jax.make_jaxpr(network.apply)(shapes, x, t, label))
    assert "f64[4,8,8,2]" in jaxpr
    assert not re.search(r"\b(f32|f16|bf16)\[", jaxpr)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"shape": (28, 28, 1), "multipliers": (1, 2, 2, 2)}, r"multipliers: \(1, 2, 2, 2\) .*28x28.* at most 3"),
        ({"shape": (9, 8, 1), "multipliers": (1, 2)}, r"multipliers: .*9x8.* at most 1"),
        ({"shape": (2,)}, "'unet' needs images.*use 'mlp'"),
        ({"multipliers": ()}, "method.network.multipliers"),
        ({"channels": 0}, "method.network.channels: 0 must be at least 1"),
        ({"head_dim": 3}, "method.network.head_dim: 3 does not divide"),
        ({"dropout": 1.0}, "method.network.dropout: 1.0"),
    ],
)
def test_a_network_that_cannot_be_is_refused_before_anything_is_compiled(hyper, message):
    with pytest.raises(UserError, match=f"{message}") as error:
        unet(**hyper)
    assert "\n" not in str(error.value)
