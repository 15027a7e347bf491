"""Captions as bytes: encoded and decoded they are the same, cut between characters, and padded by zeros alone."""

import numpy as np
import pytest

from diffjax.data.text import cut, decode, encode, fits
from diffjax.errors import UserError


@pytest.mark.parametrize("text", ["", "a red circle", "café à côté", "三つの青い円", "🟥 above 🔵"])
def test_what_is_encoded_is_decoded(text):
    captions = encode([text], 40)
    assert captions.shape == (1, 40) and decode(captions) == [text]
    assert (captions[0] > 0).sum() == len(text.encode())  # the mask


def test_a_long_text_is_cut_after_a_whole_character():
    assert cut("abcé", 4) == "abc" and cut("abcé", 5) == "abcé" and cut("ab cd", 3) == "ab"
    assert not fits("abcé", 4) and fits("abcé", 5)
    assert decode(encode(["日本語"], 8)) == ["日本"]


def test_two_ways_to_write_an_accent_are_one():
    np.testing.assert_array_equal(encode(["cafe\u0301"], 8), encode(["caf\u00e9"], 8))
    np.testing.assert_array_equal(encode([" red "], 8), encode(["red"], 8))


@pytest.mark.parametrize(("text", "said"), [("a\0b", "zero byte"), ("a\udce9", "not UTF-8")])
def test_what_is_no_text_is_refused(text, said):
    with pytest.raises(UserError, match=said):
        encode([text], 8)
