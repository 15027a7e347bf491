"""What to run: one file for each experiment, on top of `base`."""
