"""Progress callbacks of long computations, independent of how progress is displayed."""

from collections.abc import Callable

OnProgress = Callable[[int, int], None]  # (done, total)


def silent(done: int, total: int) -> None:
    """Ignores progress."""


def part_of(progress: OnProgress, before: int, total: int) -> OnProgress:
    """A callback for one part of a computation of `total` units, of which `before` are done already."""
    return lambda done, _: progress(before + done, total)
