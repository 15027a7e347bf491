"""Computes scores, records them with their protocols, and prints them as a table."""

import json
import tempfile
from pathlib import Path
from typing import Any

from diffjax import metrics as m
from diffjax.errors import NO_ROOM, Diverged, UserError
from diffjax.evaluation.contract import Measuring, Score, Sets
from diffjax.host.json_files import write_json
from diffjax.host.surroundings import surroundings
from diffjax.metrics.better import is_error
from diffjax.metrics.statistics import is_ours

UNMEASURED = "not measured: "  # prefix of the meaning of a score that could not be computed
NOT_FINITE = "not_finite"  # name of the score that counts samples that are not finite, if there are any


def measure(sets: Sets, metrics: dict[str, Measuring]) -> list[Score]:
    """The scores of all these metrics; a metric that raises UserError gives NaN, with the reason.

    Raises UserError only if a disk is full, which is not the fault of the samples.
    """
    scores = []
    for metric in metrics.values():
        try:
            scores += metric(sets)
        except UserError as error:
            if getattr(error.__cause__, "errno", None) in NO_ROOM:
                raise
            scores += [Score(name, float("nan"), None, f"{UNMEASURED}{error}", {}) for name in metric.names]
    return scores


def check_measured(scores: list[Score]) -> None:
    """Raises, with the reasons, if some scores could not be measured.

    Raises Diverged if samples are not finite; UserError otherwise, as the run itself may be sound.
    """
    names_by_reason: dict[str, list[str]] = {}
    for score in scores:
        if score.meaning.startswith(UNMEASURED):
            names_by_reason.setdefault(score.meaning.removeprefix(UNMEASURED), []).append(score.name)
    if not names_by_reason:
        return
    message = "; ".join(
        f"{', '.join(names)} could not be measured: {reason}" for reason, names in names_by_reason.items()
    )
    diverged = any(score.name == NOT_FINITE for score in scores)
    raise (Diverged if diverged else UserError)(f"evaluate: {message}")


def check_place(path: Path, flag: str, suffix: str) -> None:
    """Raises UserError unless scores (.json) or statistics (.npz) can be written at `path`; creates its parent folders.

    A file that is there must hold the same: anything else, such as images, is not overwritten.
    """
    if path.suffix != suffix:
        raise UserError(f"{flag}: {path} must end in {suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{flag}: {path} cannot be written ({error.strerror}); must be a writable path") from error
    if path.is_dir():
        raise UserError(f"{flag}: {path} is a folder; must be a file")
    content, may_replace = {".json": ("scores", _is_record), ".npz": ("statistics", is_ours)}[suffix]
    if path.is_file() and not may_replace(path):
        raise UserError(f"{flag}: {path} exists and is not a file of {content}; must be a new file or one of {content}")


def _is_record(path: Path) -> bool:
    """Whether a file was written by `record`, and so may be overwritten."""
    try:
        content = json.loads(path.read_text())
    except ValueError:
        return False
    return isinstance(content, dict) and {"id", "metrics", "provenance"} <= set(content)


def record(scores: list[Score], provenance: dict[str, Any], out: Path) -> Path:
    """Writes scores, each with its protocol, to `out`/ID.json, or to `out` itself if it is a .json; returns the path.

    ID is a hash of names, protocols and provenance: repeating an evaluation overwrites its file.
    """
    metrics = [m.Metric(score.name, score.value, score.protocol, provenance) for score in scores]
    identity = m.fingerprint([[metric.name, metric.protocol, metric.provenance] for metric in metrics])
    path = out if out.suffix == ".json" else out / f"{identity}.json"
    content = {
        "id": identity,
        "metrics": [score._asdict() for score in scores],
        "provenance": provenance | surroundings(),
    }
    write_json(path, content)
    return path


def table(scores: list[Score]) -> str:
    """A text table of name, value, best attainable value and its meaning; warnings follow below."""
    rows = [("metric", "this run", "at best", "which is")]
    for score in scores:
        has_best = score.at_best is not None and not is_error(score.name)  # no model has a standard error of 0
        at_best = f"{score.at_best:.4g}" if has_best else ""
        rows.append((score.name, f"{score.value:.4g}", at_best, score.meaning))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {at_best:>{widths[2]}}  {meaning}"
        for name, value, at_best, meaning in rows
    ]
    names_by_warning: dict[str, list[str]] = {}
    for score in scores:
        if score.warning:
            names_by_warning.setdefault(score.warning, []).append(score.name)
    warnings = [f"{', '.join(names)}: {warning}" for warning, names in names_by_warning.items()]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], *warnings])
