"""The one loop. It knows no method, no data set and no network by name.

Order within a step, and why: step, then log (what the step did), then evaluate and draw (the state just reached), then
save, averages kept for good before the checkpoint. A checkpoint so never lies ahead of the metrics and averages that
belong to it, and a run killed anywhere loses only what follows its last checkpoint, and computes exactly that again.
"""

import contextlib
import signal
import time
from collections import deque
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from diffjax import replay, window
from diffjax.checkpoint import Checkpoints
from diffjax.data import Stream
from diffjax.errors import Diverged, UserError
from diffjax.evaluate import Watch, evaluations
from diffjax.health import Health
from diffjax.parallel import Axis, check_batch, compile_step, is_main
from diffjax.precision import Precision
from diffjax.run import Experiment, load
from diffjax.state import HEALTHY, TrainState
from diffjax.workdir import Hold, enter
from diffjax.writer import Writer, strict, write_json

IN_FLIGHT = 2  # steps the host may be ahead of the device; unbounded, collectives on few CPU cores can deadlock


def train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Trains to the configured end, or continues whatever `workdir` holds, exactly; returns the run's result.

    Everything that can be checked is checked before anything in `workdir` changes. Raises UserError for what the user
    got wrong, and Diverged, after writing down why, for a run that went bad.
    """
    Precision(**config.precision).apply()  # before the first computation
    experiment = Experiment.of(config)
    config = experiment.config
    check_batch(config.train.batch_size, experiment.layout, config.train.accumulate, experiment.method.together)
    with contextlib.ExitStack() as stack:
        if is_main():
            stack.enter_context(Hold(workdir))
        shapes = carry_shapes(experiment)
        writer = stack.enter_context(Writer(workdir, config.train.steps, is_main()))
        watches = evaluations(experiment, workdir, writer)
        warm = warm_start(experiment, shapes["state"])
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", config.train.keep, config.eval.best))
        done = checkpoints.latest() or 0
        if is_main():
            enter(workdir, config, done)
        stop = stack.enter_context(Stop())
        result = loop(experiment, workdir, shapes, watches, warm, writer, checkpoints, done, stop)
        if result["status"] == "failed" and result.pop("replay"):
            if is_main():
                write_json(workdir / "result.json", result)
            result["reason"] += "; " + why(experiment, workdir, checkpoints, result)
        if best := checkpoints.best():
            result["best"] = best
        if is_main() and result["status"] != "stopped":
            write_json(workdir / "result.json", result)
    if result["status"] == "failed":
        raise Diverged(result["reason"])
    return result


def loop(
    experiment: Experiment,
    workdir: Path,
    shapes: dict[str, Any],
    watches: list[Watch],
    warm: TrainState | None,
    writer: Writer,
    checkpoints: Checkpoints,
    done: int,
    stop: "Stop",
) -> dict[str, Any]:
    """From the first step not yet done to the last; see the module's docstring for the order within a step."""
    config, method, layout = experiment.config.train, experiment.method, experiment.layout
    key = experiment.key("step")
    compiled = compile_step(window.windowed(method.step), layout, shapes)
    stream = Stream(
        experiment.source, experiment.config.seed, config.batch_size, method.batches_per_step, layout,
        encoder=method.space.encoder,
    )  # fmt: skip
    health = Health(method, config.batch_size)
    checkpoints.drop_averages_after(done)
    if done:
        carry = checkpoints.restore(done, **layout.place(shapes))
        facts = carry.pop("facts")
        stream.seek(facts["data"])
        health.restore(facts["health"])
        earlier, values = facts["seconds"], facts["values"]
        writer.say(f"continuing from step {done:,}")
    else:
        carry = {
            "state": experiment.initial_state(shapes["state"], warm),
            "window": window.empty(shapes["window"], layout),
        }
        earlier, values = 0.0, {}
    logged_values = values
    writer.start(done)

    in_flight: deque = deque()
    began = logged_at = time.monotonic()
    logged = done
    trace = Trace(workdir / "profile", config.profile)
    for step in range(done + 1, config.steps + 1):
        last, values = step == config.steps, {}
        logging = due(step, config.log_every) or last
        trace.before(step - done)
        carry, metrics = compiled(carry, next(stream), key)
        trace.after(step - done, metrics, last)
        if step == done + 1 and not logging:  # it was also compiled: a speed is of the steps after it
            jax.block_until_ready(metrics)
            logged, logged_at = step, time.monotonic()
        in_flight.append(metrics)
        if len(in_flight) > IN_FLIGHT:
            jax.block_until_ready(in_flight.popleft())

        if logging:
            values = window.read(carry["window"])
            if bad := first_bad_step(carry["state"]):
                return not_finite(bad, logged_values, checkpoints)
            health.look(step, values)
            speed = (step - logged) * config.batch_size / (time.monotonic() - logged_at)
            writer.progress(step, values, speed)
            values["images_per_second"] = speed
            carry["window"] = window.empty(shapes["window"], layout)
            logged, logged_at = step, time.monotonic()

        before = time.monotonic()
        for watch in watches:
            if due(step, watch.every) or last:
                values |= watch.function(carry["state"], step)
        logged_at += time.monotonic() - before  # a speed is of training alone

        seconds = earlier + time.monotonic() - began
        if values:
            writer.metrics(step, step * config.batch_size, seconds, values)
            logged_values = logged_values | values
        if health.given_up:
            return failed(health.given_up, step, health.healthy, values, checkpoints)
        stopping = stop.asked(step)
        saving = due(step, config.checkpoint_every) or last or stopping
        snapshot = method.ema.snapshot_due(step, config.batch_size, last)
        if (saving or snapshot) and (bad := first_bad_step(carry["state"])):
            return not_finite(bad, logged_values, checkpoints)
        if snapshot:
            checkpoints.save_averages(step, carry["state"].ema)
        if saving and (health.may_save(step) or last):
            facts = {"seconds": seconds, "data": stream.position, "values": strict(values), "health": health.facts}
            checkpoints.save(step, carry, facts, values)
        elif saving:
            writer.say(f"step {step} is not saved: step {health.healthy} was the last to be well; {health.complaint}")
        if stopping and not last:
            checkpoints.wait()
            writer.say(f"stopped at step {step}; run the same command to continue from step {checkpoints.latest()}")
            return {"status": "stopped", "step": step}
    checkpoints.wait()
    seconds = earlier + time.monotonic() - began
    images = config.steps * config.batch_size
    return {
        "status": "finished",
        "step": config.steps,
        "images": images,
        "seconds": round(seconds, 1),
        "metrics": values,
    } | ({"complaint": health.complaint} if health.complaint else {})


def carry_shapes(experiment: Experiment) -> dict[str, Any]:
    """The shapes of the state and of the window of metrics, without computing either."""
    state = jax.eval_shape(experiment.init, jax.random.key(0))
    return window.shapes(experiment.method.step, state, batch_shapes(experiment), jax.random.key(0), Axis())


def batch_shapes(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of what one step is fed."""
    method = experiment.method
    per_step = (method.batches_per_step, method.batch_size)
    beside = {name: jax.ShapeDtypeStruct((*per_step, *own), kind) for name, (own, kind) in method.space.beside.items()}
    x = jax.ShapeDtypeStruct((*per_step, *method.space.shape), method.space.stored)
    return {"x": x, "position": jax.ShapeDtypeStruct(per_step, jnp.int32)} | beside


def warm_start(experiment: Experiment, shapes: TrainState) -> TrainState | None:
    """The state of the run that `train.init_from` names, if any; its networks must be like this config's."""
    path = experiment.config.train.init_from
    if not path:
        return None
    try:
        other = load(path).state
    except UserError as error:
        raise error.about("--workdir: ", "train.init_from: ") from None
    for name in shapes.params:
        ours, theirs = (jax.tree.map(jnp.shape, state.params.get(name)) for state in (shapes, other))
        if ours != theirs:
            raise UserError(f"train.init_from: the {name!r} of {path} has other shapes than this config's")
    return other


def due(step: int, every: int) -> bool:
    """Whether something done every so many steps is done after this one; 0 is never."""
    return every > 0 and step % every == 0


def first_bad_step(state: TrainState) -> int:
    """The first step with a loss or gradient that was not finite, 0 if there is none. Waits for the device."""
    bad = int(state.extra["first_bad_step"])
    return 0 if bad == HEALTHY else bad


def not_finite(bad: int, values: dict[str, Any], checkpoints: Checkpoints) -> dict[str, Any]:
    """The result of a run whose numbers went bad: its step is done again, to see which went first."""
    checkpoints.wait()
    good = checkpoints.latest() or 0
    return failed(f"step {bad} was not finite", bad, good, values, checkpoints) | {"replay": True}


def failed(reason: str, step: int, good: int, values: dict[str, Any], checkpoints: Checkpoints) -> dict[str, Any]:
    """The result of a run gone wrong, with the last values logged: nothing is saved over its last good checkpoint."""
    checkpoints.wait()
    kept = f"the last good checkpoint is step {good}" if good else "no good checkpoint was saved before it"
    return {
        "status": "failed",
        "reason": f"{reason}; {kept}",
        "step": step,
        "last_good_step": good,
        "metrics": values,
        "replay": False,
    }


def why(experiment: Experiment, workdir: Path, checkpoints: Checkpoints, result: dict[str, Any]) -> str:
    """The first bad tensor, found by doing the bad step again; or why that could not be done."""
    try:
        tensor = replay.explain(experiment, workdir, checkpoints, result["last_good_step"], result["step"])
    except Exception as error:  # the failure to report is the run's, whatever happens while it is looked into
        return f"replaying it failed ({type(error).__name__}: {' '.join(str(error).split())})"
    return f"first bad tensor: {tensor} (see {workdir}/replay)"


class Trace:
    """A profile of `steps` steps of this process, from the tenth on, for TensorBoard or Perfetto."""

    FIRST = 10  # by then everything is compiled and warm

    def __init__(self, directory: Path, steps: int):
        self.directory, self.steps, self.running = directory, steps, False

    def before(self, step: int) -> None:
        if self.steps and step == self.FIRST:
            jax.profiler.start_trace(str(self.directory))
            self.running = True

    def after(self, step: int, metrics: Any, last: bool) -> None:
        if self.running and (last or step == self.FIRST + self.steps - 1):
            jax.block_until_ready(metrics)  # what was asked for has run
            jax.profiler.stop_trace()
            self.running = False


class Stop:
    """SIGTERM and SIGINT ask the run to end after the step under way.

    On several hosts SIGTERM is left to JAX, whose notice makes all of them stop at the same step.
    """

    def __enter__(self) -> "Stop":
        self.signalled = False
        self.before = {}
        if jax.process_count() > 1:
            return self
        with contextlib.suppress(ValueError):  # only the main thread may set handlers; elsewhere there is nobody to ask
            self.before = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if self.signalled and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: at once, without a checkpoint
        self.signalled = True

    def asked(self, step: int) -> bool:
        if jax.process_count() == 1:
            return self.signalled
        return multihost_utils.reached_preemption_sync_point(step)
