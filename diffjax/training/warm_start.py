"""`train.init_from`: the networks that a run starts from."""

from pathlib import Path

import jax
import jax.numpy as jnp

from diffjax.config import override
from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.optim.state import TrainState
from diffjax.run import load
from diffjax.workdir.directory import read_config


def warm_start(experiment: Experiment, shapes: TrainState) -> TrainState | None:
    """The state of the run in `train.init_from`, on this experiment's devices; None if there is no such run.

    Raises UserError unless its networks have the same shapes.
    """
    config, path = experiment.config, experiment.config.train.init_from
    if not path:
        return None
    try:
        parallel = {f"parallel.{key}": value for key, value in config.parallel.items()}
        other = load(path, override(read_config(Path(path)), parallel)).state
    except UserError as error:
        raise error.about("`workdir`: ", "train.init_from: ") from None
    for name in shapes.params:
        shape, other_shape = (jax.tree.map(jnp.shape, state.params.get(name)) for state in (shapes, other))
        if shape != other_shape:
            raise UserError(f"train.init_from: the {name!r} of {path} must have the shapes of this config's")
    return other
