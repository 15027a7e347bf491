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
from diffjax.methods.game import Latent, nth, statistics
from diffjax.methods.method import Batch
from diffjax.optim.state import TrainState
from diffjax.parallel import Axis

if TYPE_CHECKING:
    from diffjax.methods.gan import GAN

Updated = tuple[TrainState, Array, Array]  # with the penalty to log, and the norm of its gradient


def every(k: int, update: Callable[[TrainState], Updated], state: TrainState, dtype: str) -> Updated:
    """`update(state)` after every k-th step; after the others the unchanged state, and 0 for penalty and norm.

    A log line's mean is therefore the mean penalty per step only if it covers a multiple of k steps.
    """
    zero = jnp.zeros((), dtype)
    return lax.cond(state.step % k == 0, update, lambda state: (state, zero, zero), state)


def update_on_penalty(gan: "GAN", state: TrainState, batch: Batch, key: Array, axis: Axis) -> Updated:
    """Updates the discriminator on its penalty alone, on its last real batch.

    The gradient stands for one penalty in each of its updates during `lazy` steps.
    """
    context = gan.context(gan.update_indices.penalty, state, key, axis)

    def loss(variables, generator, batch, context):
        keys = context.keys(batch)
        examples = gan.draw_examples(generator, batch, keys.generate, context.axis)
        penalty = gan.lazy * gan.mean_penalty(variables, examples, keys, context)
        return gan.d_steps * penalty, {"metrics": {"penalty": penalty}, "stats": {}}

    def regularise(state):
        last_batch = nth(batch, gan.d_steps - 1)
        state, metrics = gan.descend("discriminator", loss, state, state.params["generator"], last_batch, context)
        return state, metrics["penalty"], metrics["d_gradient_norm"]

    return every(gan.lazy, regularise, state, gan.precision.params)


def update_on_path_lengths(gan: "GAN", state: TrainState, batch: Batch, key: Array, axis: Axis) -> Updated:
    """Updates the generator on path lengths alone, with the labels of its batch.

    The target length is the running mean over all earlier such updates, kept in `state.extra`; in the authors' code
    the mean has this batch in it already.
    """
    context, mean = gan.context(gan.update_indices.path_lengths, state, key, axis), state.extra["path_length"]

    def loss(variables, discriminator, batch, context):
        keys, network = context.keys(batch), gan.make(gan.generator, context.axis)
        noise_keys, z = gan.noise_keys(keys.generate), Latent()(keys.generate, network.latent)
        inputs = gan.inputs_for("generator", gan.cond_of(batch)) | noise_keys | {"train": True}
        styles, stats = network.apply(variables, z, **inputs, method="styles", mutable=statistics(variables))
        lengths = path_lengths(partial(network.apply, variables, **noise_keys, method="draw"), styles, keys.penalty)
        penalty = gan.path_length_every * gan.path_length * jnp.mean((lengths - mean) ** 2)
        return penalty, {"metrics": {"penalty": penalty, "length": jnp.mean(lengths)}, "stats": stats}

    def regularise(state):
        own_batch = nth(batch, gan.update_indices.generator)
        state, metrics = gan.descend("generator", loss, state, state.params["discriminator"], own_batch, context)
        new_mean = running_mean(mean, metrics["length"]).astype(mean.dtype)
        state = state.replace(extra=state.extra | {"path_length": new_mean})
        return state, metrics["penalty"], metrics["g_gradient_norm"]

    return every(gan.path_length_every, regularise, state, gan.precision.params)
