"""Precision, recall, density and coverage of samples, by balls around images with radius to their k-th neighbour.

PRECISION: share of samples inside some ball of the reference. RECALL: share of the reference inside some ball of the
samples (Kynkaanniemi et al. 2019, eq. 2). DENSITY: mean number of reference balls that contain a sample, divided by k;
it may exceed 1. COVERAGE: share of reference balls that contain a sample (Naeem et al. 2020, section 3).

Two conventions are in use, which differ in k and in whether balls are closed. In the released code of both, and in
torch-fidelity, an image is not its own neighbour: the k-th neighbour is the (k + 1)-th of a list that includes it.
torch-fidelity took its first input as the real images before version 0.4, and takes it as the samples since: precision
from older versions may be recall.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from diffjax.errors import UserError
from diffjax.host.progress import OnProgress, part_of, silent
from diffjax.metrics.arrays import CHUNK, blocks, checked_pair
from diffjax.metrics.nearest import neighbours_within, screened_squares, settle


class Convention(NamedTuple):
    """The definition of a ball: its radius reaches the k-th neighbour; if closed, it includes its surface."""

    k: int
    closed: bool


CONVENTIONS = {
    # The paper and its code, torch-fidelity, StyleGAN and ADM; ADM uses Inception features, the others VGG-16.
    "kynkaanniemi": Convention(k=3, closed=True),
    "naeem": Convention(k=5, closed=False),  # the package prdc (k is an argument; 5 in its paper), dgm-eval
}


class PRDC(NamedTuple):
    precision: float
    recall: float
    density: float
    coverage: float


def prdc(
    samples: Float[ArrayLike, "n d1"],
    reference: Float[ArrayLike, "m d2"],
    conventions: dict[str, Convention] | None = None,
    chunk: int = CHUNK,
    progress: OnProgress = silent,  # counts rows of distances
) -> dict[str, PRDC]:
    """{convention: PRDC} of samples [n, d] and reference [m, d]; by default for both `CONVENTIONS`.

    Distances are computed once, in float64, with exact ties. O((n + m)^2 d) time, O(chunk^2 + chunk d) memory. All four
    numbers depend on n, m and k. Raises UserError on bad features, and unless both sets have more than k images.
    """
    conventions = CONVENTIONS if conventions is None else conventions
    samples, reference = checked_pair(samples, reference, ("samples", "reference"))
    ks = sorted({convention.k for convention in conventions.values()})
    n, m = len(samples), len(reference)
    smallest_set, set_name = (n, "samples") if n <= m else (m, "reference")
    if not 1 <= ks[0] <= ks[-1] < smallest_set:
        raise UserError(
            f"k: {ks[-1] if ks[0] > 0 else ks[0]} neighbours of {smallest_set} {set_name};"
            f" must be from 1 to {smallest_set - 1}"
        )
    total = m + n + m
    reference_radii = neighbours_within(reference, ks[-1], chunk, part_of(progress, 0, total)).squares
    sample_radii = neighbours_within(samples, ks[-1], chunk, part_of(progress, m, total)).squares
    hits = {name: np.zeros(n, int) for name in conventions}
    covered, recalled = ({name: np.zeros(m, bool) for name in conventions} for _ in range(2))
    for rows, x in blocks(reference, chunk):
        for columns, y in blocks(samples, chunk):
            squares, error = screened_squares(x, y)
            radii = {k: (reference_radii[rows, k - 1 : k], sample_radii[columns, k - 1]) for k in ks}
            near = np.zeros(squares.shape, bool)
            for radius in (radius for pair in radii.values() for radius in pair):
                near |= np.abs(squares - radius) <= error
            settle(squares, near, x, y)
            for name, (k, closed) in conventions.items():
                inside = np.less_equal if closed else np.less
                in_reference_ball, in_sample_ball = (inside(squares, radius) for radius in radii[k])
                hits[name][columns] += in_reference_ball.sum(axis=0)
                covered[name][rows] |= in_reference_ball.any(axis=1)
                recalled[name][rows] |= in_sample_ball.any(axis=1)
        progress(m + n + rows.stop, total)
    return {
        name: PRDC(
            precision=float((hits[name] > 0).mean()),
            recall=float(recalled[name].mean()),
            density=float(hits[name].mean() / k),
            coverage=float(covered[name].mean()),
        )
        for name, (k, _) in conventions.items()
    }


def expected_coverage(n: int, m: int, k: int) -> float:
    """The expected coverage of n samples from the distribution of the m reference images (Naeem et al. 2020).

        1 - prod over j = 1 .. k of (m - j) / (m + n - j),

    for any distribution without ties, as a ball stays empty if the k nearest of the other m - 1 + n images are all in
    the reference. The expected density is then 1. Choose k so that the coverage is above 0.95: 5 suffices at n = m.
    """
    j = np.arange(1, k + 1)
    return float(1 - np.prod((m - j) / (m + n - j)))
