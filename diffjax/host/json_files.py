"""JSON files: written atomically and strictly, and read with errors that say what to do."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffjax.errors import UserError
from diffjax.host.atomic import atomic_write


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file atomically."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(json.dumps(strict(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path, remove: Path | None = None, needs: Sequence[str] = ()) -> dict[str, Any]:
    """Reads a JSON object. Raises UserError for an invalid file, such as an incomplete copy, and for a missing key.

    `remove` is the path that the error tells the user to remove so that it is made again (default: the file itself);
    `needs` are the keys that must be there.
    """
    try:
        content = json.loads(path.read_text())
        problem = "" if isinstance(content, dict) else "is not a JSON object"
        problem = problem or next((f"lacks {key!r}" for key in needs if key not in content), "")
    except ValueError:
        problem = "is not valid JSON (cut short?)"
    if problem:
        raise UserError(f"{path} {problem}; copy it again, or remove {remove or path} so that it is made again")
    return content


def read_lines(path: Path, last: int = 0) -> list[Any]:
    """Reads the complete lines of a `metrics.jsonl`, or the `last` ones of them; [] if there is no file.

    A last line without its newline is still being written and is left out. Raises UserError for a line that is not
    valid JSON.
    """
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    return [parse_line(line, path) for line in lines[-last:]]


def parse_line(line: str, path: Path) -> Any:
    """A line of the `metrics.jsonl` at `path`. Raises UserError if it is not valid JSON."""
    try:
        return json.loads(line)
    except ValueError as error:
        raise UserError(
            f"{path} has a line that is not valid JSON; copy it again, or remove {path.parent} so that it is made again"
        ) from error


def strict(content: Any) -> Any:
    """Converts to what JSON can represent: arrays to lists, non-finite numbers to "nan", "inf" or "-inf"."""
    content = content.tolist() if hasattr(content, "tolist") else content  # arrays and scalars of NumPy and JAX
    if isinstance(content, dict):
        return {key: strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [strict(value) for value in content]
    return str(content) if isinstance(content, float) and not math.isfinite(content) else content
