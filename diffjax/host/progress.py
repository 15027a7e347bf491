"""Progress of long computations, for a user who waits."""

import sys
import time
from collections.abc import Callable

OnProgress = Callable[[int, int], None]  # (done, total)


def to_stderr(line: str) -> None:
    """Prints a line on stderr, so that stdout holds only a command's result."""
    print(line, file=sys.stderr, flush=True)


class Waiting:
    """Reports how much of a long computation is done, and the remaining time, every ten seconds."""

    EVERY = 10.0  # seconds; shorter computations report nothing

    def __init__(self, what: str, say: Callable[[str], None]):
        self.what, self.say = what, say
        self.began = self.last_said = time.monotonic()

    def at(self, done: int, total: int) -> None:
        """`done` parts of `total` are done; reports it if it is time to."""
        now = time.monotonic()
        last = done == total and self.last_said > self.began  # a computation that was reported is also reported done
        if not done or (now - self.last_said < self.EVERY and not last):
            return
        self.last_said = now
        remaining = (now - self.began) / done * (total - done)
        self.say(f"{self.what}: {done:,}/{total:,}, {clock(remaining)} left")


def clock(seconds: float) -> str:
    """Formats a duration as "1:02:03" or "4:05"."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def silent(done: int, total: int) -> None:
    """Ignores progress."""


def part_of(progress: OnProgress, before: int, total: int) -> OnProgress:
    """A callback for one part of a computation of `total` units, of which `before` are done already."""
    return lambda done, _: progress(before + done, total)
