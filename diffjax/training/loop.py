"""The training loop, the same for every method, data set and network.

Order within an iteration: step; log what the step did; evaluate and draw from the new state; save, snapshots of the
averages before the checkpoint. So a checkpoint is never newer than its metrics and averages, and a run killed at any
point repeats exactly the steps after its last checkpoint.
"""

import contextlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from diffjax.data import Stream
from diffjax.errors import Diverged
from diffjax.evaluation.periodic import PeriodicEvaluation, measured_by, periodic_evaluations
from diffjax.experiment import Experiment
from diffjax.host.json_files import strict, write_json
from diffjax.keys import Role
from diffjax.optim.state import HEALTHY, TrainState
from diffjax.parallel import Axis, check_batch, compile_step, is_main, together
from diffjax.precision import Precision
from diffjax.training import replay, window
from diffjax.training.health import Health
from diffjax.training.interrupts import Stop
from diffjax.training.profiler import Trace
from diffjax.training.stopwatch import Stopwatch
from diffjax.training.warm_start import warm_start
from diffjax.workdir.checkpoint import Checkpoints, complete_steps
from diffjax.workdir.directory import Lock, lengths_of, record_config
from diffjax.workdir.writer import Writer

IN_FLIGHT = 2  # steps that the host may run ahead of the device; without a bound, collectives on few cores can deadlock


def train(config: ConfigDict, workdir: Path, on_locked: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Trains to the configured end, or exactly continues the run in `workdir`; returns the run's result.

    Everything that can be checked is checked before anything in `workdir` changes. Raises UserError for a mistake of
    the user's, and Diverged, after recording why, for a run that went bad. `on_locked` is called as soon as this
    process has locked the directory, to write the caller's notes there. A signal that stops the run is re-raised for
    the caller's own handler, if there is one, after the checkpoint is saved.
    """
    Precision(**config.precision).apply()  # before the first computation
    experiment = Experiment.of(config)
    config = experiment.config
    check_batch(config.train.batch_size, experiment.layout, config.train.accumulate, experiment.method.group)
    with contextlib.ExitStack() as stack:
        lock = Lock(workdir)
        together(lambda: (stack.enter_context(lock), on_locked()))
        shapes, directory = carry_shapes(experiment), workdir / "checkpoints"
        done = max(complete_steps(directory), default=0)
        writer = stack.enter_context(Writer(workdir, config.train.steps, is_main()))
        evaluations = periodic_evaluations(experiment, workdir, writer)
        warm = None if done else warm_start(experiment, shapes["state"])
        together(lambda: record_config(workdir, config, done))
        ends = lengths_of(workdir)
        checkpoints = stack.enter_context(
            Checkpoints(
                directory,
                config.train.keep,
                config.eval.best,
                planned=lambda step: checkpoint_due(config.train, step) or step in ends,
            )
        )
        stop = stack.enter_context(Stop())
        prepared = prepare(experiment, shapes, warm, writer, checkpoints, done)
        del warm  # its arrays would stay on the devices
        trace = stack.enter_context(Trace(workdir / "profile", config.train.profile))
        result = loop(experiment, prepared, evaluations, writer, checkpoints, trace, stop)
        if result["status"] == "failed" and result.pop("replay"):
            if is_main():
                write_json(workdir / "result.json", result)
            good, bad = result["last_good_step"], result["step"]
            writer.say(f"step {bad} was not finite: repeating it from step {good} to find the first bad tensor")
            result["reason"] += "; " + describe_bad_step(experiment, workdir, checkpoints, result, stop)
        if best := checkpoints.best():
            result["best"] = best | measured_by(workdir, best, best["step"])
        result |= measured_by(workdir, result.get("metrics", {}), result["step"])
        if is_main() and result["status"] != "stopped":
            write_json(workdir / "result.json", result)
    if result["status"] == "failed":
        raise Diverged(result["reason"])
    stop.reraise(result["status"] == "stopped")
    return result


class Prepared(NamedTuple):
    """A run that is ready for the step after `done`."""

    done: int
    shapes: dict[str, Any]  # of `carry`
    carry: dict[str, Any]  # the state, and the window of metrics since the last log line
    stream: Stream
    health: Health
    stopwatch: Stopwatch
    values: dict[str, float]  # the last logged ones


def prepare(
    experiment: Experiment,
    shapes: dict[str, Any],
    warm: TrainState | None,
    writer: Writer,
    checkpoints: Checkpoints,
    done: int,
) -> Prepared:
    """Prepares a run to start, or to continue from its checkpoint at `done`: state, data position, time and health."""
    layout, batch_size = experiment.layout, experiment.config.train.batch_size
    stream, health = experiment.stream(), Health(experiment.method, batch_size)
    checkpoints.drop_averages_after(done)
    if not done:
        state, values, seconds = experiment.initial_state(shapes["state"], warm), {}, 0.0
        carry = {"state": state, "window": window.empty(shapes["window"], layout)}
    else:
        carry = checkpoints.restore(done, **layout.place(shapes))
        facts = carry.pop("facts")
        stream.seek(facts["data"])
        health.restore(facts["health"])
        values, seconds = facts["values"], facts["seconds"]
        writer.say(f"continuing from step {done:,}")
    together(lambda: writer.start(done))  # which may find a damaged line
    return Prepared(done, shapes, carry, stream, health, Stopwatch(done, batch_size, seconds), values)


def loop(
    experiment: Experiment,
    prepared: Prepared,
    evaluations: list[PeriodicEvaluation],
    writer: Writer,
    checkpoints: Checkpoints,
    trace: Trace,
    stop: Stop,
) -> dict[str, Any]:
    """Trains to the last step and returns the result; the module's docstring gives the order within an iteration."""
    config, method, layout = experiment.config.train, experiment.method, experiment.layout
    done, shapes, carry, stream, health, stopwatch, logged = prepared
    compiled, key = compile_step(window.windowed(method.step), layout, shapes), experiment.key(Role.STEP)
    in_flight, values = deque(), logged  # values remain if the run is already at its end
    for step in range(done + 1, config.steps + 1):
        last, values = step == config.steps, {}
        looking = health.may_end_run and config.log_every and checkpoint_due(config, step)
        logging = due(step, config.log_every) or looking or last
        trace.before(step - done)
        carry, metrics = compiled(carry, next(stream), key)
        trace.after(step - done, metrics, last)
        if step == done + 1:  # it includes compilation: measure speed from the next
            jax.block_until_ready(metrics)
            stopwatch.mark(step)
        in_flight.append(metrics)
        if len(in_flight) > IN_FLIGHT:
            jax.block_until_ready(in_flight.popleft())

        if logging:
            values = window.read(carry["window"])
            if bad := first_bad_step(carry["state"]):
                return not_finite(bad, logged, checkpoints)
            health.update(step, values)
            speed = stopwatch.speed(step)
            writer.progress(step, values, speed)
            values |= {"images_per_second": speed} if speed else {}
            carry["window"] = window.empty(shapes["window"], layout)
            stopwatch.mark(step)

        with stopwatch.paused():
            for evaluation in evaluations:
                if due(step, evaluation.every) or last:
                    values |= evaluation.function(carry["state"], step)

        if values:
            writer.metrics(step, step * config.batch_size, stopwatch.seconds, values)
            logged = logged | values
        if health.given_up:
            return failed(health.given_up, step, health.healthy, values, checkpoints)
        stopping = stop.requested(step)
        saving = checkpoint_due(config, step) or stopping
        snapshot = method.ema.snapshot_due(step, config.batch_size, last)
        if (saving or snapshot) and (bad := first_bad_step(carry["state"])):
            return not_finite(bad, logged, checkpoints)
        with stopwatch.paused():
            if snapshot:
                checkpoints.save_averages(step, carry["state"].ema)
            if saved := saving and (health.may_save(step) or last):
                facts = {
                    "seconds": stopwatch.seconds,
                    "data": stream.position,
                    "values": strict(logged),
                    "health": health.facts,
                }
                checkpoints.save(step, carry, facts, values)
        if saving and not saved:
            writer.say(f"step {step} is not saved: step {health.healthy} was the last to be well; {health.complaint}")
        if stopping and not last:
            checkpoints.wait()
            writer.say(f"stopped at step {step}; run the same command to continue from step {checkpoints.latest()}")
            return {"status": "stopped", "step": step}
    checkpoints.wait()
    return finished(config, stopwatch.seconds, values, health.complaint)


def finished(config: ConfigDict, seconds: float, values: dict[str, float], complaint: str) -> dict[str, Any]:
    """The result of a run that reached its end, with the last logged values and the complaint about it, if any."""
    result = {
        "status": "finished",
        "step": config.steps,
        "images": config.steps * config.batch_size,
        "seconds": round(seconds, 1),
        "metrics": values,
    }
    return result | ({"complaint": complaint} if complaint else {})


def carry_shapes(experiment: Experiment) -> dict[str, Any]:
    """The shapes of the state and of the window of metrics, without computing either."""
    state = jax.eval_shape(experiment.init, jax.random.key(0))
    batch = experiment.batch_shapes(experiment.config.train.batch_size)
    return window.shapes(experiment.method.step, state, batch, jax.random.key(0), Axis())


def due(step: int, every: int) -> bool:
    """Whether something done every `every` steps is due after this one; `every` 0 means never."""
    return every > 0 and step % every == 0


def checkpoint_due(config: ConfigDict, step: int) -> bool:
    """Whether a run of this section `train` saves a checkpoint after `step`, unless it is unwell."""
    return due(step, config.checkpoint_every) or step == config.steps


def first_bad_step(state: TrainState) -> int:
    """The first step with a loss or gradient that was not finite, or 0. Waits for the device."""
    bad = int(state.extra["first_bad_step"])
    return 0 if bad == HEALTHY else bad


def not_finite(bad: int, values: dict[str, Any], checkpoints: Checkpoints) -> dict[str, Any]:
    """The result of a run whose step `bad` was not finite; `replay` asks to repeat it to find the first bad tensor."""
    checkpoints.wait()
    good = checkpoints.latest() or 0
    return failed(f"step {bad} was not finite", bad, good, values, checkpoints) | {"replay": True}


def failed(reason: str, step: int, good: int, values: dict[str, Any], checkpoints: Checkpoints) -> dict[str, Any]:
    """The result of a failed run with the last logged values. Its last good checkpoint is not overwritten."""
    checkpoints.wait()
    checkpoint = f"the last good checkpoint is step {good}" if good else "no good checkpoint was saved before it"
    return {
        "status": "failed",
        "reason": f"{reason}; {checkpoint}",
        "step": step,
        "last_good_step": good,
        "metrics": values,
        "replay": False,
    }


def describe_bad_step(
    experiment: Experiment, workdir: Path, checkpoints: Checkpoints, result: dict[str, Any], stop: Stop
) -> str:
    """Describes the first bad tensor, found by repeating the bad step; or why repeating it failed."""
    good, bad = result["last_good_step"], result["step"]
    try:
        tensor = replay.explain(experiment, workdir, checkpoints, good, bad, lambda: stop.signalled > 0)
    except Exception as error:  # the run's failure must be reported, whatever happens during its replay
        return f"replaying it failed ({type(error).__name__}: {' '.join(str(error).split())})"
    return f"first bad tensor: {tensor} (see {workdir}/replay)"
