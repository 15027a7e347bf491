"""Files of reference statistics: the moments of features, and under which protocol they were taken."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from diffjax.errors import UserError
from diffjax.metrics.frechet import Moments
from diffjax.metrics.protocol import canonical_json, differences

FIELDS = ("n", "mean", "scatter", "protocol")
UNREADABLE = (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile)  # what NumPy makes of it


def save_statistics(path: str | Path, moments: Moments, protocol: dict[str, Any]) -> None:
    """Writes an .npz, whole or not at all: n, mean [d], scatter [d, d] in float64, and the protocol as JSON."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        np.savez(unfinished, n=moments.n, mean=moments.mean, scatter=moments.scatter, protocol=canonical_json(protocol))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def is_statistics(path: str | Path) -> bool:
    """Whether this is an .npz of statistics, and not of images or anything else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return isinstance(file, np.lib.npyio.NpzFile) and "scatter" in file
    except UNREADABLE:
        return False


def load_statistics(path: str | Path, features: dict[str, Any]) -> tuple[Moments, dict[str, Any]]:
    """The moments, and the protocol that they were taken by, whose "features" must be these.

    Raises UserError for a file that is missing, damaged, of another kind, or of other features, naming what differs.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in FIELDS if name not in file]
            if missing:
                raise UserError(f"statistics: {path} says nothing of {', '.join(missing)}; make it with --statistics")
            moments = Moments(int(file["n"]), file["mean"], file["scatter"])
            protocol = json.loads(str(file["protocol"]))
    except FileNotFoundError as error:
        raise UserError(f"statistics: there is no file {path}") from error
    except UNREADABLE as error:
        raise UserError(f"statistics: {path} cannot be read: {' '.join(str(error).split())}") from error
    if missing := {"features", "reference", "images"} - set(protocol):
        raise UserError(f"statistics: the protocol of {path} says nothing of {', '.join(sorted(missing))}")
    differing = differences(protocol["features"], json.loads(canonical_json(features)))
    if differing:
        raise UserError(f"statistics: {path} differs in features {', '.join(differing)}; measure both alike")
    return moments, protocol
