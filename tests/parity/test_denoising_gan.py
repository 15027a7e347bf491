"""The discriminator of denoising GANs against one written anew in PyTorch with its weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.models.denoising_gan import DenoisingDiscriminator
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.parity.networks import CLOSE, KEY, F, Weights, normal, randomised, to_numpy, to_torch, torch, torch_down

pytestmark = pytest.mark.parity


def test_the_discriminator_of_denoising_gans():
    """Xiao et al. 2021, appendix C, as their code has it: downsampling after the first convolution of a block."""
    network = DenoisingDiscriminator((8, 8, 3), 0, Precision(), Axis(), width=4, multipliers=(1, 2, 2), embedding=6)
    x, x_t, t = normal(4, 8, 8, 3), normal(4, 8, 8, 3, seed=2), np.array([0, 1, 2, 3], np.float32)
    variables = randomised(network.init(KEY, x, x_t, t))
    weights = Weights(variables)

    def act(x):
        return F.leaky_relu(x, 0.2)

    def theirs(x):
        frequencies = 10_000.0 ** (-torch.arange(3) / 2)
        angles = torch.tensor(t)[:, None] * frequencies
        time = torch.cat([angles.sin(), angles.cos()], dim=1)
        for i in range(2):
            time = act(weights.linear(time, f"time_{i}"))
        h = weights.conv(torch.cat([x, to_torch(x_t)], dim=1), "input")
        for i in range(3):
            block, down = f"block_{i}", torch_down if i else lambda x: x
            skip = weights.conv(down(h), block, "shortcut")
            h = weights.conv(act(h), block, "conv_1") + weights.linear(time, block, "time")[:, :, None, None]
            h = (weights.conv(down(act(h)), block, "conv_2") + skip) / 2**0.5
        deviation = (h.var(0, unbiased=False) + 1e-8).sqrt().mean()  # four images are one group
        h = torch.cat([h, deviation.expand(4, 1, 2, 2)], dim=1)
        return weights.linear(act(weights.conv(h, "last")).sum((2, 3)), "logit", "logit")[:, 0]

    def ours(x):
        return network.apply(variables, x, x_t, t)

    given = to_torch(x).requires_grad_()
    expected = theirs(given)
    assert expected.std() > 0.05
    np.testing.assert_allclose(jax.jit(ours)(x), to_numpy(expected), **CLOSE)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(ours(x))))(x)
    (expected,) = torch.autograd.grad(expected.sum(), given)
    scale = float(expected.abs().max())
    np.testing.assert_allclose(gradient / scale, to_numpy(expected) / scale, **CLOSE)
