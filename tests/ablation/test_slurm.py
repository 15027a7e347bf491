"""SLURM: a mistake is one line anywhere; the same table as from local processes where there is a scheduler."""

import json
import shutil
import subprocess

import pytest

import launch
from diffjax.ablation import ledger
from diffjax.ablation.experiment import read
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


@pytest.mark.slow
@pytest.mark.skipif(not scheduler(), reason="no SLURM here")
def test_slurm_makes_the_same_table_as_local_processes(moons, tmp_path):  # noqa: F811
    experiment, found = read(moons), {}
    for backend in ("local", "slurm"):
        process = tiny.launch("ablate", str(moons), "--budget=hour", f"--workdir={tmp_path / backend}",
                              f"--backend={backend}")  # fmt: skip
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, (out, err)
        place = ledger.place_of(experiment)
        found[backend] = json.loads(place.read_text())["budgets"]["hour"]
        place.unlink()
    assert found["local"] == found["slurm"]
