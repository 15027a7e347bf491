"""What reaches into a run while it trains: signals that ask it to end, and a profiler that looks at some steps."""

import contextlib
import signal
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils


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


BY_ITSELF = (signal.SIG_DFL, signal.default_int_handler)  # what becomes of a signal that nobody has a handler for


class Stop:
    """SIGTERM and SIGINT ask the run to end after the step under way.

    On several hosts SIGTERM is left to JAX, whose notice makes all of them stop at the same step.
    """

    def __enter__(self) -> "Stop":
        self.signalled = 0  # the signal's number
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
        self.signalled = number

    def asked(self, step: int) -> bool:
        if jax.process_count() == 1:
            return bool(self.signalled)
        return multihost_utils.reached_preemption_sync_point(step)

    def pass_on(self, stopped: bool) -> None:
        """Gives a signal to whoever heard it before. What is done where nobody did is done if it came too late to stop.

        One that has stopped the training is obeyed with that; a handler of the caller's hears of it all the same.
        """
        if self.signalled and not (stopped and self.before[self.signalled] in BY_ITSELF):
            signal.raise_signal(self.signalled)
