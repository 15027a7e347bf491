"""The caption encoder against PyTorch's own transformer with its weights."""

import jax
import numpy as np
import pytest

from diffjax.data.text import encode
from diffjax.models import TextTransformer
from diffjax.precision import Precision
from tests.models.trained import trained
from tests.parity.networks import F, Weights, torch

pytestmark = pytest.mark.parity


def torch_layer(weights, width, heads, block):
    """A pre-norm layer of PyTorch's with the weights of one of our blocks."""
    hidden = weights.at(block, "mlp_1", "bias").numel()
    layer = torch.nn.TransformerEncoderLayer(
        width, heads, hidden, dropout=0.0, activation=lambda x: F.gelu(x, approximate="tanh"), layer_norm_eps=1e-6,
        batch_first=True, norm_first=True, dtype=torch.float64,
    )  # fmt: skip
    state = {
        "self_attn.in_proj_weight": torch.cat([weights.kernel(block, part) for part in ("q", "k", "v")]),
        "self_attn.in_proj_bias": torch.cat([weights.at(block, part, "bias") for part in ("q", "k", "v")]),
    }
    for name, ours in {"self_attn.out_proj": "out", "linear1": "mlp_1", "linear2": "mlp_2"}.items():
        state |= {f"{name}.weight": weights.kernel(block, ours), f"{name}.bias": weights.at(block, ours, "bias")}
    for name, ours in {"norm1": "norm_1", "norm2": "norm_2"}.items():
        state |= {f"{name}.weight": weights.at(block, ours, "scale"), f"{name}.bias": weights.at(block, ours, "bias")}
    layer.load_state_dict(state)
    return layer


def test_the_encoder_of_captions(x64):
    network = TextTransformer(Precision("float64", "float64"), width=8, depth=2, heads=2, window=3)
    caption = encode(["red above blue", "blue", "", "é"], 16)
    variables = trained(network, caption)
    weights = Weights(variables)

    given = torch.tensor(np.asarray(caption)).long()
    h = weights.at("bytes", "embedding")[given] * (given > 0)[..., None]
    kernel = weights.at("window", "kernel").permute(2, 1, 0)
    h = h + F.conv1d(h.transpose(1, 2), kernel, weights.at("window", "bias"), padding=1).transpose(1, 2)
    angles = torch.outer(torch.arange(16).double(), 10_000.0 ** (-torch.arange(4).double() / 4))
    h = h + torch.cat([angles.cos(), angles.sin()], dim=1)
    h = torch.cat([weights.at("begin").expand(4, 1, 8), h], dim=1)
    padding = torch.cat([torch.zeros(4, 1, dtype=bool), given == 0], dim=1)
    for block in ("block_0", "block_1"):
        h = torch_layer(weights, 8, 2, block)(h, src_key_padding_mask=padding)
    expected = F.layer_norm(h, [8], weights.at("norm", "scale"), weights.at("norm", "bias"), eps=1e-6).detach().numpy()

    text = jax.jit(network.apply)(variables, caption)
    np.testing.assert_array_equal(text.mask, ~padding.numpy())
    assert expected[~padding.numpy()].std() > 0.3  # there is something to compare
    np.testing.assert_allclose(text.tokens, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(text.pooled, expected[:, 0], rtol=1e-10, atol=1e-10)
