"""Drawing: what a sample depends on."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from diffjax.experiment import Experiment
from tests import tiny


@pytest.mark.parametrize("config", [tiny.digits, tiny.points])
def test_a_sample_is_of_its_number_whatever_is_drawn_at_once(config):
    """To rounding, as programs for other batches differ in nothing else: so `eval.batch_size` decides no result."""
    experiment = Experiment.of(config())
    variables = jax.jit(experiment.init)(jax.random.key(0)).averaged
    few, all_at_once = (experiment.generator(batch_size=n).draw(variables, 50, seed=3).x for n in (16, 50))
    if few.dtype == np.uint8:
        assert np.abs(few.astype(int) - all_at_once).max() <= 1 and (few == all_at_once).mean() > 0.99
    else:
        np.testing.assert_allclose(few, all_at_once, rtol=1e-5, atol=1e-5)


def test_what_draws_alike_is_compiled_once():
    experiment = Experiment.of(tiny.points())
    assert experiment.generator() is experiment.generator(experiment.sampler)
    assert experiment.generator() is not experiment.generator(batch_size=3)
    assert experiment.generator() is not experiment.generator(replace(experiment.sampler, steps=2))
