"""The one loop. It knows no method, no data set and no network by name.

Order within a step, and why: step, then log (what the step did), then evaluate and draw (the state just reached), then
save. A checkpoint so never lies ahead of the metrics that belong to it, and a run killed anywhere loses only what
follows its last checkpoint, and computes exactly that again.
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

from diffjax import parallel, replay, window
from diffjax.checkpoint import Checkpoints
from diffjax.data import Stream
from diffjax.errors import Diverged, UserError
from diffjax.evaluate import evaluations
from diffjax.run import Experiment, load
from diffjax.state import HEALTHY, TrainState
from diffjax.workdir import Hold, enter
from diffjax.writer import Writer, write_json

IN_FLIGHT = 2  # steps the host may be ahead of the device; unbounded, collectives on few CPU cores can deadlock


def train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Trains to the configured end, or continues whatever `workdir` holds, exactly; returns the run's result.

    Raises UserError for what the user got wrong, and Diverged, after writing down why, for a run that went bad.
    """
    experiment = Experiment.of(config)
    with contextlib.ExitStack() as stack:
        if parallel.is_main():
            stack.enter_context(Hold(workdir))
            enter(workdir, config)
        writer = stack.enter_context(Writer(workdir, config.train.steps, parallel.is_main()))
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", config.train.keep, config.eval.best))
        stop = stack.enter_context(Stop())
        result = loop(experiment, workdir, writer, checkpoints, stop)
    if parallel.is_main() and result["status"] != "stopped":
        write_json(workdir / "result.json", result)
    if result["status"] == "failed":
        raise Diverged(result["reason"])
    return result


def loop(
    experiment: Experiment, workdir: Path, writer: Writer, checkpoints: Checkpoints, stop: "Stop"
) -> dict[str, Any]:
    """From the first step not yet done to the last; see the module's docstring for the order within a step."""
    config, method, layout = experiment.config.train, experiment.method, experiment.layout
    key = jax.random.key(experiment.config.seed)
    shapes = carry_shapes(experiment)
    compiled = parallel.compile_step(window.windowed(method.step), layout, shapes)

    done = checkpoints.latest() or 0
    if done > config.steps:
        raise UserError(f"train.steps: {config.steps} lies before the checkpoint at step {done}; give {done} or more")
    if done:
        carry = checkpoints.restore(done, **layout.place(shapes))
        earlier = carry.pop("facts")["seconds"]
        writer.say(f"continuing from step {done:,}")
    else:
        carry = {"state": initial_state(experiment, shapes["state"]), "window": window.empty(shapes["window"], layout)}
        earlier = 0.0
    stream = Stream(experiment.source, experiment.config.seed, config.batch_size, method.batches_per_step, layout, done)
    watches = evaluations(experiment, workdir, writer)
    writer.start(done)

    values: dict[str, float] = {}
    in_flight: deque = deque()
    began = logged_at = time.monotonic()
    logged = done
    for step in range(done + 1, config.steps + 1):
        last, values = step == config.steps, {}
        with profile(workdir / "profile", step - done, config.profile):
            carry, metrics = compiled(carry, next(stream), key)
        in_flight.append(metrics)
        if len(in_flight) > IN_FLIGHT:
            jax.block_until_ready(in_flight.popleft())

        if due(step, config.log_every) or last:
            values = window.read(carry["window"])
            if bad := first_bad_step(carry["state"]):
                return failure(experiment, workdir, checkpoints, bad)
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
        stopping = stop.asked(step)
        if due(step, config.checkpoint_every) or last or stopping:
            if bad := first_bad_step(carry["state"]):
                return failure(experiment, workdir, checkpoints, bad)
            checkpoints.save(step, carry, {"seconds": seconds, "data": stream.position}, values)
        if stopping and not last:
            checkpoints.wait()
            writer.say(f"stopped at step {step}; run the same command to continue")
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
    }


def carry_shapes(experiment: Experiment) -> dict[str, Any]:
    """The shapes of the state and of the window of metrics, without computing either."""
    state = jax.eval_shape(experiment.init, jax.random.key(0))
    return window.shapes(experiment.method.step, state, batch_shapes(experiment), jax.random.key(0), parallel.Axis())


def batch_shapes(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of what one step is fed."""
    method = experiment.method
    per_step = (method.batches_per_step, method.batch_size)
    pixels = jnp.uint8 if method.space.kind == "images" else jnp.float32
    whole = jax.ShapeDtypeStruct(per_step, jnp.int32)
    return {"x": jax.ShapeDtypeStruct((*per_step, *method.space.shape), pixels), "label": whole, "position": whole}


def initial_state(experiment: Experiment, shapes: TrainState) -> TrainState:
    """The state before step 1: from the seed, with the networks of another run where `train.init_from` names one."""
    config, layout = experiment.config, experiment.layout
    init = jax.jit(experiment.init, out_shardings=layout.of_state(shapes))
    state = init(jax.random.key(config.seed))
    if not config.train.init_from:
        return state
    other = load(config.train.init_from)
    for name in state.params:
        ours, theirs = (jax.tree.map(jnp.shape, s.params.get(name)) for s in (state, other.state))
        if ours != theirs:
            raise UserError(
                f"train.init_from: the {name!r} of {config.train.init_from} has other shapes than this config's"
            )
    averages = {name: other.state.ema.get(name, other.state.params[name]) for name in state.ema}
    warm = state.replace(params={name: other.state.params[name] for name in state.params}, ema=averages)
    return jax.device_put(warm, layout.of_state(shapes))


def due(step: int, every: int) -> bool:
    """Whether something done every so many steps is done after this one; 0 is never."""
    return every > 0 and step % every == 0


def first_bad_step(state: TrainState) -> int:
    """The first step with a loss or gradient that was not finite, 0 if there is none. Waits for the device."""
    bad = int(state.extra["first_bad_step"])
    return 0 if bad == HEALTHY else bad


def failure(experiment: Experiment, workdir: Path, checkpoints: Checkpoints, bad: int) -> dict[str, Any]:
    """A run gone bad: nothing is saved over the last good checkpoint, and the bad step is replayed to say why."""
    checkpoints.wait()
    good = checkpoints.latest() or 0
    tensor = replay.explain(experiment, workdir, checkpoints, good, bad)
    reason = (
        f"step {bad} was not finite: {tensor}; the last good checkpoint is step {good}, the step is in {workdir}/replay"
    )
    return {"status": "failed", "reason": reason, "step": bad, "last_good_step": good, "metrics": {}}


@contextlib.contextmanager
def profile(directory: Path, step: int, steps: int):
    """Traces `steps` steps of this process, from the tenth on, for TensorBoard or Perfetto."""
    first = 10
    if steps and step == first:
        jax.profiler.start_trace(str(directory))
    yield
    if steps and step == first + steps - 1:
        jax.profiler.stop_trace()


class Stop:
    """SIGTERM and SIGINT ask the run to end after the step under way, on all hosts at the same step."""

    def __enter__(self) -> "Stop":
        self.signalled = False
        self.before = {}
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
