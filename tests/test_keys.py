"""A run's randomness: what was drawn once is drawn again, and nothing is drawn twice."""

import jax
import numpy as np

from diffjax.keys import Role, key_of


def test_roles_keep_their_numbers_and_have_keys_of_their_own():
    assert {role.name: int(role) for role in Role} == {"INIT": 0, "STEP": 1, "DRAW": 2, "MEASURE": 3}
    keys = [jax.random.key_data(key_of(seed, role)).tolist() for seed in (0, 1) for role in Role]
    assert len({tuple(key) for key in keys}) == 8
    expected = jax.random.fold_in(jax.random.key(5), 2)
    np.testing.assert_array_equal(*map(jax.random.key_data, (key_of(5, Role.DRAW), expected)))
