"""How far something long has come, for whoever waits."""

import sys
import time
from collections.abc import Callable


def aside(line: str) -> None:
    """A line on stderr, so that what a command prints may be kept without it."""
    print(line, file=sys.stderr, flush=True)


class Waiting:
    """Says from time to time how much of something long is done, and how long the rest will take."""

    EVERY = 10.0  # seconds: what takes less says nothing

    def __init__(self, what: str, say: Callable[[str], None]):
        self.what, self.say = what, say
        self.began = self.last_said = time.monotonic()

    def at(self, done: int, total: int) -> None:
        """So much is done, of so much."""
        now = time.monotonic()
        last = done == total and self.last_said > self.began  # what was announced is also finished
        if not done or (now - self.last_said < self.EVERY and not last):
            return
        self.last_said = now
        left = (now - self.began) / done * (total - done)
        self.say(f"{self.what}: {done:,}/{total:,}, {clock(left)} left")


def clock(seconds: float) -> str:
    """ "1:02:03" or "4:05"."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
