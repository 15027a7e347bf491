"""Files of reference statistics: the moments of features, and the protocol under which they were computed."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from diffjax.errors import UserError
from diffjax.host.atomic import atomic_write
from diffjax.metrics.frechet import Moments
from diffjax.metrics.protocol import ABSENT, canonical_json, differences

FIELDS = ("n", "mean", "scatter", "protocol")
OTHERS = ("mu", "sigma")  # fields in the files of pytorch-fid and its derivatives
UNREADABLE = (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile)  # NumPy, on damaged files
MAKE = "make one from the images themselves, with --reference=IMAGES --statistics=FILE.npz"


def save_statistics(path: str | Path, moments: Moments, protocol: dict[str, Any]) -> None:
    """Writes an .npz atomically: n, mean [d], scatter [d, d] in float64, and the protocol as JSON."""
    arrays = {"n": moments.n, "mean": moments.mean, "scatter": moments.scatter, "protocol": canonical_json(protocol)}
    with atomic_write(path) as partial_path, partial_path.open("wb") as file:
        np.savez(file, **arrays)


def is_statistics(path: str | Path) -> bool:
    """Whether this is an .npz of statistics, in our format or pytorch-fid's, even if incomplete, and not of images."""
    names = _names(path)
    return "x" not in names and not names.isdisjoint({*FIELDS, *OTHERS})


def is_ours(path: str | Path) -> bool:
    """Whether `save_statistics` wrote this file, so that it may be overwritten."""
    return _names(path) == set(FIELDS)


def _names(path: str | Path) -> set[str]:
    """The names of the arrays in an .npz; none if the file is missing, damaged or something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return set(file) if isinstance(file, np.lib.npyio.NpzFile) else set()
    except UNREADABLE:
        return set()


def load_statistics(path: str | Path, ours: dict[str, Any]) -> tuple[Moments, dict[str, Any]]:
    """Loads the moments and their protocol, which must agree with `ours` in "features" and in how images are read.

    Raises UserError for a file that is missing, damaged or of another kind, and naming the differences in protocol.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            _check_fields(path, file)
            n, mean, scatter = (file[name] for name in ("n", "mean", "scatter"))
            protocol = json.loads(str(file["protocol"]))
    except FileNotFoundError as error:
        raise UserError(f"statistics: there is no file {path}") from error
    except UNREADABLE as error:
        raise UserError(f"statistics: {path} cannot be read: {' '.join(str(error).split())}") from error
    moments = _checked(path, n, mean, scatter)
    return moments, _checked_protocol(path, protocol, moments.n, json.loads(canonical_json(ours)))


def _check_fields(path: str | Path, file: Any) -> None:
    if set(OTHERS) <= set(file):
        gap = "not of how many images, of which, by which network they are"
        raise UserError(f"statistics: {path} holds mu and sigma as pytorch-fid keeps them, but {gap}; {MAKE}")
    if missing := [name for name in FIELDS if name not in file]:
        raise UserError(f"statistics: {path} says nothing of {', '.join(missing)}; {MAKE}")


def _checked(path: str | Path, n: np.ndarray, mean: np.ndarray, scatter: np.ndarray) -> Moments:
    """Valid moments: an integer n >= 2, mean [d] and scatter [d, d] in finite float64. Raises UserError."""
    if n.shape != () or n.dtype.kind not in "iu" or n < 2:
        raise UserError(f"statistics: {path} has n = {n}; must be an integer of at least 2")
    for name, value, dimensions in (("mean", mean, 1), ("scatter", scatter, 2)):
        if value.dtype != np.float64 or value.shape != mean.shape[:1] * dimensions:
            shape = "[d]" if dimensions == 1 else f"[d, d] for a mean of {mean.shape}"
            raise UserError(f"statistics: the {name} in {path} is {value.dtype} {value.shape}; it is float64 {shape}")
        if not np.isfinite(value).all():
            raise UserError(f"statistics: the {name} in {path} is not finite; {MAKE}")
    if (
        not np.allclose(scatter, scatter.T, rtol=1e-9, atol=1e-9 * np.abs(scatter).max())
        or (np.diag(scatter) < 0).any()
    ):
        raise UserError(f"statistics: the scatter in {path} is not symmetric, or its diagonal is negative; {MAKE}")
    return Moments(int(n), mean, scatter)


def _checked_protocol(path: str | Path, protocol: Any, n: int, ours: dict[str, Any]) -> dict[str, Any]:
    """The protocol, if it agrees with `ours` and n. Files older than `reference_hash` have it as ABSENT."""
    stored = protocol if isinstance(protocol, dict) else {}
    if missing := {"features", "reference"} - set(stored):
        raise UserError(f"statistics: the protocol of {path} says nothing of {', '.join(sorted(missing))}; {MAKE}")
    if not isinstance(stored["features"], dict):
        raise UserError(f"statistics: the features of {path} are {stored['features']!r}; must be a JSON object; {MAKE}")
    mismatches = [f"features {line}" for line in differences(stored["features"], ours["features"])]
    shared = [name for name in ours if name in stored and name != "features"]
    mismatches += differences({name: stored[name] for name in shared}, {name: ours[name] for name in shared})
    if mismatches:
        raise UserError(f"statistics: {path} differs in {', '.join(mismatches)}; measure both alike")
    if stored["reference"] != n:
        raise UserError(
            f"statistics: {path} has moments of {n} images, its protocol says {stored['reference']}; {MAKE}"
        )
    return {"reference_hash": ABSENT} | stored
