"""What takes long says how far it is: in order, up to the whole, and no number depends on it."""

import numpy as np
import pytest

from diffjax.metrics import Moments, frechet_infinity, kid_of_all_pairs, kid_of_subsets, memorisation, prdc

X, Y = (np.random.default_rng(i).normal(size=(n, 3)) for i, n in enumerate((60, 50)))
LONG = {
    "frechet_infinity": lambda **progress: frechet_infinity(X, Moments.of(Y), 10, **progress).value,
    "kid_of_subsets": lambda **progress: kid_of_subsets(X, Y, 7, 20, **progress),
    "kid_of_all_pairs": lambda **progress: kid_of_all_pairs(X, Y, 16, **progress),
    "prdc": lambda **progress: prdc(X, Y, chunk=16, **progress),
    "memorisation": lambda **progress: memorisation(X, Y, 16, **progress).auth_pct,
}
STEPS = {  # points; subsets; blocks of 16 rows of 60, of 50 and across; and so on
    "frechet_infinity": 15,
    "kid_of_subsets": 7,
    "kid_of_all_pairs": 4 + 4 + 4,
    "prdc": 4 + 4 + 4,
}


@pytest.mark.parametrize("name", LONG)
def test_each_tells_how_far_it_is(name):
    told = []
    value = LONG[name](progress=lambda done, total: told.append((done, total)))
    done, totals = zip(*told, strict=True)
    assert len(set(totals)) == 1 and done[-1] == totals[0]
    assert list(done) == sorted(set(done)) and done[0] > 0
    assert len(told) == STEPS.get(name, len(told)) and len(told) > 4
    assert value == LONG[name]()
