"""Exact nearest neighbours, in memory that does not grow with the number of images.

|x|^2 + |y|^2 - 2 x.y is fast, but inaccurate for close pairs, and breaks ties by rounding. Here it only screens: a
bound on its rounding error shows which pairs it cannot decide, and those are recomputed from differences. So every
distance is (sum (x - y)^2)^1/2 in float64, symmetric and independent of the chunk size, and ties stay ties.

It runs on the host: on a CPU, double-precision products take about the same time in NumPy and in JAX.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Float64, Int, Int64

from diffjax.errors import UserError
from diffjax.host.progress import OnProgress, silent
from diffjax.metrics.arrays import CHUNK, blocks, checked_pair

NUMBERS_AT_ONCE = 1 << 20  # differences held in memory: 8 MB


class Neighbours(NamedTuple):
    """The k nearest examples of every query, nearest first; ties are ordered by index."""

    indices: Int64[np.ndarray, "n k"]
    squares: Float64[np.ndarray, "n k"]  # squared distances: a root could create ties


def nearest(
    queries: Float[ArrayLike, "n d1"],
    examples: Float[ArrayLike, "m d2"],
    k: int = 1,
    itself: Int[np.ndarray, " n"] | None = None,
    chunk: int = CHUNK,
    progress: OnProgress = silent,  # counts queries
) -> Neighbours:
    """Finds the k nearest of `examples` [m, d] to each of `queries` [n, d], in Euclidean distance.

    If the queries are themselves examples, `itself` has the index of each, so that it is not its own neighbour; a
    duplicate of it still is. O(n m d) time, O(chunk^2 + chunk d) memory. Raises UserError on bad features, and if there
    are fewer than k examples.
    """
    queries, examples = checked_pair(queries, examples, ("queries", "examples"))
    num_candidates = len(examples) - (itself is not None)
    if not 1 <= k <= num_candidates:
        raise UserError(f"k: {k} nearest neighbours among {num_candidates} images; must be from 1 to {num_candidates}")
    indices, squares = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
    for rows, x in blocks(queries, chunk):
        best = Neighbours(np.full((len(x), k), len(examples)), np.full((len(x), k), np.inf))
        for columns, y in blocks(examples, chunk):
            screen, error = screened_squares(x, y)
            if itself is not None:
                screen[itself[rows, None] == np.arange(columns.start, columns.stop)] = np.inf
            limit = best.squares[:, -1:]
            if columns.start == 0 and k < screen.shape[1]:  # first block: bound by its own k-th
                limit = np.partition(screen, k - 1, axis=1)[:, k - 1 : k] + error
            pairs = np.nonzero((screen - error <= limit) & (screen < np.inf))
            best = _merge(best, pairs[0], columns.start + pairs[1], exact_squares(x, y, *pairs))
        indices[rows], squares[rows] = best
        progress(rows.stop, len(queries))
    return Neighbours(indices, squares)


def neighbours_within(
    x: Float[ArrayLike, "n d"], k: int, chunk: int = CHUNK, progress: OnProgress = silent
) -> Neighbours:
    """Finds the k nearest of each of x [n, d] among the others of x."""
    return nearest(x, x, k, np.arange(len(np.asarray(x))), chunk, progress)


def screened_squares(
    x: Float64[np.ndarray, "a d"], y: Float64[np.ndarray, "b d"]
) -> tuple[Float64[np.ndarray, "a b"], Float64[np.ndarray, "a 1"]]:
    """Squared distances by one matrix product, and a bound for each row on their error to `exact_squares`.

    The error of a d-term sum is less than d u times the sum of magnitudes, u = eps / 2 (Higham 2002, 3.5): together
    less than 2 d eps (|x|^2 + |y|^2), plus a few eps for centring, which keeps the norms small, and for the additions.
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
    """Sum (x_i - y_j)^2 for pairs (i, j): symmetric, and independent of how pairs are grouped."""
    squares, step = np.empty(len(rows)), max(1, NUMBERS_AT_ONCE // x.shape[1])
    for start in range(0, len(rows), step):
        pairs = slice(start, start + step)
        squares[pairs] = np.square(x[rows[pairs]] - y[columns[pairs]]).sum(axis=1)
    return squares


def settle(
    screen: Float64[np.ndarray, "a b"],
    undecided: Bool[np.ndarray, "a b"],
    x: Float64[np.ndarray, "a d"],
    y: Float64[np.ndarray, "b d"],
) -> None:
    """Replaces the undecided entries of `screen` by exact squared distances, in place."""
    pairs = np.nonzero(undecided)
    screen[pairs] = exact_squares(x, y, *pairs)


def _merge(
    found: Neighbours,
    rows: Int64[np.ndarray, " p"],
    indices: Int64[np.ndarray, " p"],
    squares: Float64[np.ndarray, " p"],
) -> Neighbours:
    """The k nearest among `found` and the given pairs, by (distance, index)."""
    n, k = found.squares.shape
    rows = np.concatenate([np.repeat(np.arange(n), k), rows])
    indices = np.concatenate([found.indices.ravel(), indices])
    squares = np.concatenate([found.squares.ravel(), squares])
    order = np.lexsort((indices, squares, rows))
    starts = np.searchsorted(rows[order], np.arange(n))
    selected = order[starts[:, None] + np.arange(k)]
    return Neighbours(indices[selected], squares[selected])
