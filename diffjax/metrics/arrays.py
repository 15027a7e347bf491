"""Features as the metrics of pairs take them: checked once, in float64 only block by block."""

from collections.abc import Iterator

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Float64

from diffjax.errors import UserError

CHUNK = 2048  # rows: two blocks of 2048 features, their products and a few masks take some 200 MB, whatever n


def checked_features(name: str, features: Float[ArrayLike, "n d"], at_least: int = 1) -> Float[np.ndarray, "n d"]:
    """The features [n, d], in their own precision. Raises UserError on fewer than `at_least`, on NaN and infinity."""
    features = np.asarray(features)
    if len(features) < at_least:
        raise UserError(f"{name}: {len(features)} images; at least {at_least} are needed")
    broken = sum(int((~np.isfinite(block).all(axis=1)).sum()) for _, block in blocks(features))
    if broken:
        raise UserError(f"{name}: the features of {broken} images of {len(features)} are NaN or infinite")
    return features


def checked_pair(
    x: Float[ArrayLike, "n d1"], y: Float[ArrayLike, "m d2"], names: tuple[str, str], at_least: int = 1
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """Two sets of features, of as many dimensions. Raises UserError as `checked_features` does, or if they differ."""
    x, y = checked_features(names[0], x, at_least), checked_features(names[1], y, at_least)
    if x.shape[1] != y.shape[1]:
        raise UserError(f"features: {x.shape[1]} against {y.shape[1]} dimensions; compare like with like")
    return x, y


def blocks(x: Float[np.ndarray, "n d"], chunk: int = CHUNK) -> Iterator[tuple[slice, Float64[np.ndarray, "b d"]]]:
    """At most `chunk` rows at a time: where they are, and they themselves in float64."""
    if chunk < 1:
        raise UserError(f"chunk: {chunk} rows at a time; at least 1")
    for start in range(0, len(x), chunk):
        part = slice(start, min(start + chunk, len(x)))
        yield part, np.asarray(x[part], np.float64)
