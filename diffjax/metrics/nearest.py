"""Nearest neighbours, exact, in memory that does not grow with the number of images.

|x|^2 + |y|^2 - 2 x.y is fast, but loses close pairs, and rounds equal distances apart. Here it only screens: a bound of
its rounding says which pairs it cannot decide, and those are measured anew from differences. So a distance is
(sum (x - y)^2)^1/2 in float64, the same from either end and for any chunk, and a tie is a tie.

On the host: on a CPU the double-precision products of NumPy and of JAX take about the same time.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Float64, Int, Int64

from diffjax.errors import UserError
from diffjax.metrics.arrays import CHUNK, blocks, checked_pair
from diffjax.metrics.progress import OnProgress, silent

NUMBERS_AT_ONCE = 1 << 20  # of differences: 8 MB


class Neighbours(NamedTuple):
    """Of every query its k nearest examples, nearest first, and of two as near the one that stands first."""

    indices: Int64[np.ndarray, "n k"]
    squares: Float64[np.ndarray, "n k"]  # of the distances: ties are decided before a root is taken

    @property
    def distances(self) -> Float64[np.ndarray, "n k"]:
        return np.sqrt(self.squares)


def nearest(
    queries: Float[ArrayLike, "n d1"],
    examples: Float[ArrayLike, "m d2"],
    k: int = 1,
    itself: Int[np.ndarray, " n"] | None = None,
    chunk: int = CHUNK,
    progress: OnProgress = silent,  # of the queries that are done
) -> Neighbours:
    """The k nearest of `examples` [m, d] to each of `queries` [n, d], Euclidean, in the features' unit.

    `itself` says which example each query is, where it is one, so that it is not its own neighbour; a twin of it is.
    O(n m d) time, O(chunk^2 + chunk d) memory. Raises UserError on bad features, or fewer than k examples to find.
    """
    queries, examples = checked_pair(queries, examples, ("queries", "examples"))
    others = len(examples) - (itself is not None)
    if not 1 <= k <= others:
        raise UserError(f"k: {k} nearest neighbours, where an image has {others} to choose from; from 1 to {others}")
    indices, squares = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    for rows, x in blocks(queries, chunk):
        found = Neighbours(np.full((len(x), k), len(examples)), np.full((len(x), k), np.inf))
        for columns, y in blocks(examples, chunk):
            screen, error = screened_squares(x, y)
            if itself is not None:
                screen[itself[rows, None] == np.arange(columns.start, columns.stop)] = np.inf
            limit = found.squares[:, -1:]
            if columns.start == 0 and k < screen.shape[1]:  # nothing found yet: the k-th of this block will do
                limit = np.partition(screen, k - 1, axis=1)[:, k - 1 : k] + error
            pairs = np.nonzero((screen - error <= limit) & (screen < np.inf))
            found = _merge(found, pairs[0], columns.start + pairs[1], exact_squares(x, y, *pairs))
        indices[rows], squares[rows] = found
        progress(rows.stop, len(queries))
    return Neighbours(indices, squares)


def neighbours_within(
    x: Float[ArrayLike, "n d"], k: int, chunk: int = CHUNK, progress: OnProgress = silent
) -> Neighbours:
    """The k nearest of each of x [n, d] among the others of x."""
    return nearest(x, x, k, np.arange(len(np.asarray(x))), chunk, progress)


def screened_squares(
    x: Float64[np.ndarray, "a d"], y: Float64[np.ndarray, "b d"]
) -> tuple[Float64[np.ndarray, "a b"], Float64[np.ndarray, "a 1"]]:
    """Squared distances by one matrix product, and a bound, for each row, of how far `exact_squares` may be from them.

    Each of d-term sums errs by less than d u times the sum of magnitudes, u = eps / 2 (Higham 2002, 3.5): together
    less than 2 d eps (|x|^2 + |y|^2), with a few eps for centring, which keeps the norms small, and for the additions.
    """
    centre = y.mean(axis=0)
    a, b = x - centre, y - centre
    a_squares, b_squares = (a * a).sum(axis=1, keepdims=True), (b * b).sum(axis=1)
    squares = a @ b.T
    squares *= -2
    squares += a_squares
    squares += b_squares
    return squares, 2 * (x.shape[1] + 8) * np.finfo(np.float64).eps * (a_squares + b_squares.max())


def exact_squares(
    x: Float64[np.ndarray, "a d"],
    y: Float64[np.ndarray, "b d"],
    rows: Int64[np.ndarray, " p"],
    columns: Int64[np.ndarray, " p"],
) -> Float64[np.ndarray, " p"]:
    """sum (x_i - y_j)^2 of these pairs (i, j): the same number wherever, and either way round, it is asked for."""
    squares, step = np.empty(len(rows)), max(1, NUMBERS_AT_ONCE // x.shape[1])
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        squares[part] = np.square(x[rows[part]] - y[columns[part]]).sum(axis=1)
    return squares


def settle(
    screen: Float64[np.ndarray, "a b"],
    undecided: Bool[np.ndarray, "a b"],
    x: Float64[np.ndarray, "a d"],
    y: Float64[np.ndarray, "b d"],
) -> None:
    """Puts the exact squared distances into `screen`, where undecided."""
    pairs = np.nonzero(undecided)
    screen[pairs] = exact_squares(x, y, *pairs)


def _merge(
    found: Neighbours,
    rows: Int64[np.ndarray, " p"],
    indices: Int64[np.ndarray, " p"],
    squares: Float64[np.ndarray, " p"],
) -> Neighbours:
    """The k nearest of those found and these, by (distance, index)."""
    n, k = found.squares.shape
    rows = np.concatenate([np.repeat(np.arange(n), k), rows])
    indices = np.concatenate([found.indices.ravel(), indices])
    squares = np.concatenate([found.squares.ravel(), squares])
    order = np.lexsort((indices, squares, rows))
    first = np.searchsorted(rows[order], np.arange(n))
    chosen = order[first[:, None] + np.arange(k)]
    return Neighbours(indices[chosen], squares[chosen])
