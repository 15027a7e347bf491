"""What `--dry-run` counts."""

import jax
import numpy as np
import pytest

from diffjax.experiment import Experiment
from diffjax.training.dry_run import step_flops
from tests import tiny


def test_the_dry_run_counts_every_matrix_product_and_the_dearer_branch():
    def step(w, x, key, axis):
        return jax.lax.cond(x[0, 0] > 0, lambda: w, lambda: x @ w @ w)

    w, x = jax.ShapeDtypeStruct((64, 64), np.float32), jax.ShapeDtypeStruct((64, 64), np.float32)
    assert step_flops(step, w, x) == pytest.approx(2 * 2 * 64**3, rel=0.01)
    assert [Experiment.of(c).method.steps_differ for c in (tiny.gan(), tiny.gan(method__lazy=4))] == [False, True]
