"""R3GAN's networks against networks written anew in PyTorch with their weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.models.r3gan import Block, R3GANDiscriminator, R3GANGenerator
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.parity.networks import (
    CLOSE,
    FORMATS,
    KEY,
    F,
    Weights,
    check_both,
    normal,
    randomised,
    to_numpy,
    to_torch,
    torch,
    torch_down,
    torch_up,
)

pytestmark = pytest.mark.parity


def torch_block(weights, x, name, groups):
    h = F.leaky_relu(weights.conv(x, *name, "expand"), 0.2)
    h = F.leaky_relu(weights.conv(h, *name, "grouped", groups=groups), 0.2)
    return x + weights.conv(h, *name, "contract")


R3GAN = {"widths": (8, 4), "blocks": (1, 2), "group": 4}


def test_a_grouped_block_of_r3gan():
    block, x = Block(8, 2, 4, FORMATS), normal(2, 5, 5, 4)
    variables = randomised(block.init(KEY, x))
    weights = Weights(variables)
    expected = torch_block(weights, to_torch(x), (), 2)
    np.testing.assert_allclose(jax.jit(block.apply)(variables, x), to_numpy(expected), **CLOSE)


def test_r3gan_generator():
    network = R3GANGenerator((8, 8, 3), 5, Precision(), Axis(), **R3GAN)
    z, label = normal(3, 64), jnp.array([0, 4, 2])
    variables = randomised(network.init(KEY, z, label))
    weights = Weights(variables)

    def theirs(z, label):
        z = torch.cat([z, weights.at("embed", "embedding")[label]], dim=1)
        h = weights.linear(z, "modulate")[:, :, None, None] * weights.at("basis").permute(2, 0, 1)
        h = torch_block(weights, h, ("block_0_0",), 4)
        h = torch_up(weights.conv(h, "project_1"))
        for i in range(2):
            h = torch_block(weights, h, (f"block_1_{i}",), 2)
        return weights.conv(h, "image")

    check_both(network, variables, (z, label), theirs)


def test_r3gan_discriminator():
    network = R3GANDiscriminator((8, 8, 3), 5, Precision(), Axis(), **R3GAN)
    x, label = normal(3, 8, 8, 3), jnp.array([0, 4, 2])
    variables = randomised(network.init(KEY, x, label))
    weights = Weights(variables)

    def theirs(x, label):
        h = weights.conv(x, "input")
        for i in range(2):
            h = torch_block(weights, h, (f"block_1_{i}",), 2)
        h = torch_block(weights, weights.conv(torch_down(h), "project_1"), ("block_0_0",), 4)
        basis = weights.at("basis").permute(2, 0, 1)[:, None]
        h = F.conv2d(h, basis, groups=8).flatten(1)
        return (weights.linear(h, "logit") * weights.at("embed", "embedding")[label]).sum(1)

    check_both(network, variables, (x, label), theirs)
