"""Arrays that are filled one batch at a time without a second copy, and evenly spaced indices of rows."""

import numpy as np
from jaxtyping import Int


class Rows:
    """An array [n, ...] filled by consecutive batches of rows; allocated when the first batch shows its shape."""

    def __init__(self, n: int):
        self.n, self.done, self.array = n, 0, None

    def add(self, rows: np.ndarray) -> None:
        if self.array is None:
            # The system provides memory only as rows are written.
            self.array = np.empty((self.n, *rows.shape[1:]), rows.dtype)
        self.array[self.done : self.done + len(rows)] = rows
        self.done += len(rows)


def evenly(n: int, total: int) -> Int[np.ndarray, " n"]:
    """At most n evenly spaced indices of 0 .. total - 1, so that a subset of data sorted by class has all classes."""
    n = min(n, total)
    return np.arange(n) * total // max(n, 1)
