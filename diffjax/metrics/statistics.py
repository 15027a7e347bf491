"""Files of reference statistics: the moments of features, and under which protocol they were taken."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from diffjax.errors import UserError
from diffjax.metrics.frechet import Moments
from diffjax.metrics.protocol import ABSENT, canonical_json, differences
from diffjax.whole import written_whole

FIELDS = ("n", "mean", "scatter", "protocol")
OTHERS = ("mu", "sigma")  # what pytorch-fid and its like keep
UNREADABLE = (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile)  # what NumPy makes of it
MAKE = "make one from the images themselves, with --reference=IMAGES --statistics=FILE.npz"


def save_statistics(path: str | Path, moments: Moments, protocol: dict[str, Any]) -> None:
    """Writes an .npz, whole or not at all: n, mean [d], scatter [d, d] in float64, and the protocol as JSON."""
    kept = {"n": moments.n, "mean": moments.mean, "scatter": moments.scatter, "protocol": canonical_json(protocol)}
    with written_whole(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, **kept)


def is_statistics(path: str | Path) -> bool:
    """Whether this is an .npz of statistics, ours or another's, whole or not, and not of images."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return (
                isinstance(file, np.lib.npyio.NpzFile) and "x" not in file and not {*FIELDS, *OTHERS}.isdisjoint(file)
            )
    except UNREADABLE:
        return False


def load_statistics(path: str | Path, ours: dict[str, Any]) -> tuple[Moments, dict[str, Any]]:
    """The moments, and the protocol that they were taken by, which must be ours: "features", and how images are read.

    Raises UserError for a file that is missing, damaged, of another kind, or measured otherwise, naming what differs.
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
        lacking = "not of how many images, of which, by which network they are"
        raise UserError(f"statistics: {path} holds mu and sigma as pytorch-fid keeps them, but {lacking}; {MAKE}")
    if missing := [name for name in FIELDS if name not in file]:
        raise UserError(f"statistics: {path} says nothing of {', '.join(missing)}; {MAKE}")


def _checked(path: str | Path, n: np.ndarray, mean: np.ndarray, scatter: np.ndarray) -> Moments:
    """The moments, if they are some: a count from 2 on, finite float64 in the shapes [d] and [d, d]."""
    if n.shape != () or n.dtype.kind not in "iu" or n < 2:
        raise UserError(f"statistics: {path} has n = {n}; moments are of a whole number of images, at least 2")
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
        raise UserError(f"statistics: the scatter in {path} is that of no images: not symmetric, or below 0; {MAKE}")
    return Moments(int(n), mean, scatter)


def _checked_protocol(path: str | Path, protocol: Any, n: int, ours: dict[str, Any]) -> dict[str, Any]:
    """The protocol, if it is ours, of n images. Files of before `reference_hash` say that it is absent."""
    known = protocol if isinstance(protocol, dict) else {}
    if missing := {"features", "reference"} - set(known):
        raise UserError(f"statistics: the protocol of {path} says nothing of {', '.join(sorted(missing))}; {MAKE}")
    if not isinstance(known["features"], dict):
        raise UserError(f"statistics: the features of {path} are {known['features']!r}; they are an object; {MAKE}")
    differing = [f"features {line}" for line in differences(known["features"], ours["features"])]
    how = [name for name in ours if name in known and name != "features"]
    differing += differences({name: known[name] for name in how}, {name: ours[name] for name in how})
    if differing:
        raise UserError(f"statistics: {path} differs in {', '.join(differing)}; measure both alike")
    if known["reference"] != n:
        raise UserError(f"statistics: {path} has moments of {n} images, its protocol says {known['reference']}; {MAKE}")
    return {"reference_hash": ABSENT} | known
