"""How PyTorch's peers are timed: on which device, for how long, and with how much memory."""

import time
from collections.abc import Callable

import torch


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    if device() == "cuda":
        torch.cuda.synchronize()


def products(compute: str) -> None:
    """Which products of float32 a GPU may shorten: none in "float32", where PyTorch by default does in convolutions."""
    short = compute != "float32"
    torch.backends.cudnn.allow_tf32 = short
    torch.set_float32_matmul_precision("high" if short else "highest")


def timed(call: Callable[[], None], count: int, warm: int = 2) -> dict[str, float]:
    """Seconds a call over `count` calls, and what the first took longer; peak bytes on a GPU."""

    def seconds(calls):
        began = time.perf_counter()
        for _ in range(calls):
            call()
        wait()
        return time.perf_counter() - began

    first = seconds(1)
    seconds(warm)
    each = seconds(count) / count
    peak = {"peak": torch.cuda.max_memory_allocated()} if device() == "cuda" else {}
    return {"seconds": each, "compile": max(first - each, 0.0)} | peak


def parameters(*networks: torch.nn.Module) -> int:
    return sum(p.numel() for network in networks for p in network.parameters())
