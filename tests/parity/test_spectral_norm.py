"""Spectral normalisation against PyTorch's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.models.norms import SpectralConv, SpectralDense
from tests.parity.networks import CLOSE, KEY, normal, to_numpy, to_torch, torch

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_spectral_norm_is_pytorchs(kind):
    if kind == "conv":
        ours, layer = SpectralConv(6, (3, 3), train=True), torch.nn.Conv2d(4, 6, 3, padding=1)
        x = normal(2, 5, 5, 4)
    else:
        ours, layer, x = SpectralDense(6, train=True), torch.nn.Linear(4, 6), normal(2, 4)
    variables = ours.init(KEY, x)
    layer = torch.nn.utils.spectral_norm(layer)
    kernel = variables["params"]["kernel"]
    with torch.no_grad():
        layer.weight_orig.copy_(torch.tensor(np.asarray(kernel.transpose(3, 2, 0, 1) if kind == "conv" else kernel.T)))
        layer.bias.zero_()
        layer.weight_u.copy_(torch.tensor(np.asarray(variables["spectral"]["u"])))
    for _ in range(3):
        y, kept = ours.apply(variables, x, mutable=["spectral"])
        np.testing.assert_allclose(y, to_numpy(layer(to_torch(x))), **CLOSE)
        np.testing.assert_allclose(kept["spectral"]["u"], layer.weight_u, **CLOSE)
        variables = variables | kept

    def loss(kernel):
        return jnp.sum(ours.apply(variables | {"params": variables["params"] | {"kernel": kernel}}, x) ** 2)

    (layer(to_torch(x)) ** 2).sum().backward()
    gradient = layer.weight_orig.grad
    expected = gradient.permute(2, 3, 1, 0) if kind == "conv" else gradient.T
    scale = float(expected.abs().max())
    np.testing.assert_allclose(jax.grad(loss)(kernel) / scale, expected.numpy() / scale, **CLOSE)
