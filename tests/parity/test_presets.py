"""DDPM++ and NCSN++ against the networks of their papers, written anew in PyTorch, with the same weights."""

import jax
import numpy as np
import pytest

from diffjax.models.presets import DDPMpp, NCSNpp
from diffjax.parallel import Axis
from diffjax.precision import Precision
from tests.models.trained import trained
from tests.parity.networks import Weights, normal, to_numpy, to_torch, torch
from tests.parity.score_unet import ScoreUNet

pytestmark = pytest.mark.parity

SMALL = {"channels": 8, "multipliers": (1, 2, 2), "blocks": 1, "attention": (8, 2), "augment_dim": 2}
BILINEAR = (1, 3, 3, 1)
PYRAMIDS = {"encoder": "skip", "decoder": "skip"}
NETWORKS = {  # with what sets it apart in its paper
    "DDPM++": (DDPMpp, {}, {"taps": (1, 1)}),
    "NCSN++": (NCSNpp, {}, {"taps": BILINEAR, "encoder": "residual", "frequencies": "random"}),
    "NCSN++, the input and the output as pyramids": (
        NCSNpp,
        PYRAMIDS,
        {"taps": BILINEAR, "frequencies": "random"} | PYRAMIDS,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_unets_of_score_sdes(name, x64):
    kind, fields, form = NETWORKS[name]
    network = kind((8, 8, 3), 4, Precision("float64", "float64"), Axis(), **SMALL | fields)
    t, label = np.array([-1.2, 0.1, 0.9]), np.array([4, 0, 2])  # label 4 is "none"
    x, hints = normal(3, 8, 8, 3).astype(float), normal(3, 2, seed=2).astype(float)
    variables = trained(network, x, t, label)
    expected = ScoreUNet(Weights(variables), network, **form)(to_torch(x), *map(torch.tensor, (t, label, hints)))
    assert expected.std() > 0.3  # there is something to compare
    y = jax.jit(network.apply)(variables, x, t, label, augment_labels=hints)
    np.testing.assert_allclose(y, to_numpy(expected), rtol=1e-10, atol=1e-10)
