"""Lazy regularisation: separate updates, every few steps, on the discriminator's penalty or on G's path lengths.

Each is weighted by its interval, so that on average the gradient equals that of regularising in every step (Karras et
al. 2020, "StyleGAN2", section 3.1). The optimisers account for the additional updates (`GAN.optimizer`).
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
    """`update(state)` after every k-th step; after the others the unchanged state, and 0 to log."""
    zero = jnp.zeros((), dtype)
    return lax.cond(state.step % k == 0, update, lambda state: (state, zero), state)


def update_on_penalty(game: "GAN", state: TrainState, batch: Batch, key: Array, axis: Axis) -> Logged:
    """Updates the discriminator on its penalty alone, on its last real batch. Also returns the penalty to log.

    The gradient stands for one penalty in each of its turns during `lazy` steps.
    """
    turn = game.turn(game.turns.penalty, state, key, axis)

    def loss(variables, generator, batch, turn):
        keys = turn.keys(batch)
        game_round = game.play(generator, batch, keys.play, turn.axis)
        penalty = game.lazy * game.mean_penalty(variables, game_round, keys, turn)
        return game.d_steps * penalty, {"metrics": {"penalty": penalty}, "stats": {}}

    def regularise(state):
        state, metrics = game.descend("discriminator", loss, game.d_steps - 1, state, state, batch, turn)
        return state, metrics["penalty"]

    return every(game.lazy, regularise, state, game.precision.params)


def update_on_path_lengths(game: "GAN", state: TrainState, batch: Batch, key: Array, axis: Axis) -> Logged:
    """Updates the generator on path lengths alone, with the labels of its batch. Also returns the penalty to log.

    The target length is the running mean over all earlier such updates, kept in `state.extra`.
    """
    turn, mean = game.turn(game.turns.paths, state, key, axis), state.extra["path_length"]

    def loss(variables, discriminator, batch, turn):
        keys, network = turn.keys(batch), game.make(game.generator, turn.axis)
        noise_keys, z = game.own_keys(keys.play), Latent()(keys.play, network.latent)
        inputs = game.inputs_for("generator", game.cond_of(batch)) | noise_keys | {"train": True}
        styles, stats = network.apply(variables, z, **inputs, method="styles", mutable=statistics(variables))
        lengths = path_lengths(partial(network.apply, variables, **noise_keys, method="draw"), styles, keys.penalty)
        penalty = game.path_length_every * game.path_length * jnp.mean((lengths - mean) ** 2)
        return penalty, {"metrics": {"penalty": penalty, "length": jnp.mean(lengths)}, "stats": stats}

    def regularise(state):
        state, metrics = game.descend("generator", loss, game.turns.generator, state, state, batch, turn)
        new_mean = running_mean(mean, metrics["length"]).astype(mean.dtype)
        return state.replace(extra=state.extra | {"path_length": new_mean}), metrics["penalty"]

    return every(game.path_length_every, regularise, state, game.precision.params)
