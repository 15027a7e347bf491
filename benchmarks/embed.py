"""Inception features from resizing to host memory: images/s, beside torch-fidelity if it is installed."""

from benchmarks.measure import FORMATS, Benchmark, Contender, main
from benchmarks.sizes import PICTURES

PEER = Contender("torch-fidelity", "benchmarks.embed_peer", needs=("torch", "torch_fidelity"))

if __name__ == "__main__":
    formats = FORMATS[:2]  # those of `eval.precision`: evaluations compute no features in bfloat16
    main(Benchmark("embed", __doc__, PICTURES, "cifar10", 4, PEER, timed="batch", formats=formats))
