"""Means of the metrics since the last log line, accumulated on the device and saved in the checkpoint.

Accumulating costs no synchronisation between log lines, and a continued run logs the same values as an uninterrupted
one.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.parallel import Layout, Tree


def windowed(step: Callable) -> Callable:
    """Wraps a method's step to act on {"state": ..., "window": ...} and add its metrics to the window."""

    def run(carry, batch, key, axis):
        state, metrics = step(carry["state"], batch, key, axis)
        sums = jax.tree.map(jnp.add, carry["window"]["sums"], metrics)
        return {"state": state, "window": {"sums": sums, "steps": carry["window"]["steps"] + 1}}, metrics

    return run


def shapes(step: Callable, state: Tree, batch: Tree, key: jax.Array, axis) -> dict[str, Tree]:
    """The shapes of the state and window of a windowed step."""
    _, metrics = jax.eval_shape(lambda *args: step(*args, axis), state, batch, key)
    return {"state": state, "window": {"sums": metrics, "steps": jax.ShapeDtypeStruct((), jnp.int32)}}


def empty(shapes: Tree, layout: Layout) -> Tree:
    """A window of zero steps, replicated over the devices."""

    def zeros(like):  # device_put across processes makes arrays that cannot be saved (jax 0.10)
        return jax.make_array_from_callback(
            like.shape, layout.replicated, lambda part: np.zeros(like.shape, like.dtype)[part]
        )

    return jax.tree.map(zeros, shapes)


def read(window: Tree) -> dict[str, float]:
    """The means over the window's steps. Waits for the device."""
    window = jax.device_get(window)
    return {name: float(value / max(window["steps"], 1)) for name, value in window["sums"].items()}
