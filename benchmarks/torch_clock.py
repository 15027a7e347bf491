"""Times the peers in PyTorch: their device, seconds and memory."""

import time
from collections.abc import Callable

import torch


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    if device() == "cuda":
        torch.cuda.synchronize()


def products(compute: str) -> None:
    """Sets the precision of float32 products on a GPU: full for "float32" (PyTorch's convolutions default to TF32)."""
    tf32 = compute != "float32"
    torch.backends.cudnn.allow_tf32 = tf32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")


def timed(call: Callable[[], None], count: int, warm: int = 2) -> dict[str, float]:
    """Seconds per call over `count` calls, the extra seconds of the first call, and peak bytes on a GPU."""

    def seconds_of(calls):
        began = time.perf_counter()
        for _ in range(calls):
            call()
        wait()
        return time.perf_counter() - began

    first = seconds_of(1)
    seconds_of(warm)
    seconds = seconds_of(count) / count
    peak = {"peak": torch.cuda.max_memory_allocated()} if device() == "cuda" else {}
    return {"seconds": seconds, "compile": max(first - seconds, 0.0)} | peak


def parameters(*networks: torch.nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())
