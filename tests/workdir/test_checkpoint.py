"""Checkpoints: which ones are kept."""

import jax.numpy as jnp
import pytest

from diffjax.workdir.checkpoint import Checkpoints


@pytest.mark.parametrize(
    ("saved", "kept"),
    [((10, 20, 30), {20, 30}), ((10, 20, 23), {10, 20, 23}), ((10, 13, 20, 23, 26), {10, 20, 26})],
)
def test_a_checkpoint_that_a_signal_asked_for_takes_no_planned_ones_place(saved, kept, tmp_path):
    """Else a run stopped on its way would lack what an uninterrupted one keeps, such as what a curve is measured at."""
    with Checkpoints(tmp_path, keep=2, planned=lambda step: step % 10 == 0) as checkpoints:
        for step in saved:
            checkpoints.save(step, {"state": {"x": jnp.ones(2)}, "window": {"loss": jnp.ones(2)}}, {}, {})
    assert {int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()} == kept
