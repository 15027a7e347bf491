"""How a long computation tells whoever waits how far it is; it knows nothing of how that is shown."""

from collections.abc import Callable

OnProgress = Callable[[int, int], None]  # so much is done, of so much


def silent(done: int, total: int) -> None:
    """Nobody waits."""


def part_of(progress: OnProgress, before: int, total: int) -> OnProgress:
    """For a part of something longer, of which `before` is done: tells how far the whole is."""
    return lambda done, _: progress(before + done, total)
