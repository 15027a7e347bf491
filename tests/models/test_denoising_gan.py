"""The networks of denoising GANs: their sizes, and those of their initial weights."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from diffjax.models.denoising_gan import DenoisingDiscriminator, DenoisingGenerator
from diffjax.parallel import Axis
from diffjax.precision import Precision


def test_the_papers_networks_have_48_and_13_million_parameters():
    run = (32, 32, 3), 0, Precision(), Axis()
    x, t = jnp.zeros((1, 32, 32, 3)), jnp.zeros(1)
    generator, discriminator = DenoisingGenerator(*run), DenoisingDiscriminator(*run)
    of_g = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, 100)), x, t)
    of_d = jax.eval_shape(discriminator.init, jax.random.key(0), x, x, t)
    assert sum(leaf.size for leaf in jax.tree.leaves(of_g["params"])) == 48_432_515
    assert sum(leaf.size for leaf in jax.tree.leaves(of_d["params"])) == 12_741_633


def initial_kernels(network, *inputs):
    """The initial weights by the path of their layer. All biases start at 0."""
    flat = flatten_dict(jax.jit(network.init)(jax.random.key(0), *inputs)["params"])
    assert not any(array.any() for path, array in flat.items() if path[-1] == "bias")
    return {path[:-1]: np.asarray(array) for path, array in flat.items() if path[-1] == "kernel"}


def fans(kernel):
    """(fan_in, fan_out) of weights [..., in, out]: the last two axes, times the pixels of a convolution."""
    return kernel.size / kernel.shape[-1], kernel.size / kernel.shape[-2]


def assert_uniform(kernel, variance):
    assert np.abs(kernel).max() <= (3 * variance) ** 0.5
    np.testing.assert_allclose(kernel.var(), variance, rtol=5 * (0.8 / kernel.size) ** 0.5)  # five standard errors


def test_every_layer_of_the_discriminator_starts_with_variance_one_over_fan_out():
    """As the released code has it, so that the logit's weights have deviation 1; a branch ends in zeros."""
    network = DenoisingDiscriminator((4, 4, 1), 0, Precision(), Axis(), width=16, multipliers=(1, 2), embedding=8)
    x = jnp.zeros((1, 4, 4, 1))
    kernels = initial_kernels(network, x, x, jnp.zeros(1))
    assert {path[-1] for path in kernels} == {
        "input", "conv_1", "conv_2", "time", "shortcut", "last", "logit", "time_0", "time_1"
    }  # fmt: skip
    for path, kernel in kernels.items():
        if path[-1] in ("conv_2", "last"):
            assert not kernel.any()
        else:
            assert_uniform(kernel, 1 / fans(kernel)[1])
    assert fans(kernels["logit", "logit"]) == (32, 1)


def test_the_generator_starts_as_ncsnpp_and_what_z_reaches_with_variance_one_over_fan_out():
    """The mapping of z and the modulation of norms are 1 / fan_out; q, k and v a tenth of Glorot's; the rest his."""
    sizes = {"channels": 16, "multipliers": (1, 1), "blocks": 1, "attention": (), "latent": 4, "style": 32}
    network = DenoisingGenerator((4, 4, 1), 0, Precision(), Axis(), mapping=1, **sizes)
    kernels = initial_kernels(network, jnp.zeros((1, 4)), jnp.zeros((1, 4, 4, 1)), jnp.zeros(1))
    names = {path[-1] for path in kernels}
    assert {"style_0", "style_1", "norm_1_style", "norm_2_style", "q", "k", "v", "condition", "conv_1"} <= names
    for path, kernel in kernels.items():
        fan_in, fan_out = fans(kernel)
        if path[-1] in ("conv_2", "out", "output"):
            assert not kernel.any()
        elif "style" in path[-1]:
            assert_uniform(kernel, 1 / fan_out)
        else:
            assert_uniform(kernel, (0.1 if path[-1] in "qkv" else 1) * 2 / (fan_in + fan_out))
