"""DDIM on a UNet: images/s, compile time, memory; beside diffusers if it is installed."""

from benchmarks.measure import Benchmark, main
from benchmarks.sizes import SIZES
from benchmarks.train_step import PEER

if __name__ == "__main__":
    main(Benchmark("sampler", __doc__, SIZES, "mnist", count=20, peer=PEER, timed="batch"))
