"""By which labels samples were drawn: a sentence for protocols, and the note of it that `sample` leaves beside images.

A conditional model's numbers are of the labels it was asked for: of ten classes evenly, or of one alone. Images do not
show what they were asked by, so a folder or an archive that `sample` wrote says it; anyone else's says nothing.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from diffjax import metrics as m
from diffjax.data.text import decode
from diffjax.errors import UserError

NOTE = "samples.json"  # in a folder of samples


def labels_of(requested: np.ndarray | None, reads_captions: bool) -> str:
    """Of samples drawn by `requested`, [k] labels or [k, bytes] captions, each in turn; "" for one without either."""
    if requested is None:
        return ""
    if reads_captions:
        return f"prompt i modulo {len(requested)} of {m.fingerprint(decode(requested))}"
    if np.array_equal(requested, np.arange(len(requested))):
        return f"i modulo {len(requested)}"
    return f"only {', '.join(map(str, requested))}"


def write_note(folder: Path, num: int, labels: str, **provenance: Any) -> None:
    """Written last: a folder that is not whole has none."""
    (folder / NOTE).write_text(json.dumps({"images": num, "labels": labels} | provenance, indent=2))


def read_note(folder: Path, num: int, flag: str) -> dict[str, Any]:
    """What `sample` noted of the `num` images that lie there, {} if nothing. Raises UserError if it is not of these."""
    path = folder / NOTE
    if not path.is_file():
        return {}
    try:
        note = json.loads(path.read_text())
        there, _ = int(note["images"]), str(note["labels"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{flag}: {path} is not what `sample` writes of its images; remove it") from error
    if there != num:
        raise UserError(f"{flag}: {path} is of {there} images, and {num} lie there; remove it, or draw them anew")
    return note
