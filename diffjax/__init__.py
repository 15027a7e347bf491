"""diffjax: diffusion models and GANs from one config system.

`diffjax.train(config, workdir)` trains, and `run = diffjax.load(workdir)` opens a trained run.
"""

__version__ = "0.1.0"

# Imports are deferred: a command that needs no arrays should not wait for JAX.


def train(config, workdir, overrides=()):
    """Trains a config, or continues its run in `workdir`; returns the run's result (see `diffjax.training.loop.train`).

    `config` is a ConfigDict, or a path such as "configs/digits.py:edm"; `overrides` change its keys, as in
    {"train.steps": 500}.
    """
    from pathlib import Path

    from diffjax import config as configs
    from diffjax.host.xla import choose_kernels
    from diffjax.training.loop import train

    choose_kernels()
    config = configs.load(str(config)) if isinstance(config, str | Path) else config
    return train(configs.override(config, overrides), Path(workdir))


def load(workdir, overrides=(), step=None, ema=None):
    """Opens a trained run at its last checkpoint, or at another `step` or "best" (see `diffjax.run.load`).

    `overrides` change how it draws and measures, as in {"sampler.name": "ddim", "sampler.steps": 20}; `ema` is the
    relative width of another average of the weights.
    """
    from pathlib import Path

    from diffjax.host.xla import choose_kernels
    from diffjax.precision import Precision
    from diffjax.run import load
    from diffjax.workdir.directory import config_to_draw, read_config

    choose_kernels()
    Precision(**read_config(Path(workdir)).precision).apply()  # before the devices are first used
    return load(workdir, config_to_draw(Path(workdir), overrides), step, ema)
