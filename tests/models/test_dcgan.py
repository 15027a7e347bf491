from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.models.mlp_gan import MlpDiscriminator, MlpGenerator
from diffjax.parallel import Axis
from diffjax.precision import Precision

PAIRS = {"dcgan": (DcganGenerator, DcganDiscriminator), "mlp": (MlpGenerator, MlpDiscriminator)}


def make(network, shape=(8, 8, 1), num_classes=0):
    return network(shape, num_classes, Precision(), Axis(), width=4)


def init(network, *inputs):
    return jax.jit(network.init)(jax.random.key(0), *inputs)


def compiled(network, **how):
    return jax.jit(lambda variables, *inputs: network.apply(variables, *inputs, **how))


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (16, 28, 3)])
def test_the_generator_makes_images_that_the_discriminator_judges(shape):
    generator, discriminator = make(DcganGenerator, shape), make(DcganDiscriminator, shape)
    images, _ = jax.eval_shape(lambda z: generator.init_with_output(jax.random.key(0), z), jnp.zeros((3, 64)))
    logits, _ = jax.eval_shape(lambda x: discriminator.init_with_output(jax.random.key(0), x), images)
    assert (images.shape, images.dtype) == ((3, *shape), jnp.float32)
    assert (logits.shape, logits.dtype) == ((3,), jnp.float32)


def test_generated_images_lie_between_minus_one_and_one():
    z = 1e4 * jax.random.normal(jax.random.key(1), (9, 64))
    network = make(DcganGenerator)
    x = compiled(network)(init(network, z), z)
    assert 0.9 < jnp.max(jnp.abs(x)) <= 1


def test_the_weights_start_with_a_standard_deviation_of_two_hundredths():
    params = init(DcganGenerator((16, 16, 3), 0, Precision(), Axis()), jnp.zeros((1, 64)))["params"]
    for layer in ("project", "conv_1"):
        np.testing.assert_allclose(jnp.std(params[layer]["kernel"]), 0.02, rtol=0.05)


@pytest.mark.parametrize("pair", PAIRS)
def test_the_discriminator_judges_each_image_alone(pair):
    network = make(PAIRS[pair][1])
    x = jax.random.normal(jax.random.key(1), (6, 8, 8, 1))
    variables = init(network, x)
    assert list(variables) == ["params"]  # no statistics of a batch
    judge = compiled(network, train=True)
    others = x.at[1:].multiply(3.0)
    np.testing.assert_allclose(judge(variables, x)[0], judge(variables, others)[0], rtol=1e-5)


def test_batch_statistics_are_used_in_training_and_their_average_when_sampling():
    network = make(DcganGenerator)
    z = jax.random.normal(jax.random.key(1), (6, 64))
    variables = init(network, z)
    others = z.at[1:].multiply(3.0)
    sample, train = compiled(network), compiled(network, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(sample(variables, z)[0], sample(variables, others)[0], rtol=1e-5)
    trained, kept = train(variables, z)
    assert not np.allclose(trained[0], train(variables, others)[0][0], rtol=1e-2)
    h = z @ variables["params"]["project"]["kernel"]
    mean = h.reshape(-1, 8).mean(0)
    np.testing.assert_allclose(kept["batch_stats"]["norm_0"]["mean"], 0.1 * mean, rtol=1e-4, atol=1e-7)


def test_the_papers_discriminator_normalises_all_but_its_first_convolution_over_the_batch():
    network = DcganDiscriminator((16, 16, 3), 0, Precision(), Axis(), width=4, norm="batch")
    x = 1e3 * jax.random.normal(jax.random.key(1), (6, 16, 16, 3))  # beside which nothing is left of eps
    variables = init(network, x)
    assert set(variables["batch_stats"]) == {"norm_1", "norm_2"}
    assert ["bias" in variables["params"][f"conv_{i}"] for i in range(3)] == [True, False, False]
    train = compiled(network, train=True, mutable=["batch_stats"])
    logits, kept = train(variables, x)
    np.testing.assert_allclose(train(variables, jnp.flip(x, 0))[0], jnp.flip(logits), rtol=1e-4, atol=1e-6)
    assert not np.allclose(logits[0], train(variables, x.at[1:].multiply(3.0))[0][0], rtol=1e-2)
    np.testing.assert_allclose(train(variables, 3.0 * x)[0], logits, rtol=1e-2)
    assert np.abs(kept["batch_stats"]["norm_1"]["mean"]).max() > 0


@pytest.mark.parametrize("network", [network for pair in PAIRS.values() for network in pair])
def test_labels_change_the_answer_where_there_are_any(network):
    network = make(network, num_classes=10)
    seen = jax.random.normal(jax.random.key(1), (1, network.latent) if hasattr(network, "latent") else (1, 8, 8, 1))
    variables, answer = init(network, seen, jnp.array([3])), compiled(network)
    assert not np.allclose(answer(variables, seen, jnp.array([3])), answer(variables, seen, jnp.array([4])))
    for unlabelled in (network.clone(num_classes=0).init, lambda key, seen, label: network.init(key, seen)):
        assert "embed" not in str(jax.eval_shape(unlabelled, jax.random.key(0), seen, jnp.array([3])))  # noqa: B023


def test_a_label_starts_as_long_as_a_one_hot_vector():
    """As long as z it would drown z, and every class would have one image."""
    labels = init(make(MlpGenerator, num_classes=1_000), jnp.zeros((1, 2)), jnp.array([0]))["params"]["labelled"]
    np.testing.assert_allclose(jnp.mean(jnp.sum(labels["embed"]["embedding"] ** 2, axis=-1)), 1.0, rtol=0.1)


@pytest.mark.parametrize("pair", PAIRS)
def test_networks_compute_in_bfloat16_and_answer_in_float32(pair):
    for network in PAIRS[pair]:
        network = network((8, 8, 1), 10, Precision(compute="bfloat16"), Axis(), width=4)
        seen = jnp.ones((2, network.latent) if hasattr(network, "latent") else (2, 8, 8, 1))
        out, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), seen, jnp.array([0, 1]))
        assert out.dtype == jnp.float32
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    ("network", "fields"),
    [
        (DcganGenerator, {"conditioning": "batch_norm"}),
        (DcganDiscriminator, {"conditioning": "concat", "minibatch_std": 2, "spectral_norm": True}),
    ],
)
def test_labels_are_shown_where_one_chooses(network, fields):
    network = network((8, 8, 1), 10, Precision(), Axis(), width=4, **fields)
    seen = jax.random.normal(jax.random.key(1), (2, network.latent) if hasattr(network, "latent") else (2, 8, 8, 1))
    label = jnp.array([3, 4])
    variables, answer = init(network, seen, label), compiled(network)
    if "batch_stats" in variables:  # all classes are alike before they are trained
        rows = jax.random.normal(jax.random.key(2), (10, 8))
        variables["params"]["norm_0"]["scale"]["embedding"] = rows
    assert "embed" not in variables["params"].get("labelled", {}) | variables["params"].get("logit", {})
    assert not np.allclose(answer(variables, seen, label), answer(variables, seen, label + 1))


def test_every_layer_has_a_spectral_norm_or_none():
    network = DcganDiscriminator((8, 8, 1), 10, Precision(), Axis(), width=4, outputs=11, spectral_norm=True)
    logits, variables = jax.eval_shape(
        network.init_with_output, jax.random.key(0), jnp.zeros((2, 8, 8, 1)), jnp.array([0, 1])
    )
    assert logits.shape == (2, 11)
    assert set(variables["spectral"]) == set(variables["params"]) == {"conv_0", "conv_1", "logit"}


@pytest.mark.parametrize("train", [False, True])
def test_spectral_vectors_follow_the_weights_in_training_and_stand_still_outside(train):
    network = DcganDiscriminator((8, 8, 1), 10, Precision(), Axis(), width=4, outputs=11, spectral_norm=True)
    x, label = jax.random.normal(jax.random.key(1), (2, 8, 8, 1)), jnp.array([3, 4])
    variables = init(network, x, label)
    _, moved = jax.jit(partial(network.apply, train=train, mutable=["spectral"]))(variables, x, label)
    pairs = zip(jax.tree.leaves(moved["spectral"]), jax.tree.leaves(variables["spectral"]), strict=True)
    assert all(np.array_equal(new, old) != train for new, old in pairs if new.size > 1)  # one number is always 1


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (DcganGenerator, "method.generator.conditioning: 'x' is not one of concat, batch_norm"),
        (DcganDiscriminator, "method.discriminator.conditioning: 'x' is not one of projection, concat"),
    ],
)
def test_an_unknown_conditioning_is_the_users_mistake(network, message):
    with pytest.raises(UserError, match=message):
        network((8, 8, 1), 10, Precision(), Axis(), conditioning="x")
