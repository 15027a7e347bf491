"""Scores computed, written down with their protocols, and shown as a table."""

import json
import tempfile
from pathlib import Path
from typing import Any

from diffjax import metrics as m
from diffjax.errors import NO_ROOM, Diverged, UserError
from diffjax.measures.contract import Measuring, Score, Sets
from diffjax.metrics.better import is_error
from diffjax.workdir import surroundings
from diffjax.writer import write_json

UNMEASURED = "not measured: "  # what a score's meaning begins with that has no value
NOT_FINITE = "not_finite"  # the score that counts the samples that are no numbers, if there are any


def measure(sets: Sets, metrics: dict[str, Measuring]) -> list[Score]:
    """The scores of all these metrics; of one that cannot measure the samples NaN, for each of its names, and why.

    Raises UserError only where a disk is full, which says nothing of the samples.
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
    """Raises, with the reason, if something could not be measured: a table of NaN is no success.

    Diverged where samples are no numbers; UserError for every other reason, as it says nothing of the run.
    """
    names: dict[str, list[str]] = {}
    for score in scores:
        if score.meaning.startswith(UNMEASURED):
            names.setdefault(score.meaning.removeprefix(UNMEASURED), []).append(score.name)
    if names:
        said = "; ".join(f"{', '.join(of)} could not be measured: {reason}" for reason, of in names.items())
        raise (Diverged if NOT_FINITE in (score.name for score in scores) else UserError)(f"evaluate: {said}")


def check_place(path: Path, flag: str, ending: str) -> None:
    """Raises UserError unless a file with this ending can be written there; makes the folders above it."""
    if path.suffix != ending:
        raise UserError(f"{flag}: {path} is written as {ending.removeprefix('.')}; give it the ending {ending}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{flag}: {path} cannot be written ({error.strerror}); choose another place") from error
    if path.is_dir():
        raise UserError(f"{flag}: {path} is a folder; choose another place")
    if ending == ".json" and path.is_file() and not _is_record(path):
        raise UserError(f"{flag}: {path} is there and holds something else than scores; choose another place")


def _is_record(path: Path) -> bool:
    """Whether a file is of scores, and may give way to newer ones."""
    try:
        content = json.loads(path.read_text())
    except ValueError:
        return False
    return isinstance(content, dict) and {"id", "metrics", "provenance"} <= set(content)


def record(scores: list[Score], provenance: dict[str, Any], place: Path) -> Path:
    """Writes scores, each with its protocol, to `place`/ID.json, or to `place` itself if that is a .json; where it is.

    ID names what was measured and how: the same evaluation done again replaces its file.
    """
    metrics = [m.Metric(score.name, score.value, score.protocol, provenance) for score in scores]
    identity = m.fingerprint([[metric.name, metric.protocol, metric.provenance] for metric in metrics])
    path = place if place.suffix == ".json" else place / f"{identity}.json"
    content = {
        "id": identity,
        "metrics": [score._asdict() for score in scores],
        "provenance": provenance | surroundings(),
    }
    write_json(path, content)
    return path


def table(scores: list[Score]) -> str:
    """Scores as a table for a person: the value, beside what it would be at best, and why; below what to beware of."""
    rows = [("metric", "this run", "at best", "which is")]
    for score in scores:
        told = score.at_best is not None and not is_error(score.name)  # which is not 0 of the best model either
        reference = f"{score.at_best:.4g}" if told else ""
        rows.append((score.name, f"{score.value:.4g}", reference, score.meaning))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in rows]
    warned = {warning: [score.name for score in scores if score.warning == warning] for _, *_, warning in scores}
    warnings = [f"{', '.join(names)}: {warning}" for warning, names in warned.items() if warning]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], *warnings])
