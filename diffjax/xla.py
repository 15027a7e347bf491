"""What XLA is told in the environment, which it reads once: before the first computation of a process."""

import os

import jax

# Convolutions on a CPU without XLA's newer fusions of them (YNNPACK), which copy their operands: Inception embeds 2.6
# times as many images without (`python -m benchmarks.embed --only=ours`), and small UNets train 1.3 times as fast.
CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type"
KNOWN_TO = ((0, 10), (0, 11))  # versions of JAX; XLA aborts a process over a flag that it does not know


def choose_kernels() -> None:
    """Sets the flags that make ours faster, where this JAX knows them and the user has not set them."""
    flags = os.environ.get("XLA_FLAGS", "")
    if jax.__version_info__[:2] in KNOWN_TO and CONVOLUTIONS not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {CONVOLUTIONS}=".strip()
