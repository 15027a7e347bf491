"""Gradient accumulation: processes a batch in parts, one after the other, to save memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from diffjax.parallel import Tree


def in_parts(
    function: Callable[[Tree, Tree], tuple[Tree, Tree, Tree]], carry: Tree, batch: Tree, parts: int, group: int = 1
) -> tuple[Tree, Tree, Tree]:
    """Calls `function(carry, part) -> (carry, values, examples)` for each part of a batch, whose leaves are [b, ...].

    Returns the last carry, the sum of the values, and the examples of all parts, [b, ...] in the order of the batch.
    A part keeps each `group` of neighbouring examples whole; b must be a multiple of `parts * group`.
    """
    if parts == 1:
        return function(carry, batch)

    # Strided parts have examples of every device, so no data move between devices.
    def split(x):
        groups = x.reshape(-1, parts, group, *x.shape[1:]).swapaxes(0, 1)
        return groups.reshape(parts, -1, *x.shape[1:])

    def merge(x):
        groups = x.reshape(parts, -1, group, *x.shape[2:]).swapaxes(0, 1)
        return groups.reshape(-1, *x.shape[2:])

    batches = jax.tree.map(split, batch)

    def add(summed, part):
        carry, sums = summed
        carry, values, examples = function(carry, part)
        return (carry, jax.tree.map(jnp.add, sums, values)), examples

    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype),
        jax.eval_shape(lambda: function(carry, jax.tree.map(lambda x: x[0], batches))[1]),
    )
    (carry, sums), examples = jax.lax.scan(add, (carry, zeros), batches)
    return carry, sums, jax.tree.map(merge, examples)
