"""Evaluations beside each other, as files have them: refused where two of them were not measured alike."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from diffjax import metrics as m
from diffjax.errors import UserError


def side_by_side(files: Sequence[Path]) -> str:
    """The scores that all these files have, a column each, with their mean and spread (n - 1), as a table for a person.

    Raises UserError for a file that is none of `evaluate`'s, for files that share no score, and, naming every field
    that differs, for scores of one name that were measured under different protocols.
    """
    if len(files) < 2:
        raise UserError("--compare: one file is compared with nothing; give two or more")
    found = [_read(path) for path in files]
    shared = [name for name in found[0] if all(name in scores for scores in found[1:])]
    if not shared:
        raise UserError(f"--compare: {', '.join(map(str, files))} share no score")
    rows = [("metric", *map(str, files), "mean", "sd")]
    for name in shared:
        of = [scores[name] for scores in found]
        for path, other in zip(files[1:], of[1:], strict=True):
            try:
                m.check_comparable(of[0], other)
            except UserError as error:
                raise UserError(f"--compare: {files[0]} and {path}: {error}") from error
        rows.append((name, *(f"{metric.value:.4g}" for metric in of), *_averaged(of)))
    first, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([name.ljust(first), *map(str.rjust, row, widths)]) for name, *row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _averaged(of: Sequence[m.Metric]) -> tuple[str, str]:
    """Mean and spread; of values that are not all numbers none."""
    if not all(math.isfinite(metric.value) for metric in of):
        return "nan", "nan"
    whole = m.average(of)
    return f"{whole.mean:.4g}", f"{whole.sd:.4g}"


def _read(path: Path) -> dict[str, m.Metric]:
    """The scores of a file by name."""
    try:
        content = json.loads(path.read_text())
        scores = [(score["name"], float(score["value"]), score["protocol"]) for score in content["metrics"]]
    except OSError as error:
        raise UserError(f"--compare: {path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--compare: {path} is no file of scores; evaluate writes them to evals/ or --out") from error
    return {name: m.Metric(name, value, protocol) for name, value, protocol in scores}
