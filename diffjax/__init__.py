"""diffjax: diffusion models and GANs from one config system.

`diffjax.train(config, workdir)` trains, and `run = diffjax.load(workdir)` opens a trained run.
"""

__version__ = "0.1.0"

# Imports are deferred: a command that needs no arrays should not wait for JAX.


def train(config, workdir, overrides=()):
    """Trains a config, or continues its run in `workdir`; returns the run's result (see `diffjax.training.train`).

    `config` is a ConfigDict, or a path such as "configs/digits.py:edm"; `overrides` change its keys, as in
    {"train.steps": 500}.
    """
    from pathlib import Path

    from diffjax import config as configs
    from diffjax.training import train
    from diffjax.xla import choose_kernels

    choose_kernels()
    config = configs.load(config) if isinstance(config, str) else config
    return train(configs.override(config, overrides), Path(workdir))


def load(workdir, **options):
    """Opens a run directory; see `diffjax.run.load`."""
    from diffjax.run import load
    from diffjax.xla import choose_kernels

    choose_kernels()
    return load(workdir, **options)
