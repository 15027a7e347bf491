"""Warm starts: a run that begins with the networks of another."""

import shutil

import jax
import numpy as np
import pytest

import diffjax
from diffjax.errors import UserError
from diffjax.experiment import Experiment
from diffjax.training.loop import carry_shapes, train
from diffjax.training.warm_start import warm_start
from tests import tiny


def test_a_warm_start_takes_the_other_runs_networks(tmp_path):
    train(tiny.points(train__steps=14), tmp_path)
    other = diffjax.load(tmp_path)
    experiment = Experiment.of(tiny.points(train__init_from=tmp_path))
    shapes = carry_shapes(experiment)["state"]
    state = experiment.initial_state(shapes, warm_start(experiment, shapes))
    tiny.assert_trees_equal((state.params, state.ema), (other.state.params, other.state.ema))
    assert state.step == 0 and np.all(jax.tree.leaves(state.opt_state)[0] == 0)


def test_a_warm_start_needs_neither_the_other_runs_devices_nor_the_other_run_once_it_has_begun(tmp_path):
    train(tiny.points(train__steps=7, parallel__devices=2), tmp_path / "first")
    config = tiny.points(train__steps=7, train__init_from=tmp_path / "first", parallel__devices=4, parallel__fsdp=2)
    train(config, tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    config.train.steps = 14
    assert train(config, tmp_path / "second")["step"] == 14
    with pytest.raises(UserError, match="train.init_from: .*first holds no run"):
        train(config, tmp_path / "third")


def test_a_warm_start_from_other_shapes_is_refused(tmp_path):
    train(tiny.points(train__steps=7), tmp_path / "first")
    with pytest.raises(UserError, match="train.init_from: the 'denoiser' of .* must have the shapes"):
        train(
            tiny.points(train__steps=7, train__init_from=tmp_path / "first", method__network__width=8), tmp_path / "b"
        )
