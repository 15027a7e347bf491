"""Precision, recall, density and coverage of samples, by balls around images that reach to their k-th neighbour.

PRECISION: share of the samples inside some ball of the reference. RECALL: share of the reference inside some ball of
the samples (Kynkaanniemi et al. 2019, eq. 2). DENSITY: how many balls of the reference a sample lies in, over k, on
average; it may exceed 1. COVERAGE: share of the reference's balls that hold a sample (Naeem et al. 2020, section 3).

Two conventions are in use, which differ in k and in whether a ball has its surface. In the released code of both, and
in torch-fidelity, an image is not its own neighbour: the k-th counted is the (k + 1)-th with itself in the list.
torch-fidelity took its first input for the real images before 0.4, and takes it for the samples since: its older
precision may be a recall.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from diffjax.errors import UserError
from diffjax.metrics.arrays import CHUNK, blocks, checked_pair
from diffjax.metrics.nearest import neighbours_within, screened_squares, settle
from diffjax.metrics.progress import OnProgress, part_of, silent


class Convention(NamedTuple):
    """What a ball is: it reaches to the k-th neighbour, and if closed a point at just that distance is inside."""

    k: int
    closed: bool


CONVENTIONS = {
    # The paper and its code, torch-fidelity, StyleGAN's, ADM's: one convention, but ADM's features are Inception's, and
    # the others' VGG-16's.
    "kynkaanniemi": Convention(k=3, closed=True),
    "naeem": Convention(k=5, closed=False),  # the package prdc, whose k is an argument, 5 in its paper; dgm-eval
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
    progress: OnProgress = silent,  # of the rows of distances that are done
) -> dict[str, PRDC]:
    """The four numbers by each convention (default: both of `CONVENTIONS`), of samples [n, d] and reference [m, d].

    Distances are measured once, in float64, ties exactly. O((n + m)^2 d) time, O(chunk^2 + chunk d) memory. All four
    depend on n, m and k. Raises UserError on bad features, and unless both sets have more than k images.
    """
    conventions = CONVENTIONS if conventions is None else conventions
    samples, reference = checked_pair(samples, reference, ("samples", "reference"))
    ks = sorted({convention.k for convention in conventions.values()})
    n, m = len(samples), len(reference)
    fewest, which = (n, "samples") if n <= m else (m, "reference")
    if not 1 <= ks[0] <= ks[-1] < fewest:
        raise UserError(f"k: {ks[-1] if ks[0] > 0 else ks[0]} neighbours of {fewest} {which}; from 1 to {fewest - 1}")
    total = m + n + m
    around_reference = neighbours_within(reference, ks[-1], chunk, part_of(progress, 0, total)).squares
    around_samples = neighbours_within(samples, ks[-1], chunk, part_of(progress, m, total)).squares
    hits = {name: np.zeros(n, int) for name in conventions}
    covered, recalled = ({name: np.zeros(m, bool) for name in conventions} for _ in range(2))
    for rows, x in blocks(reference, chunk):
        for columns, y in blocks(samples, chunk):
            squares, error = screened_squares(x, y)
            radii = {k: (around_reference[rows, k - 1 : k], around_samples[columns, k - 1]) for k in ks}
            near = np.zeros(squares.shape, bool)
            for radius in (radius for both in radii.values() for radius in both):
                near |= np.abs(squares - radius) <= error
            settle(squares, near, x, y)
            for name, (k, closed) in conventions.items():
                inside = np.less_equal if closed else np.less
                of_reference, of_samples = (inside(squares, radius) for radius in radii[k])
                hits[name][columns] += of_reference.sum(axis=0)
                covered[name][rows] |= of_reference.any(axis=1)
                recalled[name][rows] |= of_samples.any(axis=1)
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
    """The coverage of n samples that are drawn as the m reference images were, on average (Naeem et al. 2020).

    A ball stays empty if the k nearest of the other m - 1 + n images are all of the reference: 1 minus the product of
    (m - j) / (m + n - j) over j = 1 .. k, for any distribution without ties. The mean density is then 1. Take k with
    this above 0.95: 5 does at n = m.
    """
    j = np.arange(1, k + 1)
    return float(1 - np.prod((m - j) / (m + n - j)))
