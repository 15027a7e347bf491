"""Captions as arrays of UTF-8 bytes, padded with zeros. No text has a zero byte, so the mask is `> 0`."""

import unicodedata
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8

from diffjax.errors import UserError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_NAMES = tuple("0123456789")


def encode(texts: Iterable[str], length: int) -> UInt8[np.ndarray, "n {length}"]:
    """Encodes texts to bytes [n, length], padded with zeros, in Unicode's composed form (NFC), stripped of whitespace.

    A longer text is cut after the last character that fits; see `fits`. Raises UserError for a zero byte.
    """
    texts = list(texts)
    captions = np.zeros((len(texts), length), np.uint8)
    for row, text in zip(captions, texts, strict=True):
        data = cut(text, length).encode()
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return captions


def decode(captions: UInt8[np.ndarray, "n length"]) -> list[str]:
    """Decodes bytes [n, length] to texts."""
    return [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in np.asarray(captions, np.uint8)]


def cut(text: str, length: int) -> str:
    """The part of a text that is read: all of it, or as many characters as `length` bytes hold."""
    return _bytes(text)[:length].decode(errors="ignore").rstrip()


def fits(text: str, length: int) -> bool:
    """Whether a text has at most `length` bytes, so that none of it is cut."""
    return len(_bytes(text)) <= length


def longest(texts: Iterable[str]) -> int:
    """The number of bytes of the longest text, at least 1."""
    return max((len(_bytes(text)) for text in texts), default=1) or 1


def sentences(template: str, class_names: Iterable[str]) -> list[str]:
    """A caption for each class: the template with {} replaced by the class name; digits are spelled out."""
    return [template.replace("{}", DIGITS[int(name)] if name in DIGIT_NAMES else name) for name in class_names]


def distinct(texts: Iterable[str], most: int = 64) -> tuple[str, ...]:
    """The first `most` distinct texts, as default prompts; ("",) if there are none."""
    return tuple(dict.fromkeys(texts))[:most] or ("",)


def _bytes(text: str) -> bytes:
    if "\0" in text:
        raise UserError(f"prompt: {text!r} has a zero byte, which marks the end of a text; must have none")
    try:
        return unicodedata.normalize("NFC", text).strip().encode()
    except UnicodeEncodeError as error:  # a lone surrogate, from a command line that is not UTF-8
        raise UserError(f"prompt: {text!r} is not UTF-8; give it in UTF-8") from error
