"""DDIM on a UNet: images/s, compile seconds, peak memory; beside diffusers where it is installed."""

from benchmarks.measure import main

if __name__ == "__main__":
    main("sampler", __doc__, default_count=20)
