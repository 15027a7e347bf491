"""Tables end to end from the front door, at `minute`: one for each commit, drawn by its hash."""

import os
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


def commit(checkout: Path) -> int:
    """The hash of the commit checked out, as a number, which a clone of that commit alone knows too; 0 outside git."""
    out = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True)
    return int(out.stdout, 16) if out.returncode == 0 else 0


def drawn(checkout: Path = ROOT) -> Path:
    """`DIFFJAX_TABLE=ddim_table1` chooses another."""
    name = os.environ.get("DIFFJAX_TABLE", FILES[commit(checkout) % len(FILES)].stem)
    return ROOT / "experiments" / f"{name}.py"


def test_a_clone_of_depth_one_draws_the_table_that_the_whole_history_does(tmp_path, monkeypatch):
    """As CI clones; and another commit draws another table, sooner or later."""
    monkeypatch.delenv("DIFFJAX_TABLE", raising=False)

    def git(*words):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x", *words], check=True, capture_output=True)

    git("init", str(tmp_path / "whole"))
    tables = set()
    for i in range(9):
        git("-C", str(tmp_path / "whole"), "commit", "--allow-empty", "-m", str(i))
        git("clone", "--depth=1", f"file://{tmp_path}/whole", str(tmp_path / str(i)))
        assert drawn(tmp_path / str(i)) == drawn(tmp_path / "whole")
        tables.add(drawn(tmp_path / str(i)))
    assert len(tables) > 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", [drawn()], ids=lambda path: path.stem)
def test_a_table_runs_end_to_end(path, tmp_path):
    """As a person runs it: one device, compiled with care; every run ends, and every place says what it measured."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "launch.py", "ablate", str(path), "--budget=minute", f"--workdir={tmp_path}"]
    out = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
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
