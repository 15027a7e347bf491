"""What a person sees of an ablation under way."""

import json
import re
import time

import pytest

from diffjax.ablation.plan import Evaluation, Task
from diffjax.ablation.progress import Progress, Show
from diffjax.config import load
from diffjax.writer import write_json


@pytest.fixture
def progress(tmp_path):
    """Eight runs on two slots: one done in 100 s, one failed, one that needs it, two at work, three that wait."""
    config, plan = load("configs/toy2d.py:moons"), []
    for number, model in enumerate(("DCGAN", "R3GAN", "judged", "EDM", "flow", "DDPM", "VE", "VP")):
        evaluations = [Evaluation(f"{nfe}", {"model": model, "NFE": str(nfe)}, {}, "") for nfe in range(5)]
        plan.append(Task(f"run{number}", 0, "", config, evaluations=evaluations))
    plan[2].needs = (plan[1],)
    write_json(tmp_path / "run0" / "result.json", {"status": "finished"})
    for evaluation in plan[0].evaluations:
        write_json(evaluation.path(tmp_path / "run0"), {})
    write_json(tmp_path / "run1" / "result.json", {"status": "failed", "reason": "not finite"})
    write_json(tmp_path / "run3" / "result.json", {"status": "finished"})
    (tmp_path / "run4").mkdir()
    (tmp_path / "run4" / "metrics.jsonl").write_text(json.dumps({"step": 1200}) + "\n")
    now = time.monotonic()
    return Progress(plan, tmp_path, {"run3": now - 40, "run4": now - 120}, took=[100.0], slots=2)


def test_it_counts_and_says_what_each_running_one_is_at_and_how_long_the_rest_takes(progress):
    assert progress.line() == "2 running, 1 done, 1 failed, 1 blocked, 3 waiting; 3:00 left"  # (3 x 100 + 60) / 2
    measuring, training = progress.rows()
    assert re.fullmatch(r"run3  0:40  measuring 1 of 5 +model EDM, seed 0", measuring)
    assert re.fullmatch(r"run4  2:00  step 1,200 of [\d,]+ +model flow, seed 0", training)


def test_on_a_terminal_lines_are_drawn_over_and_elsewhere_said_when_something_changes(progress, capsys):
    show = Show()
    show(progress)
    show(progress)
    assert capsys.readouterr().err.splitlines() == [progress.line(), *(f"  {row}" for row in progress.rows())]
    show.live = True
    show(progress)
    del progress.running["run3"]
    show(progress)
    first, then = capsys.readouterr().err.split("\x1b[3A")
    assert first.count("\n") == 3 and then.startswith("\x1b[J1 running, ") and then.count("\n") == 2
