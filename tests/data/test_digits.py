"""The digits: the real ones, split by class, the same way every time."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from diffjax.data import Digits
from diffjax.data.text import decode
from diffjax.errors import UserError


def test_the_two_splits_together_are_scikit_learns_digits_and_share_none():
    source = Digits()
    train, heldout = (source.split(name).arrays() for name in ("train", "heldout"))
    assert train["x"].dtype == np.uint8 and train["x"].shape[1:] == source.space.shape == (8, 8, 1)
    there = np.concatenate([np.c_[part["x"].reshape(len(part["x"]), -1), part["label"]] for part in (train, heldout)])
    digits = load_digits()
    stored = np.array([round(255 / 16 * v) for v in range(17)])[digits.data.astype(int)]
    original = np.c_[stored, digits.target]
    assert sorted(map(tuple, there)) == sorted(map(tuple, original))  # all 1,797, which differ from each other
    assert len(set(map(tuple, original))) == 1797


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_every_class_gives_the_same_fraction_to_the_heldout_split(fraction):
    source = Digits(heldout=fraction)
    train, heldout = (np.bincount(source.split(name).arrays()["label"]) for name in ("train", "heldout"))
    np.testing.assert_array_equal(heldout, np.round(fraction * (train + heldout)))


def test_the_seed_decides_the_split():
    heldout = [Digits(split_seed=seed).split("heldout").arrays()["x"] for seed in (0, 0, 1)]
    assert np.array_equal(heldout[0], heldout[1]) and not np.array_equal(heldout[0], heldout[2])


def test_one_example_is_the_row_of_the_arrays_and_the_last_one_ends_an_iteration():
    examples = Digits().split("heldout")
    arrays = examples.arrays()
    assert np.array_equal(examples[7]["x"], arrays["x"][7]) and examples[7]["label"] == arrays["label"][7]
    assert sum(1 for _ in examples) == len(examples)


@pytest.mark.parametrize("wrong", [{"heldout": 0.0}, {"heldout": 1.0}, {"split_seed": -1}])
def test_a_wrong_hyper_parameter_is_named(wrong):
    with pytest.raises(UserError, match=f"data.{next(iter(wrong))}"):
        Digits(**wrong)


def test_an_unknown_split_is_an_error():
    with pytest.raises(UserError, match="'train' or 'heldout'"):
        Digits().split("test")


def test_digits_are_called_by_their_names():
    source = Digits(caption="a handwritten {}")
    batch, plain = source.split("train").arrays(), Digits().split("train").arrays()
    assert decode(batch["caption"][:50]) == [source.space.prompts[label] for label in batch["label"][:50]]
    assert source.space.prompts[7] == "a handwritten seven" and source.space.caption == len("a handwritten seven")
    np.testing.assert_array_equal(batch["x"], plain["x"])  # nothing else changes
    with pytest.raises(UserError, match="data.caption: 'a digit' has no {} for the name of the class"):
        Digits(caption="a digit")
