"""How a long computation tells whoever waits how far it is; it knows nothing of how that is shown."""

from collections.abc import Callable

Told = Callable[[int, int], None]  # so much is done, of so much


def untold(done: int, total: int) -> None:
    """Nobody waits."""


def part_of(told: Told, before: int, total: int) -> Told:
    """For a part of something longer, of which `before` is done: tells how far the whole is."""
    return lambda done, _: told(before + done, total)
