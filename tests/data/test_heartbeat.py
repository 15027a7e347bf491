"""The heartbeat: what its sequences are, how likely, and that categories pass through their space unharmed."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.data import Heartbeat
from diffjax.errors import UserError


def test_a_heartbeat_is_twenty_bits_with_a_beat_every_five_at_any_phase():
    sequences = Heartbeat().sequences
    assert sequences.shape == (5, 20) and sequences.dtype == np.uint8
    assert len(np.unique(sequences, axis=0)) == 5 and (sequences.sum(axis=1) == 4).all()
    np.testing.assert_array_equal(sequences[2], [0, 0, 1, 0, 0] * 4)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_all_phases_are_equally_likely(split):
    source = Heartbeat(num_heldout=10_000)
    x = source.split(split).arrays()["x"]
    count = (x[:, None] == source.sequences).all(axis=-1).sum(axis=0)
    assert count.sum() == len(x) == 10_000
    assert np.sum((count - 2000) ** 2) / 2000 < 18.5  # chi squared with 4 degrees of freedom: 1 in 1,000


def test_the_true_log_likelihood_and_the_papers_null_model_are_what_the_paper_implies():
    source = Heartbeat()
    np.testing.assert_allclose(source.log_likelihood / np.log(2), -2.3219, atol=5e-5)
    rate = source.split("train").arrays()["x"].mean()
    np.testing.assert_allclose(20 * (rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate)), -14.4386, atol=5e-5)


def test_train_and_heldout_are_different_draws_and_the_seed_repeats_both():
    train, heldout = (Heartbeat(num_heldout=10_000).split(name).arrays()["x"] for name in ("train", "heldout"))
    assert not np.array_equal(train, heldout)
    np.testing.assert_array_equal(Heartbeat().split("train").arrays()["x"], train)
    assert not np.array_equal(Heartbeat(seed=1).split("train").arrays()["x"], train)


def test_categories_are_integers_in_the_model_and_come_back_as_they_were():
    source = Heartbeat()
    space, x = source.space, source.sequences
    assert (space.kind, space.shape, space.values, space.num_classes) == ("categories", (20,), 2, 0)
    assert space.to_model(jnp.asarray(x)).dtype == jnp.int32 and space.stored == jnp.uint8
    np.testing.assert_array_equal(space.from_model(space.to_model(jnp.asarray(x))), x)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"period": 0}, "data.period"), ({"period": 21}, "data.period"), ({"num_train": 0}, "data.num_train"),
     ({"seed": -1}, "data.seed")],
)  # fmt: skip
def test_a_wrong_hyper_parameter_is_named(options, field):
    with pytest.raises(UserError, match=field):
        Heartbeat(**options)
