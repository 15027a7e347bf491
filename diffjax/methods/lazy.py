"""Updates of their own, every few steps, on one term of a player's loss: D's penalty, and G's path lengths.

Each is as strong as all those it stands for: over many steps the gradient is in the mean the eager one (Karras et al.
2020, "StyleGAN2", section 3.1). The optimisers allow for the further updates (`GAN.optimizer`).
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from diffjax.adversarial import path_lengths, running_mean
from diffjax.methods.game import Latent, statistics
from diffjax.methods.method import Batch
from diffjax.parallel import Axis
from diffjax.state import TrainState

if TYPE_CHECKING:
    from diffjax.methods.gan import GAN

Logged = tuple[TrainState, Array]


def every(k: int, update: Callable[[TrainState], Logged], state: TrainState, dtype: str) -> Logged:
    """`update(state)` after every k-th step; the state as it is, and 0 to log, after the others."""
    nothing = jnp.zeros((), dtype)
    return lax.cond(state.step % k == 0, update, lambda state: (state, nothing), state)


def update_on_penalty(game: "GAN", state: TrainState, batch: Batch, key: Array, axis: Axis) -> Logged:
    """The discriminator's, on the last real batch it has seen; and the penalty to log.

    One penalty for each of its turns in `lazy` steps.
    """
    turn = game.turn(game.turns.penalty, state, key, axis)

    def loss(variables, generator, batch, turn):
        keys = turn.keys(batch)
        played = game.play(generator, batch, keys.play, turn.axis)
        penalty = game.lazy * game.mean_penalty(variables, played, keys, turn)
        return game.d_steps * penalty, {"metrics": {"penalty": penalty}, "stats": {}}

    def due(state):
        state, metrics = game.descend("discriminator", loss, game.d_steps - 1, state, state, batch, turn)
        return state, metrics["penalty"]

    return every(game.lazy, due, state, game.precision.params)


def update_on_path_lengths(game: "GAN", state: TrainState, batch: Batch, key: Array, axis: Axis) -> Logged:
    """The generator's, with labels of its own batch; and the penalty to log.

    Lengths are held to their running mean over the turns before this one, which is kept in `state.extra`.
    """
    turn, mean = game.turn(game.turns.paths, state, key, axis), state.extra["path_length"]

    def loss(variables, discriminator, batch, turn):
        keys, network = turn.keys(batch), game.make(game.generator, turn.axis)
        noise, z = game.own_keys(keys.play), Latent()(keys.play, network.latent)
        inputs = game.inputs_for("generator", game.cond_of(batch)) | noise | {"train": True}
        styles, stats = network.apply(variables, z, **inputs, method="styles", mutable=statistics(variables))
        lengths = path_lengths(partial(network.apply, variables, **noise, method="draw"), styles, keys.penalty)
        penalty = game.path_length_every * game.path_length * jnp.mean((lengths - mean) ** 2)
        return penalty, {"metrics": {"penalty": penalty, "length": jnp.mean(lengths)}, "stats": stats}

    def due(state):
        state, metrics = game.descend("generator", loss, game.turns.generator, state, state, batch, turn)
        new = running_mean(mean, metrics["length"]).astype(mean.dtype)
        return state.replace(extra=state.extra | {"path_length": new}), metrics["penalty"]

    return every(game.path_length_every, due, state, game.precision.params)
