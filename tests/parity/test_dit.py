"""The diffusion transformer against that of Peebles & Xie 2022, written anew in PyTorch with its weights."""

import jax
import numpy as np
import pytest

from diffjax.models import DiT
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained
from tests.parity.networks import F, Weights, normal, to_numpy, to_torch, torch

pytestmark = pytest.mark.parity


def torch_positions(rows, columns, width):
    """[rows * columns, width]: sines and cosines of the column, then of the row, as in the authors' code."""
    frequencies = 1 / 10_000.0 ** (torch.arange(width // 4).double() / (width / 4))
    row, column = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
    parts = [torch.outer(place.flatten(), frequencies) for place in (column, row)]
    return torch.cat([wave for angles in parts for wave in (angles.sin(), angles.cos())], dim=1)


@pytest.mark.parametrize("shape", [(4, 8, 3), (6, 6, 1)])
def test_the_diffusion_transformer(shape, x64):
    """Two outputs per channel, as for a learned variance, where the images and then the variances are the channels."""
    network = DiT(shape, 3, Precision("float64", "float64"), Axis(), outputs=2, width=16, depth=2, heads=2, embedding=8)
    x, t, label = normal(3, *shape).astype(float), np.array([0.0, 17, 999]), np.array([3, 0, 2])  # 3 is "none"
    variables = trained(network, x, t, label)
    weights = Weights(variables)
    height, width, channels = shape

    def norm(x, shift, scale):
        return F.layer_norm(x, [16], eps=1e-6) * (1 + scale) + shift

    angles = torch.outer(torch.tensor(t), 10_000.0 ** (-torch.arange(4).double() / 4))
    condition = weights.linear(torch.cat([angles.cos(), angles.sin()], dim=1), "embedding", "time_1")
    condition = weights.linear(F.silu(condition), "embedding", "time_2")
    condition = F.silu(condition + weights.at("embedding", "label")[torch.tensor(label)])[:, None]

    # Pixels of a patch are [row, column, channel] in a row of our matrices.
    kernel = weights.at("input", "kernel").reshape(2, 2, channels, 16).permute(3, 2, 0, 1)
    h = F.conv2d(to_torch(x), kernel, weights.at("input", "bias"), stride=2).flatten(2).transpose(1, 2)
    # Features have no order of their own: ours begin with the row's cosines, where theirs end.
    h = h + torch_positions(height // 2, width // 2, 16).reshape(-1, 4, 4).flip(1).reshape(-1, 16)
    for block in ("block_0", "block_1"):
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = weights.linear(condition, block, "condition").chunk(6, -1)
        seen = norm(h, shift_1, scale_1)
        q, k, v = (weights.linear(seen, block, part).unflatten(-1, (2, 8)).transpose(1, 2) for part in ("q", "k", "v"))
        found = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        h = h + gate_1 * weights.linear(found, block, "out")
        seen = F.gelu(weights.linear(norm(h, shift_2, scale_2), block, "mlp_1"), approximate="tanh")
        h = h + gate_2 * weights.linear(seen, block, "mlp_2")
    h = weights.linear(norm(h, *weights.linear(condition, "output_condition").chunk(2, -1)), "output")
    h = h.unflatten(-1, (4, 2 * channels)).permute(0, 3, 2, 1).flatten(1, 2)  # each channel's four pixels together
    expected = F.fold(h, (height, width), kernel_size=2, stride=2)

    assert expected.std() > 0.3  # there is something to compare
    y = jax.jit(network.apply)(variables, x, t, label)
    np.testing.assert_allclose(y, to_numpy(expected), rtol=1e-10, atol=1e-10)
