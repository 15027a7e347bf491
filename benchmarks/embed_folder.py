"""Embeds a folder of PNGs with a tiny network: images/s, beside decoding alone and the network alone.

    python -m benchmarks.embed_folder --count=2000 --side=128

On a CPU the network and the decoding threads compete for cores. The last two rows
simulate an accelerator, which takes 50 ms per batch and no cores: with batches read
on demand, and read ahead.
"""

import argparse
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from diffjax import parallel
from diffjax.data import Examples, Folder
from diffjax.data.source import in_memory
from diffjax.host.xla import choose_kernels
from diffjax.inference.embedding import Embedder, read_ahead
from diffjax.metrics.features import Extractor, Outputs

WIDTH = 64
BATCH = 64
ACCELERATOR = 0.05  # seconds per batch of the simulated accelerator


def tiny_network(side: int) -> Extractor:
    """A feature network of two convolutions and a mean."""
    random = np.random.default_rng(0)
    kernels = [random.normal(size=shape).astype(np.float32) / 8 for shape in ((8, 8, 3, 32), (3, 3, 32, WIDTH))]

    def apply(kernels, images):
        x = images.astype(jnp.float32) / 255
        for kernel, stride in zip(kernels, (4, 1), strict=True):
            x = jax.lax.conv_general_dilated(
                x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x)
        return Outputs(x.mean(axis=(1, 2)))

    return Extractor("tiny", WIDTH, {"network": "tiny"}, kernels, apply)


def write_images(folder: Path, count: int, side: int) -> None:
    """Writes PNGs of smooth noise, which compresses like photos."""
    random = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:05}.png")


def on_demand(images: Examples) -> None:
    for start in range(0, len(images), BATCH):
        images.take(np.arange(start, min(start + BATCH, len(images))))
        time.sleep(ACCELERATOR)


def ahead(images: Examples) -> None:
    for _ in read_ahead(images, BATCH):
        time.sleep(ACCELERATOR)


def timed(call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="number of images (default: 2000)")
    parser.add_argument("--side", type=int, default=128, help="their side in pixels (default: 128)")
    parser.add_argument("--repeats", type=int, default=3, help="timings, of which the best counts (default: 3)")
    arguments = parser.parse_args()
    choose_kernels()
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name), arguments.count, arguments.side)
        images = Folder(name).everything()
        embedder = Embedder(tiny_network(arguments.side), parallel.layout(), BATCH)
        decoded = in_memory(images.take(np.arange(len(images)))["x"], np.zeros(len(images)))
        embedder(decoded)  # compiles
        rows = {
            "decoding alone, one thread": lambda: images.take(np.arange(len(images))),
            "the network alone": lambda: embedder(decoded),
            "embedded from the folder": lambda: embedder(images),
            "accelerator, on demand": lambda: on_demand(images),
            "accelerator, read ahead": lambda: ahead(images),
        }
        for name, call in rows.items():
            seconds = min(timed(call) for _ in range(arguments.repeats))
            print(f"{name:<28} {seconds:6.2f} s  {arguments.count / seconds:7.0f} images/s")


if __name__ == "__main__":
    main()
