"""Benchmarks of speed and memory, not tests: `make bench`, or `python -m benchmarks.train_step --help`."""
