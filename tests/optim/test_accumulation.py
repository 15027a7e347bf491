"""A batch in parts is the batch: the same sum, and the examples where they were."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.optim.accumulation import in_parts


def squares(carry, part):
    """Counts its calls, and keeps how the examples of a part differ from the first of their group of two."""
    return carry + 1, jnp.sum(part**2), {"x": part, "first": jnp.repeat(part[::2], 2)}


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_sums_add_up_and_examples_come_back_in_the_order_of_the_batch(parts):
    batch = jnp.arange(12.0)
    calls, total, examples = in_parts(squares, jnp.zeros((), int), batch, parts, group=2)
    assert calls == parts and total == jnp.sum(batch**2)
    np.testing.assert_array_equal(examples["x"], batch)


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_a_group_is_never_divided(parts):
    _, _, examples = in_parts(squares, jnp.zeros((), int), jnp.arange(12.0), parts, group=2)
    np.testing.assert_array_equal(examples["first"], np.repeat(np.arange(12.0)[::2], 2))


def test_every_part_has_examples_of_every_device():
    """Devices hold neighbouring examples, so a part takes each `parts`-th group."""
    _, first_of_each_group, _ = in_parts(lambda carry, part: (carry, {"x": part}, {}), 0, jnp.arange(8.0), 4)
    np.testing.assert_array_equal(first_of_each_group["x"], [6.0, 22.0])  # the sums of 0, 1, 2, 3 and of 4, 5, 6, 7
