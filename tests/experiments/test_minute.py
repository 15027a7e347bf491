"""Tables end to end from the front door, at `minute`: one for each commit, in rotation."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from diffjax.ablation.collect import collect
from diffjax.ablation.experiment import read
from diffjax.ablation.plan import tasks
from diffjax.ablation.work import state_of

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in (ROOT / "experiments").glob("*.py") if path.stem != "__init__")


def commits() -> int:
    """How many led to this one; 0 outside a git checkout."""
    out = subprocess.run(["git", "-C", str(ROOT), "rev-list", "--count", "HEAD"], capture_output=True, text=True)
    return int(out.stdout) if out.returncode == 0 else 0


def in_turn() -> Path:
    """`DIFFJAX_TABLE=ddim_table1` chooses another."""
    name = os.environ.get("DIFFJAX_TABLE", FILES[commits() % len(FILES)].stem)
    return ROOT / "experiments" / f"{name}.py"


def cpu_seconds_of_children() -> float:
    """Work done by processes that have ended, which does not depend on what else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", [in_turn()], ids=lambda path: path.stem)
def test_a_table_runs_end_to_end(path, tmp_path):
    """As a person runs it: one device, compiled with care; every run ends, and every place says what it measured."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "launch.py", "ablate", str(path), "--budget=minute", f"--workdir={tmp_path}"]
    before = cpu_seconds_of_children()
    out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    spent = cpu_seconds_of_children() - before
    assert spent < 2 * 180, f"{spent:.0f} s of work is more than two cores do in three minutes"
    assert out.returncode == 0, out.stdout + out.stderr
    experiment = read(path)
    budget = experiment.budget("minute")
    plan = tasks(budget, tmp_path)
    for task in plan:
        assert state_of(task, tmp_path).status == "done", f"{task.id}: {out.stderr}"
    cells = collect(experiment, budget, plan, tmp_path).cells
    assert {cell.status for cell in cells} == {"done"} and all(cell.values for cell in cells), out.stdout
    assert "different protocols" not in out.stdout, "a claim that no run can decide"
    assert out.stdout.startswith("#") and "crashed" not in out.stderr, out.stdout
