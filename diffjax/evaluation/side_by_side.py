"""Compares the files of several evaluations, if they were measured under the same protocol."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from diffjax import metrics as m
from diffjax.errors import UserError


def side_by_side(files: Sequence[Path]) -> str:
    """A text table of the scores that all files share: a column per file, mean, and sd (n - 1).

    A score that could not be measured for some file is "nan" there, and has no mean. Raises UserError for a file that
    `evaluate` did not write, for files that share no score, and, naming every field that differs, for scores measured
    under different protocols.
    """
    if len(files) < 2:
        raise UserError(f"--compare: {len(files)} file given; must be two or more")
    scores_by_file = [_read(path) for path in files]
    shared = [name for name in scores_by_file[0] if all(name in scores for scores in scores_by_file[1:])]
    if not shared:
        raise UserError(
            f"--compare: {', '.join(map(str, files))} share no score; must be evaluations of the same metrics"
        )
    rows = [("metric", *map(str, files), "mean", "sd")]
    for name in shared:
        metrics = [scores[name] for scores in scores_by_file]
        measured = [(path, metric) for path, metric in zip(files, metrics, strict=True) if _was_measured(metric)]
        for path, other in measured[1:]:
            first_path, first = measured[0]
            try:
                m.check_comparable(first, other)
            except UserError as error:
                raise UserError(f"--compare: {first_path} and {path}: {error}") from error
        rows.append((name, *(f"{metric.value:.4g}" for metric in metrics), *_averaged(metrics)))
    name_width, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([name.ljust(name_width), *map(str.rjust, row, widths)]) for name, *row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _was_measured(metric: m.Metric) -> bool:
    """Whether a score has a protocol to compare: `measure` gives one that it could not compute NaN and none."""
    return bool(metric.protocol) or not math.isnan(metric.value)


def _averaged(of: Sequence[m.Metric]) -> tuple[str, str]:
    """Mean and standard deviation as text; "nan" unless all values are finite."""
    if not all(math.isfinite(metric.value) for metric in of):
        return "nan", "nan"
    average = m.average(of)
    return f"{average.mean:.4g}", f"{average.sd:.4g}"


def _read(path: Path) -> dict[str, m.Metric]:
    """Reads {name: score} from a file."""
    try:
        content = json.loads(path.read_text())
        scores = content["metrics"]
        return {s["name"]: m.Metric(s["name"], float(s["value"]), dict(s["protocol"])) for s in scores}
    except OSError as error:
        raise UserError(f"--compare: {path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--compare: {path} is no file of scores; evaluate writes them to evals/ or --out") from error
