"""What a run carries from one step to the next, and the one way a network in it is updated.

A state holds arrays only, so that it can be sharded, donated and saved as it is. Networks are named ("denoiser", or
"generator" and "discriminator"), and every field but `step` is a dictionary by that name.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from diffjax.ema import Average, network_of
from diffjax.parallel import Axis

Tree = Any
HEALTHY = -1  # the value of `first_bad_step` while every loss and gradient so far was finite


@struct.dataclass
class TrainState:
    """Everything that training changes.

    step: updates done so far, an int32 scalar.
    params, ema: {network: variables}; `variables` are Flax collections ("params", perhaps "batch_stats"). `ema` also
        holds "network@profile" for each further profile that a network is averaged with.
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

    def tracking(self, ema: Average) -> "TrainState":
        """The same state with averages of every profile of `ema`: those `create` made are of the first."""
        more = {
            f"{name}@{profile}": jax.tree.map(jnp.copy, tree)
            for name, tree in self.ema.items()
            for profile in ema.profiles[1:]
        }
        return self.replace(ema=self.ema | more)

    @property
    def averaged(self) -> dict[str, Tree]:
        """{network: variables} to draw from: averaged where an average is kept, by its first profile."""
        return {name: self.ema.get(name, variables) for name, variables in self.params.items()}

    def advance(self, ema: Average, batch_size: int, *must_be_finite: jax.Array) -> "TrainState":
        """The end of a step: averages follow the parameters, and the sticky flag keeps the first step gone bad."""
        step = self.step + 1
        decays = ema.decays(step * jnp.float32(batch_size), batch_size)
        averages = {}
        for name, tree in self.ema.items():
            network, profile = network_of(name)
            averages[name] = jax.tree.map(partial(_towards, decays[profile]), tree, self.params[network])
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(value)) for value in must_be_finite]))
        newly_bad = ~finite & (self.extra["first_bad_step"] == HEALTHY)
        first_bad_step = jnp.where(newly_bad, step, self.extra["first_bad_step"])
        return self.replace(step=step, ema=averages, extra=self.extra | {"first_bad_step": first_bad_step})


def _towards(decay: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
    """decay old + (1 - decay) new."""
    return new + decay.astype(new.dtype) * (old - new)


def update(
    state: TrainState,
    network: str,
    loss: Callable[[Tree, Tree], tuple[jax.Array, dict]],
    batch: Tree,
    optimizer: optax.GradientTransformation,
    axis: Axis,
    accumulate: int = 1,
    group: int = 1,
    remember: Callable[[dict, Tree], dict] | None = None,
) -> tuple[TrainState, dict[str, jax.Array], jax.Array]:
    """One optimiser step of one network on the gradient of its mean loss over the global batch.

    `loss(variables, batch) -> (scalar, aux)` is the mean over the examples it is given; `aux["metrics"]` holds scalars,
    `aux["stats"]` the non-trained collections to keep (empty when there are none). `accumulate` splits the batch into
    that many parts, one after the other, for memory, never within a `group` of neighbours. `remember(state.extra,
    aux["examples"])` is the new `extra`, where a method keeps a history of what each example, first axis, gave: it is
    shown the whole global batch, in its order.
    Returns the state, the metrics and the gradient's norm.
    """
    variables = state.params[network]
    stats = {name: value for name, value in variables.items() if name != "params"}

    def of_part(stats, part):
        def objective(params):
            return loss({"params": params} | stats, part)

        (value, aux), gradient = jax.value_and_grad(objective, has_aux=True)(variables["params"])
        return stats | aux["stats"], (gradient, aux["metrics"] | {"loss": value}), aux.get("examples", {})

    if accumulate == 1:
        stats, sums, examples = of_part(stats, batch)
    else:
        # Strided parts: each holds examples of every device, so that no part has to travel.
        def divided(x):
            groups = x.reshape(-1, accumulate, group, *x.shape[1:]).swapaxes(0, 1)
            return groups.reshape(accumulate, -1, *x.shape[1:])

        def united(x):
            groups = x.reshape(accumulate, -1, group, *x.shape[2:]).swapaxes(0, 1)
            return groups.reshape(-1, *x.shape[2:])

        parts = jax.tree.map(divided, batch)

        def add(carry, part):
            stats, sums = carry
            stats, values, examples = of_part(stats, part)
            return (stats, jax.tree.map(jnp.add, sums, values)), examples

        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype),
            jax.eval_shape(lambda: of_part(stats, jax.tree.map(lambda x: x[0], parts))[1]),
        )
        (stats, sums), examples = jax.lax.scan(add, (stats, zeros), parts)
        examples = jax.tree.map(united, examples)
    gradient, metrics = axis.mean(jax.tree.map(lambda x: x / accumulate, sums))
    norm = optax.tree.norm(gradient)
    updates, opt_state = optimizer.update(gradient, state.opt_state[network], variables["params"])
    new = {"params": optax.apply_updates(variables["params"], updates)} | stats
    state = state.replace(params=state.params | {network: new}, opt_state=state.opt_state | {network: opt_state})
    if remember is not None:
        state = state.replace(extra=remember(state.extra, axis.gather(examples)))
    return state, metrics, norm
