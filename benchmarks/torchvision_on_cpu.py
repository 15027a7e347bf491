"""torchvision beside a PyTorch for the CPU: imported, though its operators are not there. Import this before the peers.

torch-fidelity, pytorch-fid and transformers import torchvision. The wheel of it that PyPI has is built for CUDA: beside
a PyTorch for the CPU its compiled operators do not load, and the two that it describes in Python stop its import. None
of the peers calls them here; it is enough that they are declared.
"""

import contextlib

with contextlib.suppress(ImportError):  # what needs it says so itself
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        import torch

        OPERATORS = torch.library.Library("torchvision", "DEF")  # they are forgotten with this object
        for name in ("nms", "qnms"):
            OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
