from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.models.mlp_gan import EPSILON, MlpDiscriminator, MlpGenerator
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained

KEY = jax.random.key(0)


def make(network, num_classes=0, shape=(2,), **fields):
    return network(shape, num_classes, Precision(), Axis(), **{"width": 6, "depth": 1} | fields)


def normal(*shape, seed=1):
    return jax.random.normal(jax.random.key(seed), shape)


def test_a_maxout_unit_is_the_largest_of_its_linear_maps():
    network, x = make(MlpDiscriminator, maxout=5), normal(7, 2)
    variables = trained(network, x)
    params = variables["params"]
    pieces = (x @ params["hidden_0"]["kernel"] + params["hidden_0"]["bias"]).reshape(7, 6, 5)
    head = params["logit"]["logit"]
    expected = pieces.max(axis=-1) @ head["kernel"][:, 0] + head["bias"]
    np.testing.assert_allclose(network.apply(variables, x), expected, rtol=1e-4, atol=1e-5)


def test_a_normalised_layer_is_relu_of_what_has_mean_zero_and_variance_one():
    network, z = make(MlpGenerator, norm="batch"), normal(9, 2)
    variables = trained(network, z)
    params = jax.tree.map(np.asarray, variables["params"])
    h = np.asarray(z) @ params["hidden_0"]["kernel"]
    h = (h - h.mean(0)) / np.sqrt(h.var(0) + EPSILON) * params["norm_0"]["scale"] + params["norm_0"]["bias"]
    expected = np.maximum(h, 0) @ params["output"]["kernel"] + params["output"]["bias"]
    x, _ = jax.jit(partial(network.apply, train=True, mutable=["batch_stats"]))(variables, z)
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-4)


def test_those_of_pacgan_have_as_many_parameters_as_its_code():
    generator = make(MlpGenerator, width=400, depth=4, norm="batch", initial=0.02)
    discriminator = make(MlpDiscriminator, width=200, depth=3, maxout=5, initial=0.02)
    trees = [
        jax.eval_shape(network.init, KEY, jnp.zeros((1, inputs)))["params"]
        for network, inputs in ((generator, 2), (discriminator, 4))  # two packed points
    ]
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in trees]
    assert sizes[0] == 2 * 400 + 3 * 400 * 400 + 4 * 2 * 400 + 400 * 2 + 2
    assert sizes[1] == 4 * 1000 + 1000 + 2 * (200 * 1000 + 1000) + 201


def test_initial_weights_have_the_size_asked_for():
    for network, inputs in ((MlpGenerator, 2), (MlpDiscriminator, 2)):
        network = make(network, width=100, depth=2, initial=0.02)
        params = jax.jit(network.init)(KEY, normal(1, inputs))["params"]
        np.testing.assert_allclose(jnp.std(params["hidden_1"]["kernel"]), 0.02, rtol=0.05)


@pytest.mark.parametrize(
    ("network", "fields"),
    [
        (MlpGenerator, {"norm": "batch", "conditioning": "batch_norm"}),
        (MlpGenerator, {"norm": "batch"}),
        (MlpDiscriminator, {"conditioning": "concat"}),
        (MlpDiscriminator, {"minibatch_std": 2}),
    ],
)
def test_labels_reach_the_answer(network, fields):
    network, seen, label = make(network, num_classes=3, **fields), normal(4, 2), jnp.zeros(4, jnp.int32)
    variables = trained(network, seen, label)
    variables |= {"batch_stats": jax.tree.map(jnp.abs, variables.get("batch_stats", {}))}
    answer = jax.jit(network.apply)
    assert jnp.abs(answer(variables, seen, label) - answer(variables, seen, label + 1)).max() > 1e-3


def test_without_the_deviation_examples_are_judged_alone_and_with_it_they_are_not():
    x = normal(4, 2)
    others = x.at[1].multiply(3.0)
    for group in (0, 2):
        network = make(MlpDiscriminator, minibatch_std=group)
        variables = trained(network, x[:1])
        judge = jax.jit(partial(network.apply, variables))
        assert (judge(x)[0] == judge(others)[0]) == (group == 0)
        np.testing.assert_allclose(judge(x)[2:], judge(others)[2:], rtol=1e-6)  # the other group


def test_several_outputs_are_so_many_logits():
    network = make(MlpDiscriminator, outputs=4)
    assert jax.eval_shape(network.init_with_output, KEY, jnp.zeros((5, 2)))[0].shape == (5, 4)


@pytest.mark.parametrize(
    ("network", "fields", "message"),
    [
        (MlpGenerator, {"norm": "x"}, "method.generator.norm: 'x' is not one of none, batch"),
        (MlpGenerator, {"conditioning": "batch_norm"}, "'batch_norm' needs method.generator.norm to be 'batch'"),
        (MlpDiscriminator, {"conditioning": "x"}, "method.discriminator.conditioning: 'x' is not one of projection"),
        (MlpGenerator, {"latent": 0}, "method.generator.latent: 0 must be at least 1"),
        (MlpGenerator, {"depth": -1}, "method.generator.depth: -1 must be at least 0"),
        (MlpDiscriminator, {"width": 0}, "method.discriminator.width: 0 must be at least 1"),
        (MlpDiscriminator, {"maxout": -1}, "method.discriminator.maxout: -1"),
    ],
)
def test_what_does_not_fit_is_the_users_mistake(network, fields, message):
    with pytest.raises(UserError, match=message):
        make(network, **fields)
