"""Arrays that come in batches are kept once, and a few rows stand for all."""

import weakref

import numpy as np

from diffjax.inference.rows import Rows, evenly
from diffjax.inference.sampling import Drawn, joined


def test_rows_that_come_in_batches_are_the_whole():
    whole, rows = np.arange(60, dtype=np.uint8).reshape(10, 3, 2), Rows(10)
    for part in np.split(whole, [4, 5, 9]):
        rows.add(part)
    np.testing.assert_array_equal(rows.array, whole)
    assert rows.array.dtype == np.uint8 and rows.done == 10


def test_of_samples_drawn_in_parts_no_part_outlives_the_next():
    alive = []

    def parts():
        for first in (0, 4, 8):
            label = np.arange(first, min(first + 4, 10))
            x, nfe = np.full((len(label), 2), first), 7 + label
            part = Drawn(x, label, nfe, not_finite=1, x_t=np.zeros((3, len(label), 2)))
            assert not any(ref() is not None for ref in alive[:-1])
            alive.append(weakref.ref(part.x))
            yield part
            del part, x

    drawn = joined(10, parts())
    np.testing.assert_array_equal(drawn.label, np.arange(10))
    np.testing.assert_array_equal(drawn.x[:, 0], [0] * 4 + [4] * 4 + [8] * 2)
    np.testing.assert_array_equal(drawn.nfe, 7 + np.arange(10))
    assert drawn.not_finite == 3 and drawn.x_t.shape == (3, 10, 2) and drawn.x0_hat is None


def test_a_few_stand_for_all_of_a_sorted_set():
    chosen = evenly(20, 1000)
    assert len(set(chosen)) == 20 and set(chosen // 100) == set(range(10))
    np.testing.assert_array_equal(evenly(9, 5), np.arange(5))
    assert len(evenly(3, 0)) == 0
