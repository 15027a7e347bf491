"""Residual GANs, SNGAN's to BigGAN's, against networks written anew in PyTorch with their weights."""

import jax.numpy as jnp
import pytest

from diffjax.models.resgan import BigGANDiscriminator, BigGANGenerator, ResDiscriminator, ResGenerator
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.parity.networks import KEY, F, Weights, check_both, normal, randomised, torch

pytestmark = pytest.mark.parity


def torch_attention(weights, x, name):
    b, _, height, width = x.shape
    q = weights.conv(x, name, "q").flatten(2)
    k, v = (F.max_pool2d(weights.conv(x, name, part), 2).flatten(2) for part in ("k", "v"))
    beta = torch.softmax(q.transpose(1, 2) @ k, dim=-1)
    seen = (v @ beta.transpose(1, 2)).reshape(b, -1, height, width)
    return x + weights.at(name, "gamma") * weights.conv(seen, name, "out")


def torch_norm(weights, h, name, condition):
    if condition is None:
        return F.batch_norm(h, None, None, weights.at(name, "scale"), weights.at(name, "bias"), training=True)
    h = F.batch_norm(h, None, None, training=True)
    if condition.ndim == 1:
        scale, shift = (weights.at(name, part, "embedding")[condition] for part in ("scale", "shift"))
    else:
        scale, shift = (weights.linear(condition, name, part) for part in ("scale", "shift"))
    return h * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


GENERATORS = {
    "sngan": (ResGenerator, {}),
    "biggan": (BigGANGenerator, {"embedding": 5, "attention": (8,)}),
    "other widths": (ResGenerator, {"multipliers": (2, 1), "spectral_norm": True}),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_residual_generators(name):
    kind, fields = GENERATORS[name]
    network = kind((8, 8, 3), 5, Precision(), Axis(), **{"width": 8, "latent": 6} | fields)
    z, label = normal(4, 6), jnp.array([0, 4, 2, 1])
    variables = randomised(network.init(KEY, z, label))
    weights = Weights(variables)

    def theirs(z, label):
        condition = label
        if network.hierarchical:
            z, part = z.chunk(2, dim=1)
            condition = torch.cat([weights.at("embed", "embedding")[label], part], dim=1)
        # Flax's pixels are [height, width, channels], also in the rows of a matrix.
        h = weights.linear(z, "project").reshape(len(z), 4, 4, -1).permute(0, 3, 1, 2)
        x = weights.conv(F.interpolate(h, scale_factor=2), "shortcut_0")  # in the papers' order
        h = F.interpolate(F.relu(torch_norm(weights, h, "norm_0_1", condition)), scale_factor=2)
        h = F.relu(torch_norm(weights, weights.conv(h, "conv_0_1"), "norm_0_2", condition))
        h = x + weights.conv(h, "conv_0_2")
        h = torch_attention(weights, h, "attention_0") if network.attention else h
        return torch.tanh(weights.conv(F.relu(torch_norm(weights, h, "norm", None)), "image"))

    check_both(network, variables, (z, label), theirs)


DISCRIMINATORS = {
    "sngan": (ResDiscriminator, {}),
    "wgan_gp": (ResDiscriminator, {"spectral_norm": False, "pooling": "mean"}),
    "biggan": (BigGANDiscriminator, {"attention": (4,)}),
    "other widths": (ResDiscriminator, {"multipliers": (1, 2, 2)}),
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_residual_discriminators(name):
    kind, fields = DISCRIMINATORS[name]
    network = kind((8, 8, 3), 5, Precision(), Axis(), **{"width": 8, "multipliers": (1, 1, 1)} | fields)
    x, label = normal(4, 8, 8, 3), jnp.array([0, 4, 2, 1])
    variables = randomised(network.init(KEY, x, label))
    weights = Weights(variables)

    def theirs(x, label):
        h = x
        for i in range(3):
            before = h
            h = weights.conv(F.relu(h) if i else h, f"conv_{i}_1")
            h = weights.conv(F.relu(h), f"conv_{i}_2")
            if i < 2:  # the first block's shortcut is averaged and convolved, the second's the other way round
                h = F.avg_pool2d(h, 2)
                pooled = weights.conv(F.avg_pool2d(before, 2), f"shortcut_{i}")
                before = F.avg_pool2d(weights.conv(before, f"shortcut_{i}"), 2) if i else pooled
            h = h + before
            h = torch_attention(weights, h, "attention_0") if network.attention and not i else h
        h = F.relu(h)
        h = h.sum((2, 3)) if network.pooling == "sum" else h.mean((2, 3))
        rows = weights.kernel("logit", "embed", name="embedding")[label]
        return weights.linear(h, "logit", "logit")[:, 0] + (rows * h).sum(1)

    check_both(network, variables, (x, label), theirs)
