"""DCGAN's networks against networks written anew in PyTorch with their weights."""

import jax.numpy as jnp
import pytest

from diffjax.models.dcgan import DcganDiscriminator, DcganGenerator
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.parity.networks import KEY, F, Weights, check_both, normal, randomised, torch

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("conditioning", ["concat", "batch_norm"])
def test_the_generator_of_dcgan(conditioning):
    network = DcganGenerator((16, 16, 3), 5, Precision(), Axis(), latent=6, width=4, conditioning=conditioning)
    z, label = normal(4, 6), jnp.array([0, 4, 2, 1])
    variables = randomised(network.init(KEY, z, label))
    weights = Weights(variables)

    def norm(h, name, label):
        if conditioning == "concat":
            return F.batch_norm(h, None, None, weights.at(name, "scale"), weights.at(name, "bias"), training=True)
        scale, shift = (weights.at(name, part, "embedding")[label][..., None, None] for part in ("scale", "shift"))
        return F.batch_norm(h, None, None, training=True) * (1 + scale) + shift

    def theirs(z, label):
        if conditioning == "concat":
            z = torch.cat([z, weights.at("labelled", "embed", "embedding")[label]], dim=1)
        h = weights.linear(z, "project").reshape(4, 4, 4, 16).permute(0, 3, 1, 2)
        h = F.relu(norm(h, "norm_0", label))
        for i in (1, 2):
            h = weights.conv(F.interpolate(h, scale_factor=2, mode="nearest"), f"conv_{i}")
            h = F.relu(norm(h, f"norm_{i}", label))
        return torch.tanh(weights.conv(h, "image"))

    check_both(network, variables, (z, label), theirs)


DISCRIMINATORS = {
    "projection": {},
    "BatchNorm": {"norm": "batch"},
    "labels as planes, and deviations": {"conditioning": "concat", "minibatch_std": 2},
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_the_discriminator_of_dcgan(name):
    network = DcganDiscriminator((16, 16, 3), 5, Precision(), Axis(), width=4, **DISCRIMINATORS[name])
    x, label = normal(4, 16, 16, 3), jnp.array([0, 4, 2, 1])
    variables = randomised(network.init(KEY, x, label))
    weights = Weights(variables)

    def theirs(x, label):
        if network.conditioning == "concat":
            x = torch.cat([x, F.one_hot(label, 5)[..., None, None].expand(-1, -1, 16, 16)], dim=1)
        h = F.leaky_relu(weights.conv(x, "conv_0"), 0.2)
        for i in (1, 2):
            h = F.avg_pool2d(h, 2)
            if network.minibatch_std and i == 2:  # neighbours in the batch are a group of two
                pairs = h.unflatten(0, (2, 2))
                deviation = (pairs.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat_interleave(2)
                h = torch.cat([h, deviation[:, None, None, None].expand(-1, 1, 4, 4)], dim=1)
            h = weights.conv(h, f"conv_{i}")
            if network.norm == "batch":
                scale, shift = weights.at(f"norm_{i}", "scale"), weights.at(f"norm_{i}", "bias")
                h = F.batch_norm(h, None, None, scale, shift, training=True)
            h = F.leaky_relu(h, 0.2)
        h = h.permute(0, 2, 3, 1).flatten(1)
        logit = weights.linear(h, "logit", "logit")[:, 0]
        if network.conditioning == "projection":
            logit = logit + (weights.at("logit", "embed", "embedding")[label] * h).sum(1)
        return logit

    check_both(network, variables, (x, label), theirs)
