"""Arrays that come a batch at a time, kept without a second copy; and which rows stand for all."""

import numpy as np
from jaxtyping import Int


class Rows:
    """An array [n, ...] of which batches of rows come one after the other: made once, when the first shows a row."""

    def __init__(self, n: int):
        self.n, self.done, self.array = n, 0, None

    def add(self, rows: np.ndarray) -> None:
        if self.array is None:
            self.array = np.empty((self.n, *rows.shape[1:]), rows.dtype)  # memory is taken when it is written
        self.array[self.done : self.done + len(rows)] = rows
        self.done += len(rows)


def evenly(n: int, total: int) -> Int[np.ndarray, " n"]:
    """At most n indices from all over 0 .. total - 1: of a set that is sorted by class they keep all classes."""
    n = min(n, total)
    return np.arange(n) * total // max(n, 1)
