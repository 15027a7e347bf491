"""SLURM: a mistake is one line anywhere; the same table as from local processes where there is a scheduler."""

import json
import shutil
import subprocess

import pytest

import launch
from diffjax.ablation import ledger, slurm
from diffjax.ablation.ablate import run_one
from diffjax.ablation.experiment import read
from diffjax.ablation.plan import tasks
from diffjax.ablation.slurm import options
from diffjax.errors import TAKEN, Taken
from tests import tiny
from tests.ablation.test_ablate import moons  # noqa: F401  (a fixture)

submitit = pytest.importorskip("submitit")


def scheduler():
    """Whether a node of a SLURM answers."""
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo", "--noheader"], capture_output=True, timeout=20).returncode == 0


def test_a_scheduler_that_cannot_be_reached_is_one_line(moons, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["ablate", str(moons), "--budget=minute", f"--workdir={tmp_path / 'runs'}", "--backend=slurm"]
    assert launch.main(words) == 2
    err = capsys.readouterr().err
    assert "--backend: slurm cannot be reached" in err and err.count("\n") == 1


def test_what_a_job_asks_for_is_what_was_said_over_what_its_budget_needs():
    assert options((), "hour", 2) == {"time": 120, "cpus_per_task": 2}
    assert options((), "day", 24) == {"time": 1440, "cpus_per_task": 2, "gpus_per_node": 1}
    said = ("gres=gpu:a100:1", "--cpus-per-task=8", "mem=32G", "time=60", "exclusive")
    assert options(said, "day", 24) == {
        "time": 60, "cpus_per_task": "8", "gres": "gpu:a100:1", "mem": "32G", "exclusive": True
    }  # fmt: skip
    assert options(("cpus_per_task=", "gpus_per_node="), "paper", 1) == {"time": 60}


def test_it_stands_in_what_sbatch_is_given(moons, tmp_path, monkeypatch):  # noqa: F811
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
        ("32 G", "'32 G' is no option; write KEY=VALUE, such as partition=gpu"),
        ("=4", "'=4' is no option"),
        ("array=0-3", "array is not to choose here"),
        ("time=2:00:00", "time '2:00:00' is not a number of minutes"),
    ],
)
def test_what_is_no_option_is_one_line(word, said, moons, tmp_path, capsys):  # noqa: F811
    words = ["ablate", str(moons), f"--workdir={tmp_path}", f"--slurm={word}", "--backend=slurm"]
    assert launch.main(words) == 2
    err = capsys.readouterr().err
    assert f"--slurm: {said}" in err and err.count("\n") == 1
    assert launch.main(["ablate", str(moons), f"--workdir={tmp_path}", "--slurm=mem=4G"]) == 2
    assert "--slurm: mem=4G goes with --backend=slurm, not with local" in capsys.readouterr().err


def test_what_the_scheduler_refuses_is_said_in_its_words(moons, tmp_path, monkeypatch, capsys):  # noqa: F811
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


def test_a_job_that_is_preempted_is_queued_again_and_one_that_is_taken_ends_as_such(tmp_path):
    asked = []
    job = slurm.Job(lambda *words: asked.append(words), "x.py", "hour", tmp_path)
    assert job("abc") == 0 and asked == [("x.py", "hour", tmp_path, "abc")]
    again = job.checkpoint("abc")
    assert (again.function, again.args) == (job, ("abc",)), "the same run goes on"

    def taken(*_):
        raise Taken("--workdir: in use")

    assert slurm.Job(taken, "x.py", "hour", tmp_path)("abc") == TAKEN


class Ended:
    """A job that has ended, as submitit has it."""

    job_id, state = "7_0", "COMPLETED"

    def __init__(self, error=None):
        self.error = error

    def done(self):
        return True

    def exception(self):
        return self.error


def test_how_jobs_ended_is_said_and_a_wait_that_is_interrupted_leaves_them_be(moons, tmp_path, monkeypatch):  # noqa: F811
    wave, said = tasks(read(moons).budget("hour"), tmp_path), []
    job = slurm.Job(run_one, str(moons), "hour", tmp_path)
    jobs = [Ended(), Ended(RuntimeError("Traceback ...\nslurmstepd: out of memory"))]
    monkeypatch.setattr(slurm, "_submit", lambda *_: jobs)
    assert slurm._array(submitit, wave, job, {}, said.append) == {wave[1].id: "slurmstepd: out of memory"}
    assert said == [f"2 jobs submitted as array 7, logs in {tmp_path / 'slurm'}"]

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Ended, "done", interrupted)
    with pytest.raises(KeyboardInterrupt):
        slurm._array(submitit, wave, job, {}, said.append)
    assert said[-1] == "the jobs go on; scancel 7 ends them"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not scheduler(), reason="no SLURM here")
def test_slurm_makes_the_same_table_as_local_processes(moons, tmp_path):  # noqa: F811
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
        place.unlink()
    assert found["local"] == found["slurm"]
