"""SLURM: a mistake is one line anywhere; the same table as from local processes where there is a scheduler."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import submitit

import launch
from diffjax.ablation import ledger, slurm
from diffjax.ablation.ablate import run_one
from diffjax.ablation.experiment import read
from diffjax.ablation.plan import tasks
from diffjax.ablation.raised import noted, raised
from diffjax.ablation.slurm import options
from diffjax.ablation.work import state_of
from diffjax.errors import TAKEN, Taken
from diffjax.host.json_files import write_json
from diffjax.training.loop import train
from diffjax.workdir.directory import Lock
from diffjax.workdir.writer import Writer
from tests import tiny


def scheduler():
    """Whether a node of a SLURM answers."""
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=20).returncode == 0


def test_a_scheduler_that_cannot_be_reached_is_one_line(moons, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["ablate", str(moons), "--budget=minute", f"--workdir={tmp_path / 'runs'}", "--backend=slurm"]
    assert launch.main(words) == 2
    err = capsys.readouterr().err
    assert "--backend: slurm cannot be reached" in err and err.count("\n") == 1


def test_user_options_override_the_budgets_defaults():
    assert options((), "hour", 2) == {"time": 120, "cpus_per_task": 2}
    assert options((), "day", 24) == {"time": 1440, "cpus_per_task": 2, "gpus_per_node": 1}
    said = ("gres=gpu:a100:1", "--cpus-per-task=8", "mem=32G", "time=60", "exclusive")
    assert options(said, "day", 24) == {
        "time": 60, "cpus_per_task": "8", "gres": "gpu:a100:1", "mem": "32G", "exclusive": True
    }  # fmt: skip
    assert options(("cpus_per_task=", "gpus_per_node="), "paper", 1) == {"time": 60}


def test_the_options_reach_sbatch(moons, tmp_path, monkeypatch):
    """A scheduler of one line, which keeps the script and takes the jobs."""
    fake(tmp_path, f'cp "$1" {tmp_path}/script; echo Submitted batch job 7')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    wave = tasks(read(moons).budget("hour"), tmp_path)
    asked = options(("partition=gpu", "account=us", "nice=10"), "day", 3)
    slurm._submit(submitit, wave, slurm.Job(run_one, str(moons), "hour", tmp_path), asked)
    script = (tmp_path / "script").read_text()
    for line in ("partition=gpu", "account=us", "nice=10", "cpus-per-task=2", "gpus-per-node=1", "time=180"):
        assert f"#SBATCH --{line}\n" in script
    assert "#SBATCH --array=0-1%2" in script
    assert "--cpus-per-task=2" in next(line for line in script.splitlines() if line.startswith("srun"))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("32 G", "'32 G' must be KEY=VALUE, such as partition=gpu"),
        ("=4", "'=4' must be KEY=VALUE"),
        ("array=0-3", "array cannot be set: each run is one process"),
        ("time=2:00:00", "time '2:00:00' must be a number of minutes"),
    ],
)
def test_an_invalid_option_is_one_line(word, said, moons, tmp_path, capsys):
    words = ["ablate", str(moons), f"--workdir={tmp_path}", f"--slurm={word}", "--backend=slurm"]
    assert launch.main(words) == 2
    err = capsys.readouterr().err
    assert f"--slurm: {said}" in err and err.count("\n") == 1
    assert launch.main(["ablate", str(moons), f"--workdir={tmp_path}", "--slurm=mem=4G"]) == 2
    assert "--slurm: mem=4G needs --backend=slurm, not local" in capsys.readouterr().err


def test_the_schedulers_refusal_is_quoted(moons, tmp_path, monkeypatch, capsys):
    fake(tmp_path, "echo 'sbatch: error: invalid partition specified: gpux' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    words = ["ablate", str(moons), f"--workdir={tmp_path / 'runs'}", "--backend=slurm", "--slurm=partition=gpux"]
    assert launch.main(words) == 2
    err = capsys.readouterr().err
    assert "slurm took no jobs; sbatch says: sbatch: error: invalid partition specified: gpux" in err
    assert err.count("\n") == 1


def fake(folder, script):
    """An sbatch that does this, and an srun."""
    for name, lines in (("sbatch", script), ("srun", "true")):
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / name).chmod(0o755)


def test_a_requeued_job_continues_its_run_and_a_held_run_ends_as_taken(tmp_path):
    asked = []
    job = slurm.Job(lambda *words: asked.append(words), "x.py", "hour", tmp_path)
    assert job("abc") == 0 and asked == [("x.py", "hour", tmp_path, "abc")]
    again = job.checkpoint("abc")
    assert (again.function, again.args) == (job, ("abc",)), "the same run goes on"

    def taken(*_):
        raise Taken("--workdir: in use")

    assert slurm.Job(taken, "x.py", "hour", tmp_path)("abc") == TAKEN


@pytest.fixture
def queued(tmp_path, monkeypatch):
    """A job as submitit starts it, in a scheduler that says what is in a file; what was said when it was queued again.

    Each time submitit is asked to queue it again.
    """
    fake(tmp_path, "")
    (tmp_path / "squeue").write_text(f"#!/bin/sh\ncat {tmp_path}/state\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    again = []

    def requeue(number, frame):
        again.append(number)
        sys.exit(-1)

    before = {s: signal.signal(s, requeue if s == signal.SIGUSR2 else signal.SIG_IGN) for s in SIGNALS}
    yield again
    for number, handler in before.items():
        signal.signal(number, handler)


SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("state, times", [("RUNNING", 1), ("COMPLETING", 0), ("", 0)])
def test_either_signal_queues_a_job_again_unless_the_scheduler_ends_it_itself(queued, number, state, times, tmp_path):
    (tmp_path / "state").write_text(state)

    def measures(*_):
        with noted("abc", tmp_path, "cell"):
            signal.raise_signal(number)

    with pytest.raises(SystemExit):
        slurm.Job(measures, "x.py", "hour", tmp_path)("abc")
    assert queued == [signal.SIGUSR2] * times and raised(tmp_path, "cell") == ""


@pytest.mark.usefixtures("queued")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_training_that_a_signal_reaches_saves_a_checkpoint_first(number, tmp_path, monkeypatch):
    (tmp_path / "state").write_text("RUNNING")
    monkeypatch.setattr(Writer, "metrics", lambda *_: signal.raise_signal(number))

    def trains(*_):
        train(tiny.points(train__steps=40, train__checkpoint_every=0), tmp_path / "run")

    with pytest.raises(SystemExit):
        slurm.Job(trains, "x.py", "hour", tmp_path)("abc")
    assert (tmp_path / "run" / "checkpoints" / "5").is_dir()


def test_a_held_run_is_waited_for_and_submitted_again_once_released(moons, tmp_path, monkeypatch):
    """Here the other process dies before it has finished the first of two, and finishes the second."""
    first, second = plan = tasks(read(moons).budget("hour"), tmp_path)
    others, submitted, said = [Lock(task.workdir(tmp_path)).__enter__() for task in plan], [], []

    def ends(task):
        write_json(task.workdir(tmp_path) / "result.json", {"status": "failed", "reason": "not finite"})

    def array(submitit, wave, *_):
        submitted.append([task.id for task in wave])
        if len(submitted) > 1:
            ends(wave[0])
            return {}
        return {task.id: TAKEN for task in wave}

    def sleep(seconds):
        assert seconds == slurm.AGAIN
        if len(others) == 1:
            ends(second)
        others.pop(0).__exit__()
        said.append("slept")

    monkeypatch.setattr(slurm, "_array", array)
    monkeypatch.setattr(slurm.time, "sleep", sleep)
    assert slurm.run(plan, slurm.Job(run_one, str(moons), "hour", tmp_path), {}, said.append) == {}
    assert submitted == [[first.id, second.id], [first.id]]
    waits = "waiting for runs that other processes hold: "
    assert said == [f"{waits}2", "slept", f"{waits}1", "slept"]


class Ended:
    """A job that has ended, as submitit has it."""

    job_id, state = "7_0", "COMPLETED"

    def __init__(self, error=None, result=0):
        self.error, self.result = error, lambda: result

    def done(self):
        return True

    def exception(self):
        return self.error


def test_crashes_are_reported_and_an_interrupted_wait_leaves_the_jobs_running(moons, tmp_path, monkeypatch):
    wave, said = tasks(read(moons).budget("hour"), tmp_path), []
    job = slurm.Job(run_one, str(moons), "hour", tmp_path)
    jobs = [Ended(), Ended(RuntimeError("Traceback ...\nslurmstepd: out of memory"))]
    monkeypatch.setattr(slurm, "_submit", lambda *_: jobs)
    assert slurm._array(submitit, wave, job, {}, said.append) == {wave[1].id: "slurmstepd: out of memory"}
    assert said == [f"2 jobs submitted as array 7, logs in {tmp_path / 'slurm'}"]
    jobs[0] = Ended(result=TAKEN)
    assert slurm._array(submitit, wave, job, {}, said.append)[wave[0].id] == TAKEN

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Ended, "done", interrupted)
    with pytest.raises(KeyboardInterrupt):
        slurm._array(submitit, wave, job, {}, said.append)
    assert said[-1] == "the jobs continue; scancel 7 ends them"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not scheduler(), reason="no SLURM here")
def test_slurm_makes_the_same_table_as_local_processes(moons, tmp_path):
    experiment, found = read(moons), {}
    for backend, *more in (("local",), ("slurm", "--slurm=cpus_per_task=1")):
        process = tiny.launch("ablate", str(moons), "--budget=hour", f"--workdir={tmp_path / backend}",
                              f"--backend={backend}", *more)  # fmt: skip
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, (out, err)
        place = ledger.place_of(experiment)
        found[backend] = json.loads(place.read_text())["budgets"]["hour"]
        for cell in found[backend]["cells"]:
            del cell["provenance"]["cores"]  # a job may have others
            for made in (cell["provenance"], *cell["provenance"]["seeds"].values()):
                made.pop("took", None)  # seconds
        place.unlink()
    assert found["local"] == found["slurm"]


@pytest.fixture
def job(moons, tmp_path):
    """A job of the scheduler that trains, with no checkpoint but those of which it is asked: its id and directory."""
    text = Path(moons).read_text().replace('"train__checkpoint_every": 7', '"train__checkpoint_every": 0')
    Path(moons).write_text(text.replace('"train__steps": 14', '"train__steps": 6000'))
    root = tmp_path / "runs"
    (task,) = tasks(read(moons).budget("minute"), root)
    words = ["ablate", str(moons), "--budget=minute", f"--workdir={root}", "--backend=slurm", "--slurm=cpus_per_task=1"]
    ablation = tiny.launch(*words)
    wait_until(lambda: (task.workdir(root) / "metrics.jsonl").is_file() and losses(task.workdir(root)), 200)
    (pickle,) = (root / slurm.LOGS).glob("*_submitted.pkl")
    number = pickle.name.removesuffix("_submitted.pkl")
    yield number, task, root, ablation
    subprocess.run(["scancel", number], check=True)
    ablation.kill()
    ablation.communicate()


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert condition()


def losses(workdir):
    """The steps that are logged so far."""
    return [line["step"] for line in tiny.losses(workdir)]


def checkpoints(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").glob("[0-9]*") if path.name.isdigit())


def state(number):
    """What the scheduler says of a job, and why it does not run."""
    asked = ["squeue", "--noheader", "--format=%T %r", f"--jobs={number}"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip()


SCHEDULED = (
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not scheduler(), reason="no SLURM here"),
)


def scheduled(test):
    """A test that takes a scheduler, and its time."""
    for mark in SCHEDULED:
        test = mark(test)
    return test


@scheduled
@pytest.mark.parametrize("how", ["--signal=TERM", "--signal=USR2", "requeue"])
def test_a_job_that_is_preempted_saves_is_queued_again_and_finishes_its_run(job, how):
    """By a signal, before the time given to a job ends, or while the scheduler itself takes it back."""
    number, task, root, ablation = job
    workdir = task.workdir(root)
    subprocess.run(["scontrol", how, number] if how == "requeue" else ["scancel", how, number], check=True)
    wait_until(lambda: checkpoints(workdir), 60)
    (stopped,) = checkpoints(workdir)
    wait_until(lambda: state(number).startswith("PENDING"), 60)
    assert not list((root / slurm.LOGS).glob("*_result.pkl")), "it has not ended"
    subprocess.run(["scontrol", "update", f"jobid={number}", "starttime=now"], check=True)  # else in two minutes
    out, err = ablation.communicate(timeout=400)
    assert ablation.returncode == 0, (out, err)
    assert state_of(task, root).status == "done"
    log = next((root / slurm.LOGS).glob("*_log.out")).read_text()
    assert f"stopped at step {stopped};" in log and f"continuing from step {stopped:,}" in log


@scheduled
def test_a_job_that_is_cancelled_saves_and_is_not_queued_again(job):
    number, task, root, _ = job
    subprocess.run(["scancel", number], check=True)
    wait_until(lambda: checkpoints(task.workdir(root)), 60)
    wait_until(lambda: not state(number) or "COMPLET" not in state(number) and "RUNNING" not in state(number), 60)
    assert not state(number).startswith("PENDING"), state(number)
