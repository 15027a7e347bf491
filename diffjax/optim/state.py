"""The training state, and the optimiser step of one network, shared by all methods.

A state holds arrays only, so it can be sharded, donated and saved as it is. Networks are named ("denoiser", or
"generator" and "discriminator"); `params`, `ema` and `opt_state` are dictionaries by these names.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import struct

from diffjax.optim.accumulation import in_parts
from diffjax.optim.ema import Average, network_of
from diffjax.parallel import Axis, Tree

HEALTHY = -1  # `first_bad_step` as long as every loss and gradient was finite


@struct.dataclass
class TrainState:
    """Everything that training changes.

    step: number of updates done, an int32 scalar.
    params, ema: {network: variables}; `variables` are Flax collections ("params", possibly "batch_stats"). `ema` also
        has "network@profile" for every further profile of the average.
    opt_state: {network: optax state}.
    extra: further arrays of the method; always has `first_bad_step`.
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
        """A state at step 0 with new optimiser states; averages of the networks in `averaged` start at their params."""
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            ema={name: jax.tree.map(jnp.copy, params[name]) for name in averaged},
            opt_state={name: optimizer.init(params[name]["params"]) for name, optimizer in optimizers.items()},
            extra={"first_bad_step": jnp.full((), HEALTHY, jnp.int32)},
        )

    def tracking(self, ema: Average) -> "TrainState":
        """The state with averages for every profile of `ema`; `create` makes only those of the first."""
        averages = {
            f"{name}@{profile}": jax.tree.map(jnp.copy, tree)
            for name, tree in self.ema.items()
            for profile in ema.profiles[1:]
        }
        return self.replace(ema=self.ema | averages)

    @property
    def averaged(self) -> dict[str, Tree]:
        """{network: variables} to draw from: the average of the first profile if one is kept, otherwise `params`."""
        return {name: self.ema.get(name, variables) for name, variables in self.params.items()}

    def advance(self, ema: Average, batch_size: int, *must_be_finite: jax.Array) -> "TrainState":
        """Ends a step: updates the averages, and records the first step at which `must_be_finite` was not finite."""
        step = self.step + 1
        recursions = ema.recursions(step * jnp.float32(batch_size), batch_size)
        averages = {}
        for name, tree in self.ema.items():
            network, profile = network_of(name)
            averages[name] = jax.tree.map(recursions[profile], tree, self.params[network])
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(value)) for value in must_be_finite]))
        newly_bad = ~finite & (self.extra["first_bad_step"] == HEALTHY)
        first_bad_step = jnp.where(newly_bad, step, self.extra["first_bad_step"])
        return self.replace(step=step, ema=averages, extra=self.extra | {"first_bad_step": first_bad_step})


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
    """Does one optimiser step of one network on the gradient of its mean loss over the global batch.

    `loss(variables, batch) -> (scalar, aux)` is the mean over its examples. `aux["metrics"]` are scalars and
    `aux["stats"]` the updated non-trained collections ({} if there are none).

    `accumulate` is the number of parts into which the batch is split, processed one after the other to save memory; a
    part keeps each `group` of neighbouring examples whole.

    `remember(state.extra, aux["examples"])` returns the new `extra`, for a method that keeps a history of per-example
    values. These have the examples on their first axis: all of the global batch, in its order.

    Returns the state, the metrics and the norm of the gradient.
    """
    variables = state.params[network]
    stats = {name: value for name, value in variables.items() if name != "params"}

    def gradients(stats, part):
        def objective(params):
            return loss({"params": params} | stats, part)

        (value, aux), gradient = jax.value_and_grad(objective, has_aux=True)(variables["params"])
        return stats | aux["stats"], (gradient, aux["metrics"] | {"loss": value}), aux.get("examples", {})

    stats, sums, examples = in_parts(gradients, stats, batch, accumulate, group)
    gradient, metrics = axis.mean(jax.tree.map(lambda x: x / accumulate, sums))
    norm = optax.tree.norm(gradient)
    updates, opt_state = optimizer.update(gradient, state.opt_state[network], variables["params"])
    new_variables = {"params": optax.apply_updates(variables["params"], updates)} | stats
    state = state.replace(
        params=state.params | {network: new_variables}, opt_state=state.opt_state | {network: opt_state}
    )
    if remember is not None:
        state = state.replace(extra=remember(state.extra, axis.gather(examples)))
    return state, metrics, norm
