"""Measures the duration of a run and its training speed."""

import contextlib
import time
from collections.abc import Iterator


class Stopwatch:
    """The seconds of a run, including `earlier` ones before a restart, and its images per second since a mark."""

    def __init__(self, step: int, batch_size: int, earlier: float = 0.0):
        self.began, self.batch_size = time.monotonic() - earlier, batch_size
        self.mark(step)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def mark(self, step: int) -> None:
        """Starts to measure the speed after this step."""
        self.marked, self.since = step, time.monotonic()

    def speed(self, step: int) -> float | None:
        """Images per second since the mark, without pauses; None directly at a mark."""
        return (step - self.marked) * self.batch_size / (time.monotonic() - self.since) if step > self.marked else None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time of a block from the speed: evaluating and saving are not training."""
        began = time.monotonic()
        yield
        self.since += time.monotonic() - began
