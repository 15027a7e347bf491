"""The loop: continued runs are the uninterrupted ones, and what a run leaves, logs and draws on its way."""

import itertools
import json
import os
import shutil
import signal
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax
from diffjax.errors import UserError
from diffjax.parallel import compile_step
from diffjax.training.interrupts import Stop
from diffjax.training.loop import finished, train
from diffjax.training.profiler import Trace
from diffjax.workdir.checkpoint import Checkpoints
from diffjax.workdir.writer import Writer
from tests import tiny


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    process = tiny.launch(*tiny.MOONS, f"--workdir={workdir}")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return workdir


def start_and_wait_for(workdir, step):
    """A run in a process of its own, as soon as it has logged `step`."""
    process = tiny.launch(*tiny.MOONS, f"--workdir={workdir}")
    for line in process.stdout:
        if line.startswith("step") and int(line.split("/")[0].split()[1].replace(",", "")) >= step:
            return process
    raise AssertionError(process.stderr.read())


def finish(workdir):
    process = tiny.launch(*tiny.MOONS, f"--workdir={workdir}")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


def assert_same_run(workdir, other):
    assert tiny.losses(workdir) == tiny.losses(other)
    ours, theirs = diffjax.load(workdir), diffjax.load(other)
    tiny.assert_trees_equal(ours.state, theirs.state)


def test_a_run_killed_at_any_step_continues_bit_for_bit(uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    process = start_and_wait_for(workdir, 900)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # What a kill in the middle of a save can leave: a folder without its final name, and one that is not whole.
    last = max(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    shutil.copytree(
        workdir / "checkpoints" / str(last), workdir / "checkpoints" / f"{last + 170}.orbax-checkpoint-tmp-7"
    )
    shutil.copytree(workdir / "checkpoints" / str(last), workdir / "checkpoints" / str(last + 1))
    shutil.rmtree(workdir / "checkpoints" / str(last + 1) / "state")
    out = finish(workdir)
    assert (
        f"checkpoint {last + 1} is incomplete (no state): moved to" in out and f"continuing from step {last:,}" in out
    )
    assert_same_run(workdir, uninterrupted)


def test_a_run_killed_after_its_last_checkpoint_is_finished_by_the_same_command(tmp_path):
    config = tiny.points(train__steps=4, train__log_every=2, train__checkpoint_every=4)
    whole = train(config, tmp_path)
    (tmp_path / "result.json").unlink()
    again = train(config, tmp_path)
    assert again["status"] == "finished" and again["metrics"]["loss"] == whole["metrics"]["loss"]
    assert json.loads((tmp_path / "result.json").read_text())["step"] == 4


def test_sigterm_saves_and_says_how_to_continue(uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    process = start_and_wait_for(workdir, 600)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    stopped = int(out.split("stopped at step ")[1].split(";")[0])
    assert "run the same command to continue" in out and not (workdir / "result.json").exists()
    assert f"continuing from step {stopped:,}" in finish(workdir)
    assert_same_run(workdir, uninterrupted)


def test_a_signal_during_the_last_step_ends_what_follows_the_training(tmp_path, monkeypatch):
    """Not the training, which is at its end; who measures what was trained would otherwise never hear of it."""
    heard = []
    monkeypatch.setattr(
        "diffjax.training.loop.finished", lambda *_: signal.raise_signal(signal.SIGTERM) or finished(*_)
    )
    before = signal.signal(
        signal.SIGTERM, lambda number, _: heard.append((number, (tmp_path / "result.json").exists()))
    )
    try:
        assert train(tiny.points(train__steps=2), tmp_path)["status"] == "finished"
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [(signal.SIGTERM, True)]


def test_who_listens_for_a_signal_hears_of_the_one_that_stopped_a_training_once_it_is_saved(tmp_path, monkeypatch):
    """So a job of a cluster can be queued again. Where nobody listens, a training that has stopped has obeyed."""
    heard = []

    def listen(number, _):
        heard.append((number, [path.name for path in (tmp_path / "checkpoints").glob("[0-9]*")]))

    def stopped(handler):
        before = signal.signal(signal.SIGTERM, handler)
        try:
            return train(tiny.points(train__steps=40), tmp_path)["status"]
        finally:
            signal.signal(signal.SIGTERM, before)

    real = Writer.metrics
    monkeypatch.setattr(Writer, "metrics", lambda *_: signal.raise_signal(signal.SIGTERM) or real(*_))
    assert stopped(listen) == "stopped" and heard == [(signal.SIGTERM, ["5"])]
    assert stopped(signal.SIG_DFL) == "stopped"


def test_a_run_directory_holds_what_the_contract_says(uninterrupted):
    result = json.loads((uninterrupted / "result.json").read_text())
    assert result["status"] == "finished" and result["step"] == 2400 and result["images"] == 2400 * 64
    assert "loss" in result["metrics"] and "eval/energy_distance" in result["metrics"]
    described = json.loads((uninterrupted / "config.json").read_text())
    assert described["config"]["train"]["steps"] == 2400 and "jax" in described["versions"] and described["device"]
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    assert all({"step", "images", "seconds"} <= set(line) for line in lines)
    assert [line["step"] for line in lines if "loss" in line] == list(range(50, 2401, 50))
    steps = sorted(int(path.name) for path in (uninterrupted / "checkpoints").iterdir() if path.name.isdigit())
    assert steps == [2380, 2400]
    assert list((uninterrupted / "samples").glob("*.png")) and list(uninterrupted.glob("events*"))
    evaluation = json.loads(next((uninterrupted / "evals").glob("*.json")).read_text())
    assert evaluation["provenance"]["nfe"] == 7 and evaluation["metrics"][0]["protocol"]["split"] == "heldout"


def test_a_run_continues_on_another_number_of_devices(tmp_path):
    train(tiny.points(train__steps=14), tmp_path / "a")
    train(tiny.points(train__steps=28, parallel__devices=4), tmp_path / "a")
    train(tiny.points(train__steps=28), tmp_path / "b")
    a, b = diffjax.load(tmp_path / "a"), diffjax.load(tmp_path / "b")
    assert a.step == b.step == 28
    tiny.assert_trees_equal(a.params, b.params, rtol=1e-4, atol=1e-6)


def test_a_game_goes_on_where_it_stopped_bit_for_bit(tmp_path):
    """ADA's probability, spectral vectors, batch statistics, both optimisers: all are in the checkpoint."""
    whole = {"optim.decay_images": "320"}  # of the longer run, so that the rates are the same
    train(tiny.game(train__steps=5, **whole), tmp_path / "a")
    train(tiny.game(train__steps=10, **whole), tmp_path / "b")
    result = train(tiny.game(train__steps=10, **whole), tmp_path / "a")
    a, b = diffjax.load(tmp_path / "a"), diffjax.load(tmp_path / "b")
    assert result["status"] == "finished"
    tiny.assert_trees_equal(a.state, b.state)
    p = float(a.state.extra["augment"]["p"])
    assert 0 < p < 1 and abs(p - 0.3) > 0.01  # where it began
    start = diffjax.load(tmp_path / "a", step=5).params["discriminator"]["spectral"]
    pairs = list(zip(jax.tree.leaves(start), jax.tree.leaves(a.params["discriminator"]["spectral"]), strict=True))
    assert pairs and all(not np.array_equal(old, new) for old, new in pairs if new.size > 1)


@pytest.mark.parametrize("make", [tiny.styled, pytest.param(tiny.bridge, marks=pytest.mark.slow)])
def test_updates_of_their_own_and_noise_of_every_kind_go_on_where_they_stopped(make, tmp_path):
    """Path lengths' running mean, the mean style, lazy penalties; a denoising GAN's steps: nothing is counted anew."""
    fixed = {"eval__metrics": "()", "train__log_every": 0, "train__checkpoint_every": 0}
    train(make(train__steps=3, **fixed), tmp_path / "a")
    train(make(train__steps=7, **fixed), tmp_path / "b")
    train(make(train__steps=7, **fixed), tmp_path / "a")
    a, b = diffjax.load(tmp_path / "a"), diffjax.load(tmp_path / "b")
    tiny.assert_trees_equal(a.state, b.state)
    if make is tiny.styled:
        assert float(a.state.extra["path_length"]) > 0 and np.abs(a.params["generator"]["styles"]["mean"]).max() > 0


def test_the_memory_of_losses_goes_on_where_it_stopped(tmp_path):
    """Loss-second-moment times: what is drawn after the checkpoint depends on what was remembered before it."""
    train(tiny.chain(train__steps=14), tmp_path / "a")
    train(tiny.chain(train__steps=28), tmp_path / "a")
    train(tiny.chain(train__steps=28), tmp_path / "b")
    a, b = diffjax.load(tmp_path / "a"), diffjax.load(tmp_path / "b")
    assert np.ptp(np.asarray(a.state.extra["times"]["losses"])) > 0
    tiny.assert_trees_equal((a.params, a.state.extra), (b.params, b.state.extra))


def test_a_run_of_another_config_is_refused_and_untouched(tmp_path):
    train(tiny.points(train__steps=7), tmp_path)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(UserError, match="optim.learning_rate: 0.001 -> 0.5"):
        train(tiny.points(train__steps=7, optim__learning_rate=0.5), tmp_path)
    assert (tmp_path / "config.json").read_text() == before


def test_fewer_steps_than_done_is_an_error(tmp_path):
    train(tiny.points(train__steps=14), tmp_path)
    with pytest.raises(UserError, match="train.steps: 7 must be at least 14, as the last checkpoint is at step 14"):
        train(tiny.points(train__steps=7), tmp_path)


def test_a_run_stopped_on_its_way_cannot_be_called_finished_there(tmp_path, monkeypatch):
    """It would lack the evaluations and the picture that end a run."""
    monkeypatch.setattr(Stop, "requested", lambda self, step: step == 5)
    assert train(tiny.points(train__steps=9), tmp_path)["status"] == "stopped"
    with pytest.raises(UserError, match="train.steps: 5 must be at least 6, as the last checkpoint is at step 5"):
        train(tiny.points(train__steps=5), tmp_path)


def test_a_run_whose_rates_decay_to_the_end_is_another_one_when_lengthened(tmp_path, capsys):
    def lengthened(name, **keys):
        """Of a run of 7 steps, lengthened to 9, and of one of 9 steps: what they print and record."""
        for workdir, lengths in ((tmp_path / name, (7, 9)), (tmp_path / f"{name}9", (9,))):
            for steps in lengths:
                train(tiny.points(train__steps=steps, optim__warmup=0.0, **keys), workdir)
            yield json.loads((workdir / "config.json").read_text())

    run, other = lengthened("until_the_end", optim__decay="cosine")
    assert run["lengths"] == [7] and run["fingerprint"] != other["fingerprint"] and "lengths" not in other
    assert "train.steps changes from 7 to 9: rates that decay to the last step jump" in capsys.readouterr().out
    for name, keys in (("until", {"optim__decay": "cosine", "optim__decay_images": 640.0}), ("constant", {})):
        run, other = lengthened(name, **keys)
        assert run["fingerprint"] == other["fingerprint"] and run["lengths"] == [7]
        tiny.assert_trees_equal(diffjax.load(tmp_path / name).state, diffjax.load(tmp_path / f"{name}9").state)
    assert "changes from" not in capsys.readouterr().out


def test_a_speed_counts_neither_compiling_nor_saving(tmp_path, monkeypatch):
    """By a clock that only training, compiling and saving move: 2 s for a step of 64 examples, 1,000 s for the rest."""
    now, save = [0.0], Checkpoints.save

    def takes(seconds, result):
        now[0] += seconds
        return result

    def compiled(*arguments):
        step, durations = compile_step(*arguments), itertools.chain([1_000.0], itertools.repeat(2.0))
        return lambda *inputs: takes(next(durations), step(*inputs))

    monkeypatch.setattr("diffjax.training.stopwatch.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("diffjax.training.loop.compile_step", compiled)
    monkeypatch.setattr(Checkpoints, "save", lambda *arguments: takes(1_000.0, save(*arguments)))
    train(tiny.points(train__steps=4, train__log_every=1, train__checkpoint_every=1, eval__metrics="()"), tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line).get("images_per_second") for line in lines] == [None, 32.0, 32.0, 32.0]


@pytest.mark.parametrize("end", ["pipe", "terminal"])
def test_a_run_without_a_reader_goes_on_or_stops_with_a_checkpoint(end, tmp_path):
    """`train ... | head` goes on and finishes; a closed terminal stops it, as its user may continue it later."""
    read, write = os.pipe() if end == "pipe" else os.openpty()
    process = tiny.launch(*tiny.MOONS, f"--workdir={tmp_path}/run", stdout=write)
    os.close(write)
    said = b""
    while b"\nstep   200/" not in said:
        part = os.read(read, 4096)
        assert part, said
        said += part
    os.close(read)
    if end == "terminal":
        process.send_signal(signal.SIGHUP)
    assert process.wait(200) == 0, process.stderr.read()
    assert (tmp_path / "run" / "result.json").exists() == (end == "pipe")
    assert (diffjax.load(tmp_path / "run").step == 2400) == (end == "pipe")


def test_a_run_of_another_config_loses_nothing_not_even_what_is_incomplete(tmp_path):
    train(tiny.points(train__steps=7), tmp_path)
    (tmp_path / "checkpoints" / "9").mkdir()
    with pytest.raises(UserError, match="holds a run of another config"):
        train(tiny.points(train__steps=14, method__network__width=8), tmp_path)
    assert (tmp_path / "checkpoints" / "9").is_dir() and not (tmp_path / "incomplete").exists()


def test_a_profile_of_a_run_that_stops_on_the_way_is_written(tmp_path):
    with Trace(tmp_path, steps=100) as trace:
        trace.before(Trace.FIRST)
        trace.after(Trace.FIRST, jnp.zeros(()), last=False)
    assert list(tmp_path.rglob("*.xplane.pb")) and not trace.running


def test_a_profile_is_of_the_steps_that_were_asked_for_from_the_tenth_on(tmp_path, monkeypatch):
    made, traced = [], []

    def counted(*arguments):
        step = compile_step(*arguments)
        return lambda *inputs: made.append(1) or step(*inputs)

    monkeypatch.setattr("diffjax.training.loop.compile_step", counted)
    monkeypatch.setattr(jax.profiler, "start_trace", lambda directory: traced.append((directory, len(made))))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: traced.append(len(made)))
    train(tiny.points(train__steps=14, train__profile=3, eval__metrics="()"), tmp_path)
    assert traced == [(str(tmp_path / "profile"), 9), 12]


def test_pictures_are_drawn_on_the_way_and_at_the_end(tmp_path):
    train(tiny.points(train__steps=7, train__sample_every=3, eval__metrics="()"), tmp_path)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [f"{i:08}.png" for i in (3, 6, 7)]


def test_the_best_checkpoint_outlives_the_last_ones(tmp_path):
    config = tiny.points(train__steps=35, eval__every=7, eval__best="eval/energy_distance", train__keep=1)
    train(config, tmp_path)
    measured = {
        line["step"]: line["eval/energy_distance"] for line in tiny.losses(tmp_path) if "eval/energy_distance" in line
    }
    best = min(measured, key=measured.get)
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == {best, 35}


POWER = {"ema__name": "power", "train__keep": 1, "train__log_every": 0, "eval__metrics": "()", "optim__warmup": 0.0}


def averages_kept(workdir):
    """{step: averages} of all snapshots of a run."""
    of = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)  # noqa: E731
    at = jax.tree.map(of, diffjax.load(workdir).state.ema)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        return {step: checkpoints.restore_averages(step, at) for step in checkpoints.snapshots()}


def times_of_snapshots(workdir):
    """{step: when it was written}, ascending."""
    folders = [path for path in (workdir / "checkpoints" / "averages").iterdir() if path.name.isdigit()]
    return {int(path.name): path.stat().st_mtime_ns for path in sorted(folders, key=lambda path: int(path.name))}


def test_snapshots_of_averages_outlive_checkpoints_and_a_kill_before_their_checkpoint(tmp_path, monkeypatch):
    config = tiny.points(**POWER, ema__snapshot_every=4 * 64, train__steps=30, train__checkpoint_every=7)
    train(config, tmp_path / "whole")
    whole = averages_kept(tmp_path / "whole")
    assert list(whole) == [4, 8, 12, 16, 20, 24, 28, 30] and set(whole[4]) == {"denoiser", "denoiser@0.1"}
    assert [path.name for path in (tmp_path / "whole" / "checkpoints").iterdir() if path.name.isdigit()] == ["30"]

    def killed(checkpoints, step, *rest, save=Checkpoints.save):
        if step == 21:
            raise InterruptedError
        return save(checkpoints, step, *rest)

    monkeypatch.setattr(Checkpoints, "save", killed)
    with pytest.raises(InterruptedError):
        train(config, tmp_path / "killed")  # its last checkpoint is that of step 14
    monkeypatch.undo()
    made = times_of_snapshots(tmp_path / "killed")
    assert list(made) == [4, 8, 12, 16, 20]
    train(config, tmp_path / "killed")
    again = times_of_snapshots(tmp_path / "killed")
    assert [step for step in made if again[step] == made[step]] == [4, 8, 12]  # the others were made anew
    tiny.assert_trees_equal(averages_kept(tmp_path / "killed"), whole)


@pytest.mark.slow
def test_an_average_made_from_snapshots_is_the_one_tracked_directly(tmp_path):
    config = POWER | {"train__steps": 60, "train__checkpoint_every": 45, "train__keep": 2}
    train(tiny.points(**config, ema__snapshot_every=3 * 64), tmp_path / "two")
    train(tiny.points(**config, ema__sigma_rel="0.13,"), tmp_path / "direct")
    for step in (45, 60):
        direct = diffjax.load(tmp_path / "direct", step=step)
        made = diffjax.load(tmp_path / "two", step=step, ema=0.13)
        flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])  # noqa: E731
        away = np.linalg.norm(flat(direct.params) - flat(direct.ema))
        assert np.linalg.norm(flat(made.ema) - flat(direct.ema)) < 1e-4 * away
        tiny.assert_trees_equal(made.params, direct.params)
        assert f"from {step // 3 - 1} snapshots and step {step}, residual" in made.weights


def test_the_logged_loss_is_the_mean_since_the_last_line(tmp_path):
    train(tiny.points(train__steps=10), tmp_path / "a")
    train(tiny.points(train__steps=10, train__log_every=1), tmp_path / "b")
    every = [line["loss"] for line in tiny.losses(tmp_path / "b")]
    assert [line["loss"] for line in tiny.losses(tmp_path / "a")] == pytest.approx(
        [np.mean(every[:5]), np.mean(every[5:])]
    )


def test_nothing_waits_for_the_device_between_log_lines(tmp_path, monkeypatch):
    """No value is read, and no step waited for but those before the last two (NumPy reads unseen, on a CPU)."""
    made, reads, waits, Array = [], set(), {}, type(jnp.zeros(()))

    def noted(*arguments):
        step = compile_step(*arguments)
        return lambda *inputs: made.append(step(*inputs)) or made[-1]

    def reading(get):
        return lambda *arguments: reads.add(len(made)) or get(*arguments)

    def waiting(x, wait=jax.block_until_ready):
        waits[len(made)] = next(i for i, (_, metrics) in enumerate(made, 1) if metrics is x)
        return wait(x)

    monkeypatch.setattr("diffjax.training.loop.compile_step", noted)
    monkeypatch.setattr(Array, "_value", property(reading(Array._value.fget)))  # of float(x), bool(x), device_get(x)
    monkeypatch.setattr(Array, "item", reading(Array.item))
    monkeypatch.setattr(Array, "block_until_ready", reading(Array.block_until_ready))
    monkeypatch.setattr(jax, "block_until_ready", waiting)
    train(tiny.points(train__steps=20, train__log_every=10, train__checkpoint_every=0, eval__metrics="()"), tmp_path)
    assert reads - {0} == {10, 20}
    assert waits == {1: 1} | {step: step - 2 for step in range(3, 21)}  # the first, to measure speed from there
