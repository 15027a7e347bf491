"""The configs: one file per experiment, each built on `base`."""
