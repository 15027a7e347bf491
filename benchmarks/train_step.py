"""A training step of a UNet: images/s, compile seconds, peak memory, FLOPs; beside diffusers where it is installed."""

from benchmarks.measure import main

if __name__ == "__main__":
    main("train_step", __doc__, default_count=10)
