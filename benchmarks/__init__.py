"""Speed and memory, measured; nothing here is a test. `make bench`, or python -m benchmarks.train_step --help."""
