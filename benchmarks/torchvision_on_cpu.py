"""Makes torchvision importable beside a CPU build of PyTorch. Import this module before the peers.

torch-fidelity, pytorch-fid and transformers import torchvision. Its wheel on PyPI is built for CUDA: beside a CPU build
of PyTorch its compiled operators do not load, and the import fails at the two that it registers in Python. None of the
peers calls them here, so declaring them is enough.
"""

import contextlib

with contextlib.suppress(ImportError):  # the peers report a missing package themselves
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        import torch

        OPERATORS = torch.library.Library("torchvision", "DEF")  # the declarations live as long as this object
        for name in ("nms", "qnms"):
            OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
