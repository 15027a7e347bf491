import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.models import MLP
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained

FLOAT32 = Precision()


def mlp(shape=(2,), num_classes=3, precision=FLOAT32, **hyper):
    return MLP(shape, num_classes, precision, Axis(), **{"width": 16, "depth": 2, **hyper})


def inputs(batch=5):
    return jax.random.normal(jax.random.key(0), (batch, 2)), jnp.linspace(0.0, 999.0, batch), jnp.arange(batch) % 4


def test_an_untrained_network_says_exactly_zero():
    output, _ = jax.jit(mlp().init_with_output)(jax.random.key(1), *inputs())
    assert output.shape == (5, 2)
    assert not output.any()


def test_time_and_label_reach_the_output_and_examples_do_not_see_each_other():
    x, t, label = inputs()
    apply, variables = jax.jit(mlp().apply), trained(mlp(), x, t, label)
    y = apply(variables, x, t, label)
    np.testing.assert_allclose(apply(variables, x[::-1], t[::-1], label[::-1]), y[::-1], atol=1e-5)
    assert np.abs(apply(variables, x, t + 1, label) - y).max(axis=1).min() > 1e-3
    assert np.abs(apply(variables, x, t, (label + 1) % 4) - y).max(axis=1).min() > 1e-3
    np.testing.assert_allclose(apply(variables, x, t), apply(variables, x, t, jnp.full(5, 3)), atol=1e-6)


def test_dropout_masks_go_with_the_example_and_are_off_without_keys():
    x, t, label = inputs()
    keys = jax.random.split(jax.random.key(2), 5)
    apply = jax.jit(mlp(dropout=0.5).apply)
    variables = trained(mlp(), x, t, label)
    y = apply(variables, x, t, label, keys)
    np.testing.assert_allclose(apply(variables, x[3:], t[3:], label[3:], keys[3:]), y[3:], atol=1e-5)
    assert np.abs(apply(variables, x, t, label) - y).max() > 1e-2


def test_without_classes_labels_are_ignored_and_have_no_parameters():
    x, t, label = inputs()
    network = mlp(num_classes=0)
    variables = trained(network, x, t, label)
    assert "label" not in variables["params"]["embedding"]
    np.testing.assert_array_equal(network.apply(variables, x, t, label), network.apply(variables, x, t))


def test_two_outputs_are_twice_as_many_numbers():
    output, _ = jax.eval_shape(mlp(outputs=2).init_with_output, jax.random.key(1), *inputs())
    assert output.shape == (5, 4)


def test_bfloat16_keeps_float32_parameters_and_output():
    x, t, label = inputs()
    low = mlp(precision=Precision(compute="bfloat16"))
    variables = trained(low, x, t, label)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    y, exact = low.apply(variables, x, t, label), mlp().apply(variables, x, t, label)
    assert y.dtype == jnp.float32
    assert np.linalg.norm(y - exact) < 0.02 * np.linalg.norm(exact)


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"shape": (8, 8, 1)}, "name: MLP is for points.*use unet"),
        ({"depth": 0}, "method.network.depth: 0"),
        ({"dropout": -0.1}, "method.network.dropout: -0.1"),
    ],
)
def test_a_network_that_cannot_be_is_refused(hyper, message):
    with pytest.raises(UserError, match=message):
        mlp(**hyper)
