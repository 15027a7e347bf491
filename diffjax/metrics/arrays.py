"""Checks of features, and iteration over them in float64 blocks, for metrics of pairs."""

from collections.abc import Iterator

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Float64

from diffjax.errors import UserError

CHUNK = 2048  # rows: two blocks of 2048 features, their products and a few masks take some 200 MB, whatever n


def checked_features(name: str, features: Float[ArrayLike, "n d"], at_least: int = 1) -> Float[np.ndarray, "n d"]:
    """The features [n, d], in their own dtype. Raises UserError on fewer than `at_least`, NaN and infinity."""
    features = np.asarray(features)
    if len(features) < at_least:
        raise UserError(f"{name}: {len(features)} images; must be at least {at_least}")
    num_bad = sum(int((~np.isfinite(block).all(axis=1)).sum()) for _, block in blocks(features))
    if num_bad:
        raise UserError(
            f"{name}: the features of {num_bad} images of {len(features)} are NaN or infinite; must be finite"
        )
    return features


def checked_pair(
    x: Float[ArrayLike, "n d1"], y: Float[ArrayLike, "m d2"], names: tuple[str, str], at_least: int = 1
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """Both sets of features. Raises UserError as `checked_features` does, and if their dimensions differ."""
    x, y = checked_features(names[0], x, at_least), checked_features(names[1], y, at_least)
    if x.shape[1] != y.shape[1]:
        raise UserError(f"features: {x.shape[1]} against {y.shape[1]} dimensions; must be equal")
    return x, y


def blocks(x: Float[np.ndarray, "n d"], chunk: int = CHUNK) -> Iterator[tuple[slice, Float64[np.ndarray, "b d"]]]:
    """Yields blocks of at most `chunk` rows: their slice, and the rows in float64."""
    if chunk < 1:
        raise UserError(f"chunk: {chunk} rows; must be at least 1")
    for start in range(0, len(x), chunk):
        rows = slice(start, min(start + chunk, len(x)))
        yield rows, np.asarray(x[rows], np.float64)
