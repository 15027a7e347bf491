import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.models.norms import Layers
from diffjax.models.resgan import (
    BigGANDiscriminator,
    BigGANGenerator,
    PixelAttention,
    ResDiscriminator,
    ResGenerator,
)
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained

KEY = jax.random.key(0)
CIFAR = (32, 32, 3)
TINY_G = {"width": 4, "latent": 6}
TINY_D = {"width": 4, "multipliers": (1, 2), "halvings": 1}
BIGGAN = {"embedding": 5, "hierarchical": True, "spectral_norm": True, "initial": "orthogonal", "attention": (8,)}


def normal(*shape, seed=1):
    return jax.random.normal(jax.random.key(seed), shape)


def make(network, shape=(8, 8, 1), num_classes=0, precision=None, **fields):
    tiny = TINY_G if issubclass(network, ResGenerator) else TINY_D
    return network(shape, num_classes, precision or Precision(), Axis(), **tiny | fields)


def init(network, *inputs):
    return jax.jit(network.init)(KEY, *inputs)


def drawn(network, *inputs):
    """Variables that nothing has to be compiled for; running variances are not negative."""
    variables = trained(network, *inputs)
    return variables | {name: jax.tree.map(jnp.abs, variables[name]) for name in {"batch_stats"} & set(variables)}


def shapes(network, *inputs):
    return jax.eval_shape(network.init_with_output, KEY, *inputs)


def count(network, *inputs):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(network, *inputs)[1]["params"]))


@pytest.mark.parametrize(
    ("generator", "discriminator", "classes", "sizes"),
    [
        # The sums of the layers of Miyato et al.'s code, except that our discriminator's last layer has a bias: theirs
        # has 1,053,824. The paper's table 4 has the same layers and gives no sums.
        (
            ResGenerator(CIFAR, 0, Precision(), Axis()),
            ResDiscriminator(CIFAR, 0, Precision(), Axis()),
            0,
            (4_276_739, 1_053_825),
        ),
        (
            ResGenerator(CIFAR, 0, Precision(), Axis(), width=128),
            ResDiscriminator(CIFAR, 0, Precision(), Axis(), spectral_norm=False, pooling="mean"),
            0,
            (1_204_483, 1_053_825),
        ),
        (
            BigGANGenerator(CIFAR, 10, Precision(), Axis()),
            BigGANDiscriminator(CIFAR, 10, Precision(), Axis()),
            10,
            (4_287_235, 4_207_361),
        ),
    ],
    ids=["sngan", "wgan_gp", "biggan"],
)
def test_those_of_the_papers_have_as_many_parameters(generator, discriminator, classes, sizes):
    label = jnp.array([3]) if classes else None
    assert count(generator, jnp.zeros((1, generator.latent)), label) == sizes[0]
    assert count(discriminator, jnp.zeros((1, *CIFAR)), label) == sizes[1]


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (16, 28, 3)])
def test_the_generator_makes_images_that_the_discriminator_judges(shape):
    x, _ = shapes(make(ResGenerator, shape), jnp.zeros((3, 6)))
    logits, _ = shapes(make(ResDiscriminator, shape), x)
    assert (x.shape, x.dtype, logits.shape, logits.dtype) == ((3, *shape), jnp.float32, (3,), jnp.float32)
    packed = jnp.zeros((3, *shape[:2], 2 * shape[2]))
    assert shapes(make(ResDiscriminator, shape, outputs=11), packed)[0].shape == (3, 11)


def test_summing_over_the_last_pixels_is_their_number_times_the_mean():
    total, mean = (make(ResDiscriminator, pooling=pooling, spectral_norm=False) for pooling in ("sum", "mean"))
    x = normal(3, 8, 8, 1)
    variables = drawn(total, x)
    variables["params"]["logit"]["logit"]["bias"] = jnp.zeros(1)
    summed, averaged = jax.jit(lambda v: (total.apply(v, x), mean.apply(v, x)))(variables)
    np.testing.assert_allclose(summed, 16 * averaged, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_only_training_moves_spectral_vectors_and_batch_statistics(player):
    label = jnp.array([0, 1, 2, 0])
    if player == "generator":
        network = make(ResGenerator, num_classes=3, **BIGGAN | {"initial": "glorot", "attention": ()})
        seen, names = normal(4, 6), ["batch_stats", "spectral"]
    else:
        network = make(ResDiscriminator, num_classes=3, spectral_norm=True)
        seen, names = normal(4, 8, 8, 1), ["spectral"]
    variables = drawn(network, seen, label)
    assert set(variables) == {"params", *names}
    old = {name: variables[name] for name in names}

    @jax.jit
    def both(v):
        return [network.apply(v, seen, label, train=train, mutable=names)[1] for train in (False, True)]

    evaluated, trained = both(variables)
    jax.tree.map(np.testing.assert_array_equal, evaluated, old)
    pairs = zip(jax.tree.leaves(trained), jax.tree.leaves(old), strict=True)
    assert all(not np.allclose(new, old) for new, old in pairs if new.size > 1)  # a vector of one number is 1


def test_every_block_is_shown_its_own_part_of_z_and_the_class():
    """With all else the same, each part of z and the label change the image."""
    generator = make(ResGenerator, num_classes=3, embedding=5, hierarchical=True)
    z, label = normal(2, 6), jnp.array([0, 1])
    variables, draw = drawn(generator, z, label), jax.jit(generator.apply)
    x = draw(variables, z, label)
    for other in (
        draw(variables, z.at[:, 3:].add(1), label),
        draw(variables, z, label + 1),
        draw(variables, z.at[:, :3].add(1), label),
    ):
        assert jnp.abs(other - x).max(axis=(1, 2, 3)).min() > 1e-3
    assert variables["params"]["project"]["kernel"].shape[0] == 3
    assert variables["params"]["norm_0_1"]["scale"]["kernel"].shape == (5 + 3, 4)


@pytest.mark.parametrize(
    ("network", "fields"),
    [
        (ResGenerator, {"conditioning": "concat"}),
        (ResGenerator, {"conditioning": "batch_norm", "embedding": 5}),
        (ResDiscriminator, {"conditioning": "projection"}),
        (ResDiscriminator, {"conditioning": "concat", "minibatch_std": 1, "spectral_norm": False}),
    ],
)
def test_labels_change_the_answer_where_there_are_any(network, fields):
    network = make(network, num_classes=10, **fields)
    seen = normal(2, 6) if hasattr(network, "latent") else normal(2, 8, 8, 1)
    one, other = jnp.full(2, 3), jnp.full(2, 4)
    variables, answer = drawn(network, seen, one), jax.jit(network.apply)
    assert jnp.abs(answer(variables, seen, one) - answer(variables, seen, other)).max() > 1e-4
    assert "embed" not in str(shapes(network.clone(num_classes=0), seen, one)[1])


def test_class_norms_are_the_plain_one_until_they_are_trained():
    z, label = normal(2, 6), jnp.array([0, 1])
    network = make(ResGenerator, num_classes=3)
    variables = init(network, z, label)
    assert variables["params"]["norm_0_1"]["shift"]["embedding"].shape == (3, 4)
    draw = jax.jit(network.apply)
    np.testing.assert_array_equal(draw(variables, z, label), draw(variables, z, label + 1))


def test_attention_is_the_identity_at_first_and_then_what_sagan_says():
    module = PixelAttention(Layers(False, False), "glorot", "float32")
    x = normal(2, 4, 4, 16)
    apply = jax.jit(module.apply)
    variables = drawn(module, x)
    assert jax.jit(module.init)(KEY, x)["params"]["gamma"] == 0
    at_first = {"params": variables["params"] | {"gamma": jnp.float32(0)}}
    np.testing.assert_array_equal(apply(at_first, x), x)
    params = variables["params"] | {"gamma": jnp.float32(0.7)}
    q, k, v, out = (np.asarray(params[name]["kernel"][0, 0]) for name in ("q", "k", "v", "out"))

    def pooled(h):
        return np.asarray(h).reshape(2, 2, 2, 2, 2, -1).max((2, 4)).reshape(2, 4, -1)

    logits = np.einsum("bnd,bmd->bnm", (x @ q).reshape(2, 16, -1), pooled(x @ k))
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    seen = (weights @ pooled(x @ v)).reshape(2, 4, 4, -1)
    np.testing.assert_allclose(apply({"params": params}, x), x + 0.7 * seen @ out, atol=1e-5)


def test_orthogonal_weights_are_orthogonal():
    network = make(ResDiscriminator, initial="orthogonal", width=8, spectral_norm=False)
    params = init(network, normal(1, 8, 8, 1))["params"]
    kernel = np.asarray(params["conv_1_1"]["kernel"]).reshape(-1, 16)
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(16), atol=1e-5)


@pytest.mark.parametrize("network", [ResGenerator, ResDiscriminator])
def test_networks_compute_in_bfloat16_and_answer_in_float32(network):
    fields = BIGGAN if network is ResGenerator else {"attention": (4,), "minibatch_std": 2}
    network = make(network, num_classes=10, precision=Precision(compute="bfloat16"), **fields)
    seen = jnp.ones((2, 6) if hasattr(network, "latent") else (2, 8, 8, 1))
    out, variables = shapes(network, seen, jnp.array([0, 1]))
    assert out.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    ("network", "fields", "message"),
    [
        (ResGenerator, {"shape": (30, 30, 3)}, "generator.name: ResGenerator cannot have the 30x30x3 of data"),
        (
            ResDiscriminator,
            {"shape": (30, 30, 3), "halvings": 2},
            "discriminator.halvings: 2 halves 30x30 images 2 times; their sides can be halved 1 times at most",
        ),
        (ResGenerator, {"multipliers": (4, 2, 1)}, "multipliers: .4, 2, 1. must be .. or 2 numbers"),
        (
            ResGenerator,
            {"attention": (16,)},
            "generator.attention: 16 is no height to attend at; it can be 8",
        ),
        (
            ResDiscriminator,
            {"attention": (16,)},
            "discriminator.attention: 16 is no height to attend at; it can be 4",
        ),
        (
            ResDiscriminator,
            {"attention": (4,), "shape": (8, 6, 3), "halvings": 1},
            "discriminator.attention: 4 is no height to attend at; it must be .., as no image can be halved",
        ),
        (ResGenerator, {"hierarchical": True, "latent": 7}, "latent: 7 must be a multiple of 2, the parts of z"),
        (ResGenerator, {"hierarchical": True, "num_classes": 3}, "embedding: 0 must be at least 1"),
        (ResGenerator, {"norm": "none", "num_classes": 3}, "conditioning: 'batch_norm' needs method.generator.norm"),
        (ResGenerator, {"conditioning": "x"}, "method.generator.conditioning: 'x' is not one of concat, batch_norm"),
        (ResDiscriminator, {"conditioning": "x"}, "discriminator.conditioning: 'x' is not one of projection, concat"),
        (ResDiscriminator, {"pooling": "max"}, "method.discriminator.pooling: 'max' is not one of sum, mean"),
        (ResGenerator, {"latent": 0}, "method.generator.latent: 0 must be at least 1"),
        (ResDiscriminator, {"width": -4}, "method.discriminator.width: -4 must be at least 1"),
        (ResDiscriminator, {"halvings": 3}, "method.discriminator.halvings: 3 must be 0 to 2"),
    ],
)
def test_what_does_not_fit_together_is_the_users_mistake(network, fields, message):
    with pytest.raises(UserError, match=message):
        network = make(network, **fields)
        seen = jnp.zeros((1, network.latent) if hasattr(network, "latent") else (1, *network.shape))
        jax.eval_shape(network.init, KEY, seen, jnp.array([0]))
