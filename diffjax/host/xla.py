"""Flags for XLA. It reads them from the environment once, at the first computation of a process."""

import os

import jax

# Switches off XLA's newer fusions of convolutions on a CPU (YNNPACK), which copy their operands. Without them Inception
# embeds 2.6 times as many images (`python -m benchmarks.embed --only=ours`), and small UNets train 1.3 times as fast.
CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type"
KNOWN_TO = ((0, 10), (0, 11))  # versions of JAX with the flag; XLA aborts the process for an unknown one


def choose_kernels() -> None:
    """Sets flags that make diffjax faster, if this version of JAX knows them and the user has not set them."""
    flags = os.environ.get("XLA_FLAGS", "")
    if jax.__version_info__[:2] in KNOWN_TO and CONVOLUTIONS not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {CONVOLUTIONS}=".strip()
