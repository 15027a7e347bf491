"""Runs one task in this process: trains it to its end, or continues it, then makes all of its measurements.

Whatever exists already is not made again. A run directory belongs to one process at a time; a process that finds it
taken leaves it to the other. What older code made is set aside only on request.

After an exception at one place the others are measured all the same. If a training fails, its good checkpoints are
still measured: the quality after a part of the training does not depend on what happens later.
"""

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffjax.ablation.plan import RETAINED, Evaluation, Task
from diffjax.ablation.raised import RUN, forget, noted, raised
from diffjax.ablation.table import named
from diffjax.drawing import pictures
from diffjax.drawing.films import backward, few, forward
from diffjax.errors import Diverged, UserError
from diffjax.evaluation import Evidence, Score, choose
from diffjax.evaluation.evaluate import evaluate
from diffjax.evaluation.report import record
from diffjax.host.json_files import read_json, write_json
from diffjax.methods import Diffusion
from diffjax.metrics import Metric
from diffjax.parallel import is_main
from diffjax.run import load
from diffjax.training.loop import train
from diffjax.workdir.checkpoint import complete_steps
from diffjax.workdir.directory import Lock, for_this_machine, read_config

# Names in a run directory.
CODE = "code.json"  # the hash of the code that trained it
FILM = "film"  # frames k_of_N_t_T.png: x_t beside the predicted x0 after k of N steps, at time T in [0, 1]
FORWARD = "forward"  # frames k_of_T.png: alpha x0 of real examples, the noise, and their sum x_t, at time k of T
UNDRAWN = "film.unfinished"  # exists until both films are complete, and holds the frames so far, which nobody shows
FRAMES = 24  # of a film, at most

ENDED = ("done", "failed", "blocked")  # statuses of tasks that are never started again


class State(NamedTuple):
    """How far a task has come, according to its run directory.

    The status is "not run", "begun", "done", "failed", or "blocked" by a run that it needs and that went wrong.
    "trained" becomes "done", and "failing" becomes "failed", once all that is left to measure or draw has been.
    """

    status: str
    reason: str = ""  # why it failed or is blocked; otherwise what the last attempt raised
    code: str = ""


def state_of(task: Task, root: Path) -> State:
    """How far a task has come, taking into account the runs it needs."""
    state = _own_state(task, root)
    if state.status in ENDED:
        return state
    for need in task.needs:
        need_state = state_of(need, root)
        if need_state.reason and not is_made(need, root):
            failed = "failed: " if need_state.status in ENDED else ""
            return State("blocked", f"needs {need.id}, which {failed}{need_state.reason}", state.code)
    return state


def is_made(task: Task, root: Path) -> bool:
    """Whether tasks that need this one may start: all of it is measured, although its film may not be drawn yet."""
    workdir = task.workdir(root)
    status = _own_state(task, root).status
    return status == "done" or (status == "trained" and not _unmeasured(task, workdir, {}))


def is_over(task: Task, root: Path) -> bool:
    """Whether running the same command again would do nothing for it.

    A task that is blocked by a run which raised an exception is not over: that run is tried again.
    """
    status = state_of(task, root).status
    if status == "blocked":
        return any(is_over(need, root) and not is_made(need, root) for need in task.needs)
    return status in ENDED


def _own_state(task: Task, root: Path) -> State:
    """How far a task has come by itself, whatever the state of the runs it needs."""
    workdir = task.workdir(root)
    result, record = _json(workdir / "result.json"), _json(workdir / CODE, workdir)
    if record.get("id", task.id) != task.id:
        raise UserError(
            f"`workdir`: {workdir} holds the run {record['id']}; rename it to that, and {task.id} is made again"
        )
    code = record.get("code", "")
    exception = raised(workdir, RUN, *(evaluation.id for evaluation in task.evaluations))
    if result.get("status") == "failed" and _unmeasured(task, workdir, result):
        return State("failing", exception, code)
    if result.get("status") == "failed":
        return State("failed", result.get("reason", "no reason was written down"), code)
    if result.get("status") != "finished":
        return State("begun" if (workdir / "config.json").is_file() else "not run", exception, code)
    if _unmeasured(task, workdir, result):
        return State("trained", exception, code)
    if (workdir / UNDRAWN).is_dir():
        return State("trained", raised(workdir, FILM), code)
    return State("done", "", code)


def _unmeasured(task: Task, workdir: Path, result: Mapping[str, Any]) -> list[Evaluation]:
    """What is still to be measured of a run with this result: of a failed run only its good checkpoints."""
    pending = [evaluation for evaluation in task.evaluations if not evaluation.path(workdir).is_file()]
    if result.get("status") != "failed":
        return pending
    last_good = result.get("last_good_step", 0)
    return [e for e in pending if e.checkpoint and e.checkpoint <= last_good]


def work(task: Task, root: Path, say: Callable[[str], None]) -> None:
    """Trains and measures a task, as far as that has not been done.

    Raises UserError if another process has the run, or if it cannot be run as planned. An exception in one measurement
    does not stop the others and is raised at the end: a user error as UserError, any other exception as Raised.
    """
    workdir = task.workdir(root)
    if _own_state(task, root).status in ENDED:
        return
    for need in task.needs:
        if not is_made(need, root):
            state = state_of(need, root)
            reason = state.reason or f"it is {state.status}; run it first"
            raise UserError(f"`run`: {task.id} needs {need.id} ({need.source}): {reason}")
    if task.compute:
        _compute(task, workdir, say)
        return
    if state_of(task, root).status in ("not run", "begun"):
        with noted(task.id, workdir, RUN):
            _train(task, workdir)
    if state_of(task, root).status not in ("trained", "failing"):
        return
    result = read_json(workdir / "result.json", workdir)
    with Lock(workdir):
        forget(workdir)
        if result["status"] == "finished" and not (workdir / FILM).is_dir():
            (workdir / UNDRAWN).mkdir(exist_ok=True)
        pending = _unmeasured(task, workdir, result)
        _for_each(task, pending, workdir, "measuring", lambda evaluation: _measure(evaluation, workdir, say), say)
        if (workdir / UNDRAWN).is_dir():  # last, because no number depends on it
            with noted(task.id, workdir, FILM):
                _draw_films(workdir)


def _for_each(
    task: Task,
    pending: Sequence[Evaluation],
    workdir: Path,
    activity: str,
    action: Callable[[Evaluation], None],
    say: Callable[[str], None],
) -> None:
    """Applies `action` to all pending evaluations, then raises the first exception that any of them raised."""
    errors: list[Exception] = []
    for number, evaluation in enumerate(task.evaluations, 1):
        if evaluation not in pending or evaluation.path(workdir).is_file():  # two places may share one evaluation
            continue
        say(f"{activity} {number} of {len(task.evaluations)}: {named(evaluation.where)}")
        try:
            with noted(task.id, workdir, evaluation.id):
                action(evaluation)
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _computed(name: str, value: float | Metric) -> Score:
    """A number that an experiment's file computed, with its protocol if the file gives one."""
    metric = value if isinstance(value, Metric) else Metric(name, value)
    return Score(name, metric.value, None, "computed by the experiment's file", metric.protocol)


def _compute(task: Task, workdir: Path, say: Callable[[str], None]) -> None:
    """Computes a task that needs no training; each number is written as soon as it is there."""

    def compute(evaluation: Evaluation) -> None:
        scores = [_computed(*item) for item in task.compute(seed=task.seed, **evaluation.keys).items()]
        record(scores, {"code": evaluation.code}, evaluation.path(workdir))

    with Lock(workdir):
        forget(workdir)
        write_json(workdir / CODE, {"id": task.id, "code": task.code})
        _for_each(task, task.evaluations, workdir, "computing", compute, say)
        write_json(workdir / "result.json", {"status": "finished"})


def _train(task: Task, workdir: Path) -> None:
    started = (workdir / "config.json").is_file()  # perhaps by another table that planned the same training
    config = read_config(workdir) if started else task.config
    for key in RETAINED:  # whatever that other table retained
        config.train[key] = task.config.train[key]

    def record_code() -> None:
        """Writes which code trains the run: "mixed" if another version of the code trained its first steps."""
        forget(workdir)
        continues = bool(complete_steps(workdir / "checkpoints"))
        earlier = _json(workdir / CODE, workdir).get("code") if continues else task.code
        write_json(workdir / CODE, {"id": task.id, "code": task.code if earlier == task.code else "mixed"})

    with contextlib.suppress(Diverged):  # the run has recorded why it failed, which is a result like any other
        train(config, workdir, record_code)


def _draw_films(workdir: Path) -> None:
    """Draws both films from the start, and moves them to their final folders once all frames exist."""
    unfinished = workdir / UNDRAWN
    shutil.rmtree(unfinished)
    unfinished.mkdir()
    _draw_frames(workdir)
    for film in sorted(unfinished.iterdir()):
        shutil.rmtree(workdir / film.name, ignore_errors=True)
        film.rename(workdir / film.name)
    unfinished.rmdir()


def _draw_frames(workdir: Path) -> None:
    """Writes the frames of both films, from a few examples to noise and from noise to samples, under UNDRAWN.

    A method that generates in one step has no frames.
    """
    folder = workdir / UNDRAWN
    run = load(workdir)
    method, seed = run.experiment.method, run.experiment.config.seed
    if not method.generates:
        return
    num = few(method)
    if isinstance(method, Diffusion) and is_main():
        for (k, steps), frame in forward(run, num, FRAMES, seed).items():
            pictures.save_png(folder / FORWARD / f"{k:04}_of_{steps}.png", frame)
    samples = run.experiment.generator(batch_size=num, trajectory=True).draw(run.ema, num, seed)
    if samples.x_t is None or samples.x0_hat is None or not is_main():
        return
    for (k, steps, t), frame in backward(run, samples, FRAMES).items():
        pictures.save_png(folder / FILM / f"{k:04}_of_{steps}_t_{t:.6g}.png", frame)


def _measure(evaluation: Evaluation, workdir: Path, say: Callable[[str], None]) -> None:
    """Makes one measurement and writes it atomically; samples that are not finite are recorded as a failure."""
    config = for_this_machine(evaluation.config)
    run = load(workdir, config, evaluation.checkpoint)
    choice = choose(config.eval.metrics, run.experiment)
    evidence = Evidence(run.experiment, run.state, config.eval.num, config.seed, choice, run.weights, say=say)
    evaluate(evidence, workdir, run.step, evaluation.path(workdir), whole=True, code=evaluation.code)


def set_aside(task: Task, root: Path) -> list[Path]:
    """Renames what older code made, so that it is made again, and returns the new paths. Nothing is deleted.

    If older code trained the run, its whole directory is renamed; otherwise only measurements that older code made.
    """
    workdir, state = task.workdir(root), _own_state(task, root)
    if state.status == "not run" and not state.code:
        return []
    with Lock(workdir):
        if state.code != task.code:
            return [_moved(workdir)]
        paths = [(evaluation, evaluation.path(workdir)) for evaluation in task.evaluations]
        return [_moved(path) for evaluation, path in paths if _code(path) not in ("", evaluation.code)]


def _code(path: Path) -> str:
    """The hash of the code that made a measurement; "" if there is none."""
    return _json(path).get("provenance", {}).get("code", "")


def _moved(path: Path) -> Path:
    n = 1
    while (target := path.with_name(f"{path.name}.old{n}")).exists():
        n += 1
    return path.rename(target)


def _json(path: Path, workdir: Path | None = None) -> dict[str, Any]:
    """The content of a file; {} if there is none. A damaged one is a UserError that says to remove `workdir`."""
    return read_json(path, workdir) if path.is_file() else {}
