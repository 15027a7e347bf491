"""Files of reference statistics: whole, of these features, and nothing that is no number."""

import json

import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.metrics import Moments, is_statistics, load_statistics, save_statistics

FEATURES = {"network": "pixels", "resize": "none"}
MOMENTS = Moments.of(np.random.default_rng(0).normal(size=(9, 3)))
OURS = {"features": FEATURES, "quantisation": "uint8", "flip": False}
PROTOCOL = OURS | {"reference": 9, "reference_hash": "f00"}


def test_what_is_kept_comes_back(tmp_path):
    save_statistics(tmp_path / "kept.npz", MOMENTS, PROTOCOL)
    moments, protocol = load_statistics(tmp_path / "kept.npz", OURS)
    assert moments.n == 9 and protocol == PROTOCOL and is_statistics(tmp_path / "kept.npz")
    np.testing.assert_array_equal(moments.scatter, MOMENTS.scatter)


def test_a_file_of_before_the_hash_says_that_it_is_absent(tmp_path):
    save_statistics(tmp_path / "old.npz", MOMENTS, {"features": FEATURES, "reference": 9, "images": "digits heldout"})
    assert load_statistics(tmp_path / "old.npz", OURS)[1]["reference_hash"] == "absent"


NOT_FINITE = np.array([0.0, np.nan, 0.0])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scatter": None}, "says nothing of scatter; make one from the images"),
        ({"mean": NOT_FINITE}, "the mean in .* is not finite"),
        ({"scatter": np.full((3, 3), np.inf)}, "the scatter in .* is not finite"),
        ({"mean": np.zeros(3, np.float32)}, r"the mean in .* is float32 \(3,\); it is float64 \[d\]"),
        ({"mean": np.zeros((3, 1))}, r"the mean in .* is float64 \(3, 1\); it is float64 \[d\]"),
        ({"mean": np.zeros(3, complex)}, "the mean in .* is complex128"),
        ({"scatter": np.eye(2)}, r"the scatter in .* is float64 \(2, 2\); it is float64 \[d, d\] for a mean of \(3,\)"),
        ({"n": 1}, "has n = 1; must be an integer of at least 2"),
        ({"n": 9.5}, "has n = 9.5"),
        ({"n": np.array([9, 9])}, r"has n = \[9 9\]"),
        ({"protocol": "[]"}, "says nothing of features, reference"),
        ({"protocol": '"text"'}, "says nothing of features, reference"),
        ({"protocol": '{"features": "pixels", "reference": 9}'}, "features of .* are 'pixels'; must be a JSON object"),
        ({"protocol": "{"}, "cannot be read"),
        ({"scatter": np.diag([1.0, -1.0, 1.0])}, "the scatter in .* is not symmetric, or its diagonal is negative"),
        ({"scatter": np.triu(np.ones((3, 3)))}, "the scatter in .* is not symmetric"),
        ({"n": 8}, "has moments of 8 images, its protocol says 9"),
        (
            {"protocol": json.dumps(PROTOCOL | {"flip": True, "quantisation": "float"})},
            r"differs in flip \(True against False\), quantisation \(float against uint8\); measure both alike",
        ),
        ({"mean": np.array([{}], object)}, "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(fields, said, tmp_path):
    whole = {"n": 9, "mean": MOMENTS.mean, "scatter": MOMENTS.scatter}
    whole |= {"protocol": '{"features": {"network": "pixels", "resize": "none"}, "reference": 9}'}
    np.savez(tmp_path / "file.npz", **{name: value for name, value in (whole | fields).items() if value is not None})
    with pytest.raises(UserError, match=said) as error:
        load_statistics(tmp_path / "file.npz", OURS)
    assert "\n" not in str(error.value) and is_statistics(tmp_path / "file.npz")


def test_anothers_statistics_are_known_as_such_and_images_are_not(tmp_path):
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(3), sigma=np.eye(3))
    np.savez(tmp_path / "images.npz", x=np.zeros((2, 8, 8, 1), np.uint8), n=2)
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    assert [is_statistics(tmp_path / f"{name}.npz") for name in ("theirs", "images", "torn")] == [True, False, False]
    with pytest.raises(UserError, match="holds mu and sigma as pytorch-fid keeps them, .* how many .*; make"):
        load_statistics(tmp_path / "theirs.npz", OURS)
