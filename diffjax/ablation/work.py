"""One task carried out in this process: a run trained to its end, or continued, then measured in all that is asked.

What is there already is not done again. A run directory belongs to one process at a time: who finds it taken leaves it
to the other. What older code made is moved aside where that is asked.

An exception at one place keeps none of the others from being measured. Neither does a training that fails late keep its
checkpoints from it that were good: a quality after a part of the training is what it is, whatever happens later.
"""

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffjax import pictures
from diffjax.ablation.plan import Evaluation, Task
from diffjax.ablation.raised import RUN, forget, noted, raised
from diffjax.ablation.table import named
from diffjax.drawing.films import backward, few, forward
from diffjax.errors import Diverged, UserError
from diffjax.evaluate import evaluate
from diffjax.measures import Evidence, Score, choose
from diffjax.measures.report import record
from diffjax.methods import Diffusion
from diffjax.metrics import Metric
from diffjax.parallel import is_main
from diffjax.run import load
from diffjax.train import train
from diffjax.workdir import Hold, elsewhere, read_config
from diffjax.writer import read_json, write_json

CODE = "code.json"  # in a run directory: the code it was trained by
FILM = "film"  # likewise: x_t beside the predicted x0 after k of N steps, at t in [0, 1]: k_of_N_t_t.png
FORWARD = "forward"  # likewise: what is left of real examples, the noise, and their sum x_t, at time k of T: k_of_T.png
UNDRAWN = "film.unfinished"  # likewise, while a film is to be drawn: what there is of both, which nobody shows
FRAMES = 24  # of a film, at most

ENDED = ("done", "failed", "blocked")  # what is never begun again


class State(NamedTuple):
    """How far a task has come, by what its run directory holds.

    "not run", "begun", "done", "failed", or "blocked" by a run that it needs, which went wrong. "trained" and "failing"
    are to be done and to have failed once what is still to be measured, or drawn, of them is.
    """

    status: str
    reason: str = ""  # why it failed or is blocked; of others what was raised when they were last tried
    code: str = ""


def state_of(task: Task, root: Path) -> State:
    """How far a task has come."""
    own = _own_state(task, root)
    if own.status in ENDED:
        return own
    for need in task.needs:
        state = state_of(need, root)
        if state.reason and not is_made(need, root):
            how = "failed: " if state.status in ENDED else ""
            return State("blocked", f"needs {need.id}, which {how}{state.reason}", own.code)
    return own


def is_made(task: Task, root: Path) -> bool:
    """Whether what needs its run may begin: all of it is measured, though its film may still be to draw."""
    workdir = task.workdir(root)
    status = _own_state(task, root).status
    return status == "done" or (status == "trained" and not _unmeasured(task, workdir, {}))


def is_over(task: Task, root: Path) -> bool:
    """Whether the same command does nothing more about it. What a run that raised has blocked it does, after that."""
    status = state_of(task, root).status
    if status == "blocked":
        return any(is_over(need, root) and not is_made(need, root) for need in task.needs)
    return status in ENDED


def _own_state(task: Task, root: Path) -> State:
    workdir = task.workdir(root)
    result, made = _json(workdir / "result.json"), _json(workdir / CODE, workdir)
    if made.get("id", task.id) != task.id:
        raise UserError(
            f"--workdir: {workdir} holds the run {made['id']}; rename it to that, and {task.id} is made again"
        )
    code = made.get("code", "")
    said = raised(workdir, RUN, *(evaluation.id for evaluation in task.evaluations))
    if result.get("status") == "failed" and _unmeasured(task, workdir, result):
        return State("failing", said, code)
    if result.get("status") == "failed":
        return State("failed", result.get("reason", "no reason was written down"), code)
    if result.get("status") != "finished":
        return State("begun" if (workdir / "config.json").is_file() else "not run", said, code)
    if _unmeasured(task, workdir, result):
        return State("trained", said, code)
    if (workdir / UNDRAWN).is_dir():
        return State("trained", raised(workdir, FILM), code)
    return State("done", "", code)


def _unmeasured(task: Task, workdir: Path, result: Mapping[str, Any]) -> list[Evaluation]:
    """What is still to be measured of a run with this result: where it failed, only checkpoints from before that."""
    left = [evaluation for evaluation in task.evaluations if not evaluation.path(workdir).is_file()]
    if result.get("status") != "failed":
        return left
    good, there = result.get("last_good_step", 0), workdir / "checkpoints"
    return [e for e in left if e.checkpoint and e.checkpoint <= good and (there / str(e.checkpoint)).is_dir()]


def work(task: Task, root: Path, say: Callable[[str], None]) -> None:
    """Trains and measures.

    Raises UserError if the run is in another process's hands, or cannot be run as planned. What is met on the way keeps
    nothing else from being done, and is raised in the end: a mistake as a UserError, other exceptions as Raised.
    """
    workdir = task.workdir(root)
    if _own_state(task, root).status in ENDED:
        return
    for need in task.needs:
        if not is_made(need, root):
            state = state_of(need, root)
            said = state.reason or f"it is {state.status}; run it first"
            raise UserError(f"--run: {task.id} needs {need.id} ({need.source}): {said}")
    if task.compute:
        _compute(task, workdir, say)
        return
    if state_of(task, root).status in ("not run", "begun"):
        with noted(task.id, workdir, RUN):
            _train(task, workdir)
    if state_of(task, root).status not in ("trained", "failing"):
        return
    result = read_json(workdir / "result.json", workdir)
    with Hold(workdir):
        forget(workdir)
        if result["status"] == "finished" and not (workdir / FILM).is_dir():
            (workdir / UNDRAWN).mkdir(exist_ok=True)
        left = _unmeasured(task, workdir, result)
        _each(task, left, workdir, "measuring", lambda evaluation: _measure(evaluation, workdir, say), say)
        if (workdir / UNDRAWN).is_dir():  # last: it is only to be looked at
            with noted(task.id, workdir, FILM):
                _whole_film(workdir)


def _each(
    task: Task,
    left: Sequence[Evaluation],
    workdir: Path,
    doing: str,
    do: Callable[[Evaluation], None],
    say: Callable[[str], None],
) -> None:
    """Does what is left of all. What is raised at one place is raised after the others have had their turn."""
    met: list[Exception] = []
    for done, evaluation in enumerate(task.evaluations):
        if evaluation not in left or evaluation.path(workdir).is_file():  # two places may share it
            continue
        say(f"{doing} {done + 1} of {len(task.evaluations)}: {named(evaluation.where)}")
        try:
            with noted(task.id, workdir, evaluation.id):
                do(evaluation)
        except Exception as error:  # whatever it is, it is raised in the end
            met.append(error)
    if met:
        raise met[0]


def _computed(name: str, value: float | Metric) -> Score:
    """A number of an experiment's file, with its protocol if the file says one."""
    metric = value if isinstance(value, Metric) else Metric(name, value)
    return Score(name, metric.value, None, "computed by the experiment's file", metric.protocol)


def _compute(task: Task, workdir: Path, say: Callable[[str], None]) -> None:
    """What needs no training, each value as it comes."""

    def compute(evaluation: Evaluation) -> None:
        scores = [_computed(*item) for item in task.compute(seed=task.seed, **evaluation.keys).items()]
        record(scores, {"code": evaluation.code}, evaluation.path(workdir))

    with Hold(workdir):
        forget(workdir)
        write_json(workdir / CODE, {"id": task.id, "code": task.code})
        _each(task, task.evaluations, workdir, "computing", compute, say)
        write_json(workdir / "result.json", {"status": "finished"})


def _train(task: Task, workdir: Path) -> None:
    begun = (workdir / "config.json").is_file()  # perhaps as another table planned the same training
    config = read_config(workdir) if begun else task.config

    def note() -> None:
        """By which code it is trained: "mixed" of what was begun by one and is ended by another."""
        forget(workdir)
        there = (workdir / "config.json").is_file()
        known = _json(workdir / CODE, workdir).get("code") if there else task.code
        write_json(workdir / CODE, {"id": task.id, "code": task.code if known == task.code else "mixed"})

    with contextlib.suppress(Diverged):  # the run has written down why: that is a result like any other
        train(config, workdir, note)


def _whole_film(workdir: Path) -> None:
    """Draws a film from its beginning, and puts it where it is looked for when all of its frames are there."""
    undrawn = workdir / UNDRAWN
    shutil.rmtree(undrawn)
    undrawn.mkdir()
    _film(workdir)
    for drawn in sorted(undrawn.iterdir()):
        shutil.rmtree(workdir / drawn.name, ignore_errors=True)
        drawn.rename(workdir / drawn.name)
    undrawn.rmdir()


def _film(workdir: Path) -> None:
    """The way from a few examples to noise and from noise to samples, as pictures, for whoever looks at the table.

    None of what draws at once.
    """
    into = workdir / UNDRAWN
    run = load(workdir)
    method, seed = run.experiment.method, run.experiment.config.seed
    if not method.generates:
        return
    num = few(method)
    if isinstance(method, Diffusion) and is_main():
        for (k, steps), frame in forward(run, num, FRAMES, seed).items():
            pictures.save_png(into / FORWARD / f"{k:04}_of_{steps}.png", frame)
    drawn = run.experiment.generator(batch_size=num, trajectory=True).draw(run.ema, num, seed)
    if drawn.x_t is None or drawn.x0_hat is None or not is_main():
        return
    for (k, steps, t), frame in backward(run, drawn, FRAMES).items():
        pictures.save_png(into / FILM / f"{k:04}_of_{steps}_t_{t:.6g}.png", frame)


def _measure(evaluation: Evaluation, workdir: Path, say: Callable[[str], None]) -> None:
    """One evaluation, written whole or not at all; that of samples that are no numbers is written down as failed."""
    config = elsewhere(evaluation.config)
    run = load(workdir, config, evaluation.checkpoint)
    choice = choose(config.eval.metrics, run.experiment)
    evidence = Evidence(run.experiment, run.state, config.eval.num, config.seed, choice, run.weights, say=say)
    evaluate(evidence, workdir, run.step, evaluation.path(workdir), whole=True, code=evaluation.code)


def set_aside(task: Task, root: Path) -> list[Path]:
    """Moves out of the way what older code made, so that it is done again; where it is now. Nothing is deleted.

    A run that older code trained goes whole; of others the measurements that older code made.
    """
    workdir, state = task.workdir(root), _own_state(task, root)
    if state.status == "not run" and not state.code:
        return []
    with Hold(workdir):
        if state.code != task.code:
            return [_moved(workdir)]
        paths = [(evaluation, evaluation.path(workdir)) for evaluation in task.evaluations]
        return [_moved(path) for evaluation, path in paths if _code(path) not in ("", evaluation.code)]


def _code(path: Path) -> str:
    """The code that made a measurement."""
    return _json(path).get("provenance", {}).get("code", "")


def _moved(path: Path) -> Path:
    n = 1
    while (aside := path.with_name(f"{path.name}.old{n}")).exists():
        n += 1
    return path.rename(aside)


def _json(path: Path, whole: Path | None = None) -> dict[str, Any]:
    return read_json(path, whole) if path.is_file() else {}
