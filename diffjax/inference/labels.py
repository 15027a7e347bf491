"""Records the labels that samples were drawn for, in protocols and in a note that `sample` writes beside its images.

Metrics of a conditional model depend on its labels: ten classes evenly, or a single one. Images do not show their
labels, so a folder or archive that `sample` wrote records them; one from elsewhere does not.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from diffjax import metrics as m
from diffjax.data.text import decode
from diffjax.errors import UserError
from diffjax.host.json_files import write_json

NOTE = "samples.json"  # in a folder of samples


def labels_of(requested: np.ndarray | None, reads_captions: bool) -> str:
    """Describes the labels of samples that cycle through `requested`, [k] labels or [k, bytes] captions; "" if None."""
    if requested is None:
        return ""
    if reads_captions:
        return f"prompt i modulo {len(requested)} of {m.fingerprint(decode(requested))}"
    if len(requested) > 1 and np.array_equal(requested, np.arange(len(requested))):
        return f"i modulo {len(requested)}"
    return f"only {', '.join(map(str, requested))}"


def write_note(folder: Path, num: int, labels: str, **provenance: Any) -> None:
    """Writes the note of `num` images: before the first is written with `incomplete=True`, after the last without."""
    write_json(folder / NOTE, {"images": num, "labels": labels} | provenance)


def read_note(folder: Path, flag: str) -> dict[str, Any]:
    """Reads the note in a folder; {} if there is none. Raises UserError if it is damaged."""
    path = folder / NOTE
    if not path.is_file():
        return {}
    try:
        note = json.loads(path.read_text())
        return note | {"images": int(note["images"]), "labels": str(note["labels"])}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{flag}: {path} is not what `sample` writes of its images; remove it") from error


def complete_note(folder: Path, num: int, flag: str) -> dict[str, Any]:
    """Reads the note beside `num` images as `read_note` does; also raises UserError unless it is of all of them."""
    note, path = read_note(folder, flag), folder / NOTE
    if note.get("incomplete"):
        raise UserError(f"{flag}: {path} says that its images are incomplete: `sample` was interrupted; sample again")
    if note and note["images"] != num:
        raise UserError(
            f"{flag}: {path} records {note['images']} images, the folder has {num}; remove it, or sample again"
        )
    return note
