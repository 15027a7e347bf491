"""Captions as arrays: the bytes of their UTF-8, zero after the last. No text has a zero byte: the mask is `> 0`."""

import unicodedata
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8

from diffjax.errors import UserError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_NAMES = tuple("0123456789")


def encode(texts: Iterable[str], length: int) -> UInt8[np.ndarray, "n {length}"]:
    """Each text's bytes, in Unicode's composed form (NFC), without spaces around it: [n, length], 0 after the last.

    A text of more bytes is cut after the last character that fits; `fits` tells. Raises UserError for a zero byte.
    """
    texts = list(texts)
    captions = np.zeros((len(texts), length), np.uint8)
    for row, text in zip(captions, texts, strict=True):
        data = cut(text, length).encode()
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return captions


def decode(captions: UInt8[np.ndarray, "n length"]) -> list[str]:
    """The texts that these are the bytes of."""
    return [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in np.asarray(captions, np.uint8)]


def cut(text: str, length: int) -> str:
    """What of a text is read: all of it, or as many characters as `length` bytes hold."""
    return _bytes(text)[:length].decode(errors="ignore").rstrip()


def fits(text: str, length: int) -> bool:
    """Whether all of a text is read."""
    return len(_bytes(text)) <= length


def longest(texts: Iterable[str]) -> int:
    """The bytes of the longest of them, at least 1."""
    return max((len(_bytes(text)) for text in texts), default=1) or 1


def sentences(template: str, class_names: Iterable[str]) -> list[str]:
    """A caption for each class: the template with the class's name in place of {}, spelled out if it is a digit."""
    return [template.replace("{}", DIGITS[int(name)] if name in DIGIT_NAMES else name) for name in class_names]


def distinct(texts: Iterable[str], most: int = 64) -> tuple[str, ...]:
    """The first texts that differ, to draw by where none is asked for; ("",) if there are none."""
    return tuple(dict.fromkeys(texts))[:most] or ("",)


def _bytes(text: str) -> bytes:
    if "\0" in text:
        raise UserError(f"prompt: {text!r} has a zero byte, which stands for the end of a text; leave it out")
    try:
        return unicodedata.normalize("NFC", text).strip().encode()
    except UnicodeEncodeError as error:  # a lone surrogate: what Python makes of a command line that is not UTF-8
        raise UserError(f"prompt: {text!r} is not UTF-8; give it in UTF-8") from error
