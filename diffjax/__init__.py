"""diffjax: diffusion models and GANs from one config system. `run = diffjax.load(workdir)` opens a trained run."""

__version__ = "0.1.0"


def load(workdir, **options):
    """Opens a run directory; see `diffjax.run.load`."""
    from diffjax.run import load  # deferred: a command that needs no arrays should not wait for JAX
    from diffjax.xla import choose_kernels

    choose_kernels()
    return load(workdir, **options)
