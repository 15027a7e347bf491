"""Stops a training run on a signal."""

import contextlib
import signal

import jax
from jax.experimental import multihost_utils

DEFAULT_HANDLERS = (signal.SIG_DFL, signal.default_int_handler)  # the default handlers, which nobody installed


class Stop:
    """Stops the run after its current step on SIGTERM, SIGINT or SIGHUP; a second SIGINT interrupts it at once.

    SIGHUP comes when a terminal is closed; where it is ignored, as under nohup, it stays so. On several hosts JAX
    handles SIGTERM, and makes all of them stop at the same step.
    """

    def __enter__(self) -> "Stop":
        self.signalled = 0  # the number of the signal received
        self.previous_handlers = {}
        if jax.process_count() > 1:
            return self
        with contextlib.suppress(ValueError):  # only the main thread may install handlers
            hangup = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
            handled = (signal.SIGTERM, signal.SIGINT, *hangup)
            self.previous_handlers = {number: signal.signal(number, self._receive) for number in handled}
        return self

    def __exit__(self, *_):
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)

    def _receive(self, number, frame):
        if self.signalled and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second SIGINT: stop at once, without a checkpoint
        self.signalled = number

    def requested(self, step: int) -> bool:
        if jax.process_count() == 1:
            return bool(self.signalled)
        return multihost_utils.reached_preemption_sync_point(step)

    def reraise(self, stopped: bool) -> None:
        """Re-raises a received signal for the handler that was installed before.

        Not if the signal stopped training and only the default handler was there: then it has had its effect.
        """
        if self.signalled and not (stopped and self.previous_handlers[self.signalled] in DEFAULT_HANDLERS):
            signal.raise_signal(self.signalled)
