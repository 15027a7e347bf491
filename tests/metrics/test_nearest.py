import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.metrics import nearest, neighbours_within

RNG = np.random.default_rng


def brute_force(queries, examples, k, itself=None):
    squares = np.square(queries[:, None].astype(float) - examples[None]).sum(axis=-1)
    if itself is not None:
        squares[np.arange(len(queries)), itself] = np.inf
    indices = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return indices, np.take_along_axis(squares, indices, axis=1)


@pytest.mark.parametrize("chunk", [1, 7, 64, 2048])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_they_are_those_of_brute_force_to_the_last_bit_for_any_chunk(chunk, k):
    queries, examples = RNG(0).normal(size=(30, 17)), RNG(1).normal(size=(41, 17))
    found = nearest(queries, examples, k, chunk=chunk)
    indices, squares = brute_force(queries, examples, k)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.squares, squares)


@pytest.mark.parametrize("chunk", [5, 2048])
def test_close_pairs_far_from_the_origin_keep_their_distances(chunk):
    """|x|^2 + |y|^2 - 2 x.y alone has errors of order 1 here, and would order the neighbours at random."""
    examples = 1e8 + RNG(0).integers(0, 50, size=(60, 8)).astype(float)
    queries = examples[:20] + RNG(1).integers(0, 2, size=(20, 8))
    indices, squares = brute_force(queries, examples, 3)
    found = nearest(queries, examples, 3, chunk=chunk)
    np.testing.assert_array_equal(found.squares, squares)
    np.testing.assert_array_equal(found.indices, indices)


def test_outliers_do_not_blur_the_rest():
    examples = np.concatenate([RNG(0).normal(size=(50, 4)), [[1e12, 0, 0, 0]]])
    indices, squares = brute_force(examples, examples, 4, np.arange(51))
    found = neighbours_within(examples, 4, chunk=9)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.squares, squares)


@pytest.mark.parametrize("chunk", [1, 4, 2048])
def test_of_neighbours_as_near_the_one_that_stands_first_comes_first(chunk):
    grid = np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0)), axis=-1).reshape(30, 2)[RNG(0).permutation(30)]
    indices, squares = brute_force(grid, grid, 6, np.arange(30))
    found = neighbours_within(grid, 6, chunk)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.squares, squares)
    same = nearest(np.zeros((3, 2)), np.zeros((10, 2)), 4, chunk=chunk)
    np.testing.assert_array_equal(same.indices, [[0, 1, 2, 3]] * 3)


def test_nobody_is_its_own_neighbour_but_a_twin_is():
    x = np.array([[0.0], [0.0], [3.0], [7.0]])
    found = neighbours_within(x, 2)
    np.testing.assert_array_equal(found.indices, [[1, 2], [0, 2], [0, 1], [2, 0]])
    np.testing.assert_array_equal(found.squares, [[0, 9], [0, 9], [9, 9], [16, 49]])
    some = nearest(x[[3, 1]], x, 1, itself=np.array([3, 1]))
    np.testing.assert_array_equal(some.indices, [[2], [0]])


def test_float32_features_are_compared_in_float64():
    x = (1000 + RNG(0).normal(size=(40, 30))).astype(np.float32)
    indices, squares = brute_force(x, x, 3, np.arange(40))
    found = neighbours_within(x, 3)
    np.testing.assert_array_equal(found.squares, squares)
    np.testing.assert_array_equal(found.indices, indices)


def test_distances_are_the_same_from_either_end():
    x, y = RNG(0).normal(size=(9, 33)), RNG(1).normal(size=(7, 33))
    there, back = nearest(x, y, 7), nearest(y, x, 9, chunk=2)
    for i in range(9):
        for j in range(7):
            assert there.squares[i, there.indices[i] == j] == back.squares[j, back.indices[j] == i]


def test_unusable_arguments_are_refused():
    x = np.zeros((5, 2))
    with pytest.raises(UserError, match="k: 5 nearest neighbours among 4 images; must be from 1 to 4"):
        neighbours_within(x, 5)
    with pytest.raises(UserError, match="k: 0"):
        nearest(x, x, 0)
    with pytest.raises(UserError, match="chunk: 0"):
        nearest(x, x, chunk=0)
    with pytest.raises(UserError, match="2 against 3 dimensions"):
        nearest(x, np.zeros((5, 3)))
    with pytest.raises(UserError, match="examples: the features of 1 images of 5 are NaN"):
        nearest(x, np.where(np.arange(5)[:, None] == 2, np.nan, x))
    with pytest.raises(UserError, match="queries: 0 images"):
        nearest(x[:0], x)
