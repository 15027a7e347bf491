"""Runs that fail, and runs that must not begin: what stops them, what they say, and what is kept."""

import json
import shutil
import signal
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from flax.serialization import from_state_dict, to_state_dict

import diffjax
from diffjax import parallel
from diffjax.adversarial import Watchman
from diffjax.errors import Diverged, UserError
from diffjax.experiment import Experiment
from diffjax.keys import Role
from diffjax.parallel import compile_step
from diffjax.training import replay
from diffjax.training.health import Health
from diffjax.training.interrupts import Stop
from diffjax.training.loop import carry_shapes, train
from diffjax.training.replay import first_bad_tensor
from diffjax.workdir.directory import Lock
from tests import tiny


@pytest.mark.parametrize("log_every", [5, 1000])
def test_a_game_that_is_lost_is_given_up_and_keeps_its_last_healthy_checkpoint(log_every, tmp_path, monkeypatch):
    """Healthy for two checkpoints (10 steps), then collapsed for as long as the watchman's patience.

    However rarely it logs: no checkpoint is taken for healthy unless somebody has looked.
    """
    looks = []

    def complains(self, values):
        looks.append(values)
        return "collapsed: samples spread 0.001 times as far as real examples do" if len(looks) > 2 else ""

    monkeypatch.setattr(Watchman, "__call__", complains)
    fast = {"train__checkpoint_every": 5, "train__keep": 1, "method__watchman__patience": 160}
    fast |= {"train__log_every": log_every}
    with pytest.raises(Diverged, match="collapsed.*, for 160 images; the last good checkpoint is step 10"):
        train(tiny.gan(train__steps=60, **fast), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["status"], result["step"], result["last_good_step"]) == ("failed", 25, 10)
    assert "collapsed" in result["reason"] and diffjax.load(tmp_path).step == 10
    lines = tiny.losses(tmp_path)
    assert len(lines) == 5  # what it looked like is written down to the end
    assert lines[-1]["step"] == 25 and lines[-1]["d_loss"] == result["metrics"]["d_loss"]


def test_a_critic_that_nothing_holds_is_stopped_and_says_so(tmp_path):
    """WGAN without a penalty, at a wild rate: every number is finite, and the generator is driven to one point."""
    wild = {"method__loss__name": "wasserstein", "method__penalty__name": "none", "optim__learning_rate": 0.3}
    often = {"train__steps": 400, "train__log_every": 5, "train__checkpoint_every": 200, "eval__metrics": "()"}
    with pytest.raises(Diverged, match="collapsed in .*% of steps: .* images; no good checkpoint was saved"):
        train(tiny.ring(**wild, **often, method__watchman__patience=640), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "failed" and result["last_good_step"] == 0 and result["step"] < 200
    assert result["metrics"]["diversity"] < 0.01 and not list((tmp_path / "checkpoints").glob("[0-9]*"))


def test_health_counts_from_the_first_of_two_looks_or_more_that_find_something():
    class Ill:
        patience = 100.0
        complaint = staticmethod(lambda values: "ill" if values["x"] else "")

    health = Health(Ill, batch_size=10)
    assert health.may_save(1)
    for step, x in ((5, 1), (8, 0), (1012, 1), (1017, 1)):  # the long way to a first look is no patience lost
        health.update(step, {"x": x})
        assert not health.given_up
    assert not health.may_save(1017)
    continued = Health(Ill, batch_size=10)
    continued.restore(health.facts)
    continued.update(1021, {"x": 1})
    assert not continued.given_up
    continued.update(1022, {"x": 1})
    assert continued.given_up == "ill, for 100 images"
    continued.update(1023, {"x": 0})
    assert not continued.given_up
    assert (continued.healthy, Health(Ill, batch_size=10, complaint="ill").may_save(5)) == (1, True)


def test_a_record_that_is_damaged_ends_all_processes(tmp_path, monkeypatch):
    train(tiny.points(train__steps=7), tmp_path)
    (tmp_path / "metrics.jsonl").write_text("no JSON\n")
    told = []

    def together(action):
        try:
            parallel.together(action)
        except UserError as error:
            told.append(str(error))
            raise

    monkeypatch.setattr("diffjax.training.loop.together", together)
    with pytest.raises(UserError, match="metrics.jsonl"):
        train(tiny.points(train__steps=14), tmp_path)
    assert len(told) == 1


def test_a_directory_in_use_is_refused(tmp_path):
    with Lock(tmp_path), pytest.raises(UserError, match="is in use by a live process"):
        train(tiny.points(train__steps=7), tmp_path)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="`workdir`: cannot write to"):
        train(tiny.points(train__steps=7), tmp_path / "file" / "run")


def test_a_signal_ends_the_search_for_the_first_bad_tensor(tmp_path, monkeypatch):
    monkeypatch.setattr(Stop, "requested", lambda self, step: setattr(self, "signalled", signal.SIGTERM))
    with pytest.raises(Diverged, match="replaying it failed .Interrupted: stopped at step 1, before it reached"):
        train(tiny.points(train__steps=40, optim__learning_rate=1e18, optim__warmup=0.0, train__log_every=4), tmp_path)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_keeps_the_last_good_checkpoint_and_says_what_went_bad(tmp_path):
    config = tiny.points(train__steps=40, optim__learning_rate=1e18, optim__warmup=0.0)
    with pytest.raises(Diverged, match="was not finite"):
        train(config, tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "failed" and result["last_good_step"] < result["step"] <= 40
    report = json.loads((tmp_path / "replay" / "report.json").read_text())
    assert report["first_bad_tensor"] in result["reason"] and "replaying it failed" not in result["reason"]
    assert np.load(tmp_path / "replay" / "batch.npz")["x"].shape == (1, 64, 2)


def test_a_bad_step_can_be_done_again_from_what_its_replay_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(replay, "first_bad_tensor", lambda *_: "none")
    experiment = Experiment.of(tiny.points())
    layout, shapes, key = experiment.layout, carry_shapes(experiment)["state"], experiment.key(Role.STEP)
    replay.explain(experiment, tmp_path, None, good=0, bad=3, stop=lambda: False)
    state, stream = experiment.initial_state(shapes), experiment.stream()
    flat = partial(traverse_util.flatten_dict, keep_empty_nodes=True, sep="/")
    written, batch = (dict(np.load(tmp_path / "replay" / f"{name}.npz")) for name in ("state", "batch"))
    whole = traverse_util.unflatten_dict(flat(to_state_dict(state)) | written, sep="/")
    step = compile_step(experiment.method.step, layout, shapes)
    for _ in range(3):
        state, metrics = step(state, next(stream), key)
    again = step(from_state_dict(state, whole), batch, key)
    tiny.assert_trees_equal(again, (state, metrics))


def test_the_first_bad_tensor_is_named_by_operation_and_place():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.log(nn.Dense(1, name="inner", kernel_init=nn.initializers.constant(-1.0))(x)) * 0

    net = Net()
    variables = net.init(jax.random.key(0), jnp.ones((1, 1)))
    found = first_bad_tensor(jax.jit(net.apply), variables, jnp.ones((2, 1)))
    assert found.startswith("log in") and "Net" in found
    assert first_bad_tensor(lambda x: x, {"x": jnp.asarray(jnp.nan)}).startswith("the input")
    assert first_bad_tensor(lambda x: x["x"] + 1, {"x": jnp.asarray(1.0)}).startswith("none")


def test_a_disk_that_is_full_keeps_the_checkpoints_before(tmp_path):
    workdir = tmp_path / "run"
    intervals = ["--config.train.checkpoint_every=400", "--config.train.log_every=400", "--config.eval.metrics=()"]
    start = [*tiny.MOONS, f"--workdir={workdir}", *intervals]
    process = tiny.launch(*start, "--config.train.steps=400")
    assert process.wait(200) == 0, process.stderr.read()
    # No file may grow beyond 6 KiB, less than a checkpoint needs: its writes fail in the middle, as on a full disk.
    process = tiny.launch(*start, "--config.train.steps=1200", before="ulimit -f 6")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 2, (out, err)
    assert f"no room to save a checkpoint in {workdir}" in err
    assert diffjax.load(workdir).step == 400


def test_a_save_for_which_there_is_no_room_is_not_begun(tmp_path, monkeypatch):
    train(tiny.points(train__steps=7), tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(UserError, match="no room to save a checkpoint"):
        train(tiny.points(train__steps=14), tmp_path)
    assert diffjax.load(tmp_path).step == 7
