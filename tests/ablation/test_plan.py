"""A budget as tasks: what is one run, what identifies it, and which plans are refused before anything runs."""

import shlex
from pathlib import Path

import pytest

from diffjax.ablation.experiment import read
from diffjax.ablation.plan import Task, tasks
from diffjax.errors import UserError


def test_cells_that_differ_in_sampling_alone_share_a_run(moons, tmp_path):
    plan = tasks(read(moons).budget("hour"), tmp_path)
    assert [task.seed for task in plan] == [0, 1]
    assert [len(task.evaluations) for task in plan] == [4, 4]
    assert len({evaluation.id for evaluation in plan[0].evaluations}) == 4


def test_a_runs_id_changes_with_what_is_trained_and_with_nothing_else(moons, tmp_path):
    first = tasks(read(moons).budget("hour"), tmp_path)[0]
    assert tasks(read(moons).budget("minute"), tmp_path / "elsewhere")[0].id == first.id, "same training, other budget"
    text = Path(moons).read_text()
    for old, new, same in (
        ('"train__log_every": 5', '"train__log_every": 3', True),
        ("(2, 4)}", "(3, 4)}", True),
        ('"train__checkpoint_every": 7', '"train__checkpoint_every": 5', True),
        ('"train__steps": 14', '"train__steps": 15', False),
        ('"method__network__width": 16', '"method__network__width": 8', False),
    ):
        assert old in text
        Path(moons).write_text(text.replace(old, new).replace("steps\", (2, 4)", "steps\", (2, 3, 4)").replace(
            "((1.0, 0.5), (\"unstable\", None))", "((1.0, 0.5, 1.0), (1.0, 2.0, 3.0))"))  # fmt: skip
        assert (tasks(read(moons).budget("hour"), tmp_path)[0].id == first.id) is same, new


def test_a_grid_that_does_not_build_is_refused_before_anything_runs(moons, tmp_path):
    text = Path(moons).read_text()
    for old, new, said in (
        ('"train__steps": 14', '"train__stepz": 14', "no key 'stepz'; did you mean 'steps'"),
        ('"sampler.eta": eta', '"sampler.eta": "much"', "'much' must be a number"),
        ("steps in (2, 4)}", "steps in (2, 5)}", "steps '5' is not one of 2, 4"),
        ('{"distance": "energy', '{"distances": "energy', "'distances', which is not in the table"),
        ("energy_distance", "energy_dist", "measures distance by 'energy_dist', .*; did you mean 'energy_distance'"),
    ):
        assert old in text, old
        Path(moons).write_text(text.replace(old, new))
        with pytest.raises(UserError, match=said.replace("?", r"\?")):
            tasks(read(moons).budget("hour"), tmp_path)


@pytest.mark.parametrize(
    ("step", "keep", "said"),
    [
        ("10", 2, "checkpoint.step=10 must be one of the steps with a checkpoint, every 7 and the last, 14"),
        ("21", 2, "checkpoint.step=21 must be one of the steps"),
        ("'best'", 2, "checkpoint.step=best must be one of the steps"),
        ("7", 1, "checkpoint.step=7 is not among the last 1, which train.keep=1 leaves; raise that"),
    ],
)
def test_a_checkpoint_that_no_training_leaves_is_refused_before_anything_runs(moons, tmp_path, step, keep, said):
    text = Path(moons).read_text().replace('{"sampler.steps": steps}', f'{{"checkpoint.step": {step}}}')
    Path(moons).write_text(text.replace('"train__steps": 14', f'"train__steps": 14, "train__keep": {keep}'))
    with pytest.raises(UserError, match=f"grid: at .*: {said}"):
        tasks(read(moons).budget("minute"), tmp_path)


def test_places_of_one_run_cannot_retain_different_checkpoints(moons, tmp_path):
    steps = '{"checkpoint.step": 7, "train.keep": 3} if steps == 2 else {}'
    Path(moons).write_text(Path(moons).read_text().replace('{"sampler.steps": steps}', steps))
    with pytest.raises(UserError, match=r"'steps': '4'}: train.keep=2 must be 3, as at another place of the same run"):
        tasks(read(moons).budget("minute"), tmp_path)


def test_keys_that_the_plan_sets_are_refused(moons, tmp_path):
    for keys, said in (("seed=7", "seed=7 is counted by `seeds`"), ("eval__every=5", "eval.every=5 has no effect")):
        Path(moons).write_text(Path(moons).read_text().replace("MEASURED = setting(", f"MEASURED = setting({keys}, "))
        with pytest.raises(UserError, match=f"grid: at .*: {said}"):
            tasks(read(moons).budget("hour"), tmp_path)


def test_the_command_of_a_run_can_be_pasted_into_a_shell():
    task = Task("abc", 0, "", source="configs/digits.py", changes={"method.network.multipliers": (2, 4)})
    assert shlex.split(task.command()) == [
        "python", "launch.py", "train", "--config=configs/digits.py", "--config.method.network.multipliers=(2, 4)",
        "--workdir=DIR/abc",
    ]  # fmt: skip


def test_films_use_the_most_steps_and_the_middle_of_the_other_axes(moons, tmp_path):
    text = Path(moons).read_text().replace("for eta in (0.0, 1.0)}", "for eta in (0.0, 0.5, 1.0)}").replace(
        "(0.0, 1.0)),", "(0.0, 0.5, 1.0)),").replace("((1.0, 0.5), ", "((1.0, 0.5), (1.0, 0.5), ")  # fmt: skip
    Path(moons).write_text(text)
    for task in tasks(read(moons).budget("hour"), tmp_path):
        sampler = task.config.sampler
        assert (sampler.name, sampler.steps, sampler.eta) == ("ddim", 4, 0.5)
