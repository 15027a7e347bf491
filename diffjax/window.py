"""Means of a step's metrics since the last log line, kept on the device and in the checkpoint.

So that logging costs no synchronisation, and a run that is continued logs what an uninterrupted one would have.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.parallel import Layout, Tree


def windowed(step: Callable) -> Callable:
    """A method's step, on {"state": ..., "window": ...}: the metrics are also added up in the window."""

    def run(carry, batch, key, axis):
        state, metrics = step(carry["state"], batch, key, axis)
        sums = jax.tree.map(jnp.add, carry["window"]["sums"], metrics)
        return {"state": state, "window": {"sums": sums, "steps": carry["window"]["steps"] + 1}}, metrics

    return run


def shapes(step: Callable, state: Tree, batch: Tree, key: jax.Array, axis) -> dict[str, Tree]:
    """The shapes of what a windowed step carries."""
    _, metrics = jax.eval_shape(lambda *args: step(*args, axis), state, batch, key)
    return {"state": state, "window": {"sums": metrics, "steps": jax.ShapeDtypeStruct((), jnp.int32)}}


def empty(shapes: Tree, layout: Layout) -> Tree:
    """A window in which nothing has been added up."""

    def zeros(like):  # not by device_put: across processes it makes arrays that cannot be saved (jax 0.10)
        return jax.make_array_from_callback(
            like.shape, layout.replicated, lambda part: np.zeros(like.shape, like.dtype)[part]
        )

    return jax.tree.map(zeros, shapes)


def read(window: Tree) -> dict[str, float]:
    """The means; waits for the device."""
    window = jax.device_get(window)
    return {name: float(value / max(window["steps"], 1)) for name, value in window["sums"].items()}
