"""How long a run has taken, and how fast it trains."""

import contextlib
import time
from collections.abc import Iterator


class Stopwatch:
    """Seconds of a run, those of earlier sittings included; and images a second of training alone, since a mark."""

    def __init__(self, step: int, batch_size: int, earlier: float = 0.0):
        self.began, self.batch_size = time.monotonic() - earlier, batch_size
        self.mark(step)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def mark(self, step: int) -> None:
        """A speed is of what comes after this step."""
        self.marked, self.since = step, time.monotonic()

    def speed(self, step: int) -> float:
        """Images a second since the mark."""
        return (step - self.marked) * self.batch_size / (time.monotonic() - self.since)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What is done in here is no training, and slows none."""
        began = time.monotonic()
        yield
        self.since += time.monotonic() - began
