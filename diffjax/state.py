"""What a run carries from one step to the next, and the one way a network in it is updated.

A state holds arrays only, so that it can be sharded, donated and saved as it is. Networks are named ("denoiser", or
"generator" and "discriminator"), and every field but `step` is a dictionary by that name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from diffjax.parallel import Axis

Tree = Any
HEALTHY = -1  # the value of `first_bad_step` while every loss and gradient so far was finite


@struct.dataclass
class TrainState:
    """Everything that training changes.

    step: updates done so far, an int32 scalar.
    params, ema: {network: variables}; `variables` are Flax collections ("params", perhaps "batch_stats").
    opt_state: {network: optax state}.
    extra: what a method keeps besides; `first_bad_step` is always there.
    """

    step: jax.Array
    params: dict[str, Tree]
    ema: dict[str, Tree]
    opt_state: dict[str, Tree]
    extra: dict[str, Tree]

    @classmethod
    def create(
        cls, params: dict[str, Tree], optimizers: dict[str, optax.GradientTransformation], averaged: tuple[str, ...]
    ):
        """A state at step 0: fresh optimiser states, and the average of each network in `averaged` at its start."""
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            ema={name: jax.tree.map(jnp.copy, params[name]) for name in averaged},
            opt_state={name: optimizer.init(params[name]["params"]) for name, optimizer in optimizers.items()},
            extra={"first_bad_step": jnp.full((), HEALTHY, jnp.int32)},
        )

    def advance(self, ema: "HalfLife", batch_size: int, *must_be_finite: jax.Array) -> "TrainState":
        """The end of a step: averages follow the parameters, and the sticky flag keeps the first step gone bad."""
        step = self.step + 1
        decay = ema.decay(step * jnp.float32(batch_size), batch_size)
        averages = {
            name: jax.tree.map(lambda old, new: new + decay.astype(new.dtype) * (old - new), old, self.params[name])
            for name, old in self.ema.items()
        }
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(value)) for value in must_be_finite]))
        newly_bad = ~finite & (self.extra["first_bad_step"] == HEALTHY)
        first_bad_step = jnp.where(newly_bad, step, self.extra["first_bad_step"])
        return self.replace(step=step, ema=averages, extra=self.extra | {"first_bad_step": first_bad_step})


@dataclass(frozen=True)
class HalfLife:
    """Exponential moving average whose half-life is counted in images (Karras et al. 2022, `ema_halflife_kimg`).

    The half-life grows with the run, to at most `ramp` of the images seen, so that the initial weights are forgotten.
    """

    images: float = 500_000.0  # half-life in images; 0: no averaging
    ramp: float = 0.05  # longest half-life as a fraction of the images seen; 0: no ramp

    def decay(self, images_seen: jax.Array, batch_size: int) -> jax.Array:
        """The weight of the old average in one step, a scalar in [0, 1)."""
        half_life = jnp.minimum(self.images, self.ramp * images_seen) if self.ramp else jnp.asarray(self.images)
        return jnp.where(half_life > 0, 0.5 ** (batch_size / jnp.maximum(half_life, 1e-8)), 0.0)


def update(
    state: TrainState,
    network: str,
    loss: Callable[[Tree, Tree], tuple[jax.Array, dict]],
    batch: Tree,
    optimizer: optax.GradientTransformation,
    axis: Axis,
    accumulate: int = 1,
) -> tuple[TrainState, dict[str, jax.Array], jax.Array]:
    """One optimiser step of one network on the gradient of its mean loss over the global batch.

    `loss(variables, batch) -> (scalar, aux)` is the mean over the examples it is given; `aux["metrics"]` holds scalars,
    `aux["stats"]` the non-trained collections to keep (empty when there are none). `accumulate` splits the batch into
    that many parts, one after the other, for memory. Returns the state, the metrics and the gradient's norm.
    """
    variables = state.params[network]
    stats = {name: value for name, value in variables.items() if name != "params"}

    def of_part(stats, part):
        def objective(params):
            return loss({"params": params} | stats, part)

        (value, aux), gradient = jax.value_and_grad(objective, has_aux=True)(variables["params"])
        return aux["stats"], (gradient, aux["metrics"] | {"loss": value})

    if accumulate == 1:
        stats, sums = of_part(stats, batch)
    else:
        # Strided parts: each holds examples of every device, so that no part has to travel.
        parts = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch)

        def add(carry, part):
            stats, sums = carry
            stats, values = of_part(stats, part)
            return (stats, jax.tree.map(jnp.add, sums, values)), None

        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype),
            jax.eval_shape(lambda: of_part(stats, jax.tree.map(lambda x: x[0], parts))[1]),
        )
        (stats, sums), _ = jax.lax.scan(add, (stats, zeros), parts)
    gradient, metrics = axis.mean(jax.tree.map(lambda x: x / accumulate, sums))
    norm = optax.tree.norm(gradient)
    updates, opt_state = optimizer.update(gradient, state.opt_state[network], variables["params"])
    new = {"params": optax.apply_updates(variables["params"], updates)} | stats
    state = state.replace(params=state.params | {network: new}, opt_state=state.opt_state | {network: opt_state})
    return state, metrics, norm


AVERAGES = {"half_life": HalfLife}
