"""A training step of a UNet: images/s, compile time, memory, FLOPs; beside diffusers if it is installed."""

from benchmarks.measure import Benchmark, Contender, main
from benchmarks.sizes import SIZES

PEER = Contender("diffusers", "benchmarks.peer", needs=("diffusers", "torch"))

if __name__ == "__main__":
    main(Benchmark("train_step", __doc__, SIZES, "mnist", count=10, peer=PEER))
