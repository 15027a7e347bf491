"""Stacked MNIST: three digits an image, drawn by the seed alone, the same set for everyone."""

import jax
import numpy as np
import pytest

from diffjax.data import TFDS, Digits, StackedMNIST, Stream
from diffjax.errors import UserError
from diffjax.parallel import layout
from tests.prepared import PREPARED, needs_mnist

MNIST = str(PREPARED)
TABLE = [[757, 26, 952], [686, 817, 1323], [550, 516, 710]]
SMALL = "4237639d597410f43aa1f96b74016643e7e2178255287bf3e3ba661155510383"
MNIST_SMALL = "47e3b99da00a4fde14021dd19fa83d1e35884ad61b5437ebe51dacbab89e7d31"
MNIST_FULL = "d9be35ec52c629d8f107ea22aa4787062753237559565aa45c848db4e8b2f6f8"  # 128,000 and 26,000 at 28x28, seed 0


def small(**fields):
    return StackedMNIST(**{"base": "digits", "num_train": 300, "num_heldout": 100} | fields)


def test_the_images_are_three_digits_of_the_table_as_red_green_and_blue():
    source = small(labelled=True)
    for split in ("train", "heldout"):
        digits, images = Digits().split(split).arrays(), source.split(split).arrays()
        for three, x, label in zip(source.table(split), images["x"], images["label"], strict=True):
            for channel, one in enumerate(three):
                np.testing.assert_array_equal(x[..., channel], digits["x"][one, ..., 0])
            hundreds, tens, ones = digits["label"][three]
            assert label == 100 * hundreds + 10 * tens + ones
            assert source.space.class_names[label] == f"{hundreds}{tens}{ones}"


def test_heldout_images_hold_only_heldout_digits_and_training_images_none_of_them():
    heldout = {digit.tobytes() for digit in Digits().split("heldout").arrays()["x"]}
    source = small()
    for split, among in (("train", False), ("heldout", True)):
        digits = source.channels(source.split(split).arrays()["x"])
        assert {digit.tobytes() in heldout for digit in digits} == {among}


def test_the_table_depends_on_the_seed_alone_and_a_smaller_set_has_its_first_rows():
    for split in ("train", "heldout"):
        table = small().table(split)
        for same in (small(size=12), small(labelled=True), small(data_dir="/elsewhere")):
            np.testing.assert_array_equal(same.table(split), table)
        np.testing.assert_array_equal(small(num_train=20, num_heldout=20).table(split), table[:20])
        assert not np.array_equal(small(seed=1).table(split), table)


def test_the_set_stays_the_same_for_ever():
    # What was published of one set may never be said of another, so these may never change.
    np.testing.assert_array_equal(small().table("train")[:3], TABLE)
    assert small().sha256 == SMALL
    assert small(labelled=True).sha256 == small().sha256  # of the pixels
    assert len({small().sha256, small(seed=1).sha256, small(size=9).sha256, small(num_train=299).sha256}) == 4


@needs_mnist
def test_of_mnist_too():
    source = StackedMNIST(data_dir=MNIST, num_train=64, num_heldout=64)
    assert source.sha256 == MNIST_SMALL
    x, digits = source.split("heldout").arrays()["x"], TFDS("mnist", data_dir=MNIST).split("heldout")
    assert x.shape[1:] == source.space.shape == (28, 28, 3) and x.dtype == np.uint8
    for three, image in zip(source.table("heldout")[:9], x[:9], strict=True):
        np.testing.assert_array_equal(image, np.concatenate([digits[i]["x"] for i in three], axis=-1))


@pytest.mark.slow
@needs_mnist
def test_the_full_set_stays_the_same_for_ever():
    assert StackedMNIST(data_dir=MNIST).sha256 == MNIST_FULL


def test_digits_are_drawn_uniformly_and_independently():
    source = small(num_train=100_000, labelled=True)
    table, n = source.table("train"), 1438
    count = np.bincount(table.ravel(), minlength=n)
    assert len(count) == n
    expected = table.size / n
    assert abs(((count - expected) ** 2).sum() / expected - (n - 1)) < 4 * np.sqrt(2 * (n - 1))
    # One chi-square over the thousand modes tests that the three labels are independent, and equally distributed.
    share = np.bincount(Digits().split("train").arrays()["label"]) / n
    expected = 100_000 * np.einsum("a,b,c->abc", share, share, share).ravel()
    modes = np.bincount(source.split("train").arrays()["label"], minlength=1000)
    assert abs(((modes - expected) ** 2 / expected).sum() - 999) < 4 * np.sqrt(2 * 999)


def test_without_labels_there_are_none():
    source = small()
    assert source.space.num_classes == 0 and not source.split("train").arrays()["label"].any()
    assert small(labelled=True).space.num_classes == 1000


def test_one_example_is_the_row_of_the_arrays():
    examples = small(labelled=True).split("train")
    arrays = examples.arrays()
    assert len(examples) == len(arrays["x"]) == 300 and arrays["label"].dtype == np.int32
    np.testing.assert_array_equal(examples[7]["x"], arrays["x"][7])
    assert examples[7]["label"] == arrays["label"][7]
    some = np.array([299, 3, 3])
    np.testing.assert_array_equal(examples.take(some)["x"], arrays["x"][some])


@pytest.mark.parametrize("size, before, after", [(12, 2, 2), (11, 1, 2)])
def test_a_larger_size_is_a_black_margin_that_a_classifier_does_not_see(size, before, after):
    plain, framed = (small(size=s).split("train").arrays()["x"] for s in (0, size))
    around = (before, after)
    np.testing.assert_array_equal(framed, np.pad(plain, ((0, 0), around, around, (0, 0))))
    assert small(size=size).space.shape == (size, size, 3)
    np.testing.assert_array_equal(small(size=size).channels(framed), small().channels(plain))


@needs_mnist
def test_a_smaller_size_has_the_pixels_that_a_classifier_of_that_size_is_trained_on():
    source = StackedMNIST(data_dir=MNIST, num_train=30, num_heldout=30, size=8)
    digits = TFDS("mnist", data_dir=MNIST, size=8).split("train")
    x = source.split("train").arrays()["x"]
    np.testing.assert_array_equal(source.channels(x), digits.take(source.table("train").ravel())["x"])


@pytest.mark.parametrize("resident_bytes", [2**31, 0])
def test_the_pipeline_feeds_it_from_the_devices_and_from_the_host_alike(resident_bytes):
    source, at = small(labelled=True), layout()
    arrays = source.split("train").arrays()
    stream = Stream(source, 0, 16, 2, at, resident_bytes=resident_bytes)
    reference = Stream(source, 0, 16, 2, at)
    number = {image.tobytes(): label for image, label in zip(arrays["x"], arrays["label"], strict=True)}
    for _ in range(3):
        batch, other = jax.device_get((next(stream), next(reference)))
        np.testing.assert_array_equal(batch["x"], other["x"])
        assert batch["x"].shape == (2, 16, 8, 8, 3) and batch["x"].dtype == np.uint8
        images = batch["x"].reshape(32, 8, 8, 3)
        assert [number[image.tobytes()] for image in images] == batch["label"].ravel().tolist()


@pytest.mark.parametrize("modes", [1, 100, 700, 1000])
def test_restricted_data_have_that_many_modes_and_are_otherwise_the_held_out_data(modes):
    source, n = small(), 40_000
    label = source.heldout_digits["label"]
    table = source.restricted(modes, n)
    counts = np.bincount(label[table] @ [100, 10, 1], minlength=1000)
    assert table.shape == (n, 3) and (counts > 0).sum() == modes
    share = np.bincount(label) / len(label)
    expected = np.einsum("a,b,c->abc", share, share, share).ravel() * (counts > 0)
    expected *= n / expected.sum()
    spread = ((counts - expected)[counts > 0] ** 2 / expected[counts > 0]).sum()
    assert abs(spread - (modes - 1)) <= 4 * np.sqrt(2 * (modes - 1))
    if modes == 1000:  # every digit of a class alike
        digits, each = np.bincount(table.ravel(), minlength=len(label)), 3 * n / len(label)
        assert abs(((digits - each) ** 2).sum() / each - len(label)) < 4 * np.sqrt(2 * len(label))
    np.testing.assert_array_equal(source.restricted(modes, n), table)


def test_fewer_modes_are_some_of_those_of_more_and_do_not_share_their_digits():
    source = small()
    label = source.heldout_digits["label"]
    few, many = (set(map(tuple, label[source.restricted(modes, 20_000)])) for modes in (100, 700))
    assert few < many and all(len({mode[i] for mode in few}) == 10 for i in range(3))


def test_it_knows_the_digits_it_is_made_of():
    assert small(size=12).made_of(Digits())
    assert not small().made_of(Digits(heldout=0.5)) and not small().made_of(small())


@needs_mnist
def test_it_knows_mnist_at_its_own_size_wherever_it_lies():
    assert StackedMNIST(data_dir=MNIST, size=32).made_of(TFDS("mnist", data_dir=MNIST + "/", size=28))
    for other in (Digits(), TFDS("mnist", data_dir=MNIST, size=32), TFDS("mnist", data_dir=MNIST, flip=True)):
        assert not StackedMNIST(data_dir=MNIST, size=32).made_of(other)


@pytest.mark.parametrize(
    "field, value", [("base", "emnist"), ("num_train", 0), ("num_heldout", -1), ("seed", -1), ("size", -1), ("size", 6)]
)
def test_a_wrong_hyper_parameter_is_named(field, value):
    with pytest.raises(UserError, match=rf"^data\.{field}: .*{value}"):
        small(**{field: value})


def test_where_mnist_is_not_prepared_the_space_already_says_so(tmp_path):
    for size in (0, 8, 32):
        with pytest.raises(UserError, match="'tfds:mnist' is not prepared"):
            _ = StackedMNIST(data_dir=str(tmp_path), size=size).space
    with pytest.raises(UserError, match="'train' or 'heldout'"):
        small().split("test")
