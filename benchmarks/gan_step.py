"""A step of a GAN, D's update and G's: images/s, compile seconds, peak memory, FLOPs; beside PyTorch where it is."""

from benchmarks.measure import Benchmark, Contender, main
from benchmarks.sizes import GAMES

PEER = Contender("PyTorch", "benchmarks.gan_peer", needs=("torch",))

if __name__ == "__main__":
    main(Benchmark("gan_step", __doc__, GAMES, "dcgan", 10, PEER, option="game", equal=("parameters",)))
