"""`benchmarks.embed` by torch-fidelity (extra `parity`): its Inception, with its initial weights."""

# isort: off
import benchmarks.torchvision_on_cpu  # noqa: F401  (before torch_fidelity)

# isort: on
from unittest import mock

import torch
from torch_fidelity import FeatureExtractorInceptionV3

from benchmarks.sizes import Pictures
from benchmarks.torch_clock import device, parameters, products, timed


def embed(size: Pictures, compute: str, count: int) -> dict[str, float]:
    """Seconds per batch of uint8 images, features back on the host. No weights are downloaded."""
    products(compute)
    no_loading = {"load_state_dict": lambda *_, **__: None}
    with mock.patch.object(torch, "load"), mock.patch.multiple(FeatureExtractorInceptionV3, **no_loading):
        network = FeatureExtractorInceptionV3("embed", ["2048"], "none").to(device())
    images = torch.randint(0, 256, (size.batch, 3, size.side, size.side), dtype=torch.uint8)

    def call():
        with torch.no_grad(), torch.autocast(device(), torch.bfloat16, enabled=compute == "bfloat16"):
            network(images.to(device()))[0].cpu().numpy()

    return timed(call, count) | {"parameters": parameters(network)}
