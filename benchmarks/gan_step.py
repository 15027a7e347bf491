"""A GAN step, the updates of D and G: images/s, compile time, memory, FLOPs; beside PyTorch if it is installed."""

from benchmarks.measure import Benchmark, Contender, main
from benchmarks.sizes import GAMES

PEER = Contender("PyTorch", "benchmarks.gan_peer", needs=("torch",))

if __name__ == "__main__":
    main(Benchmark("gan_step", __doc__, GAMES, "dcgan", 10, PEER, option="game", equal=("parameters",)))
