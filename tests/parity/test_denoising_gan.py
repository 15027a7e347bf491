"""The networks of denoising GANs against those written anew in PyTorch with their weights."""

import numpy as np
import pytest

from diffjax.models.denoising_gan import DenoisingDiscriminator, DenoisingGenerator
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained
from tests.parity.networks import KEY, F, Weights, check, normal, randomised, to_torch, torch, torch_down
from tests.parity.score_unet import ScoreUNet

pytestmark = pytest.mark.parity


def test_the_generator_of_denoising_gans(x64):
    """NCSN++ in the style of z, which is scaled to a mean square of 1 and mapped by dense layers."""
    sizes = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,), "latent": 5, "style": 7}
    network = DenoisingGenerator((8, 8, 3), 0, Precision("float64", "float64"), Axis(), mapping=2, **sizes)
    z, t = 2 * normal(3, 5, seed=2).astype(float), np.array([0.0, 1, 3])
    x_t = normal(3, 8, 8, 3).astype(float)
    variables = trained(network, z, x_t, t)
    weights = Weights(variables)

    def theirs(x_t):
        style = torch.tensor(z)
        style = style / (style.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
        for i in range(3):
            style = F.silu(weights.linear(style, f"style_{i}"))
        unet = ScoreUNet(weights, network, (1, 3, 3, 1), encoder="residual", style=style)
        return torch.tanh(unet(x_t, torch.tensor(t)))

    check(lambda x_t: network.apply(variables, z, x_t, t), theirs, x_t, close={"rtol": 1e-10, "atol": 1e-10})


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

    check(lambda x: network.apply(variables, x, x_t, t), theirs, x)
