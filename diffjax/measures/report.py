"""Scores computed, written down with their protocols, and shown as a table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffjax import metrics as m
from diffjax.errors import UserError
from diffjax.measures.evidence import Score, Sets
from diffjax.workdir import surroundings
from diffjax.writer import write_json


def measure(sets: Sets, metrics: dict[str, Callable[[Any], list[Score]]]) -> list[Score]:
    """The scores of all these metrics; of one that cannot measure the samples NaN, and why."""
    scores = []
    for name, metric in metrics.items():
        try:
            scores += metric(sets)
        except UserError as error:
            scores.append(Score(name, float("nan"), None, f"not measured: {error}", {}))
    return scores


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
    """Scores as a table for a person: the value, beside what it would be at best, and why."""
    rows = [("metric", "this run", "at best", "which is")]
    for score in scores:
        reference = "" if score.at_best is None else f"{score.at_best:.4g}"
        rows.append((score.name, f"{score.value:.4g}", reference, score.meaning))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in rows]
    warnings = dict.fromkeys(f"{score.name}: {score.warning}" for score in scores if score.warning)
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], *warnings])
