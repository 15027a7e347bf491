"""Exceptions that end a run of a table, or one of its measurements, written down for whoever asks what became of it.

An exception is no result: nothing is known of what was to be measured. So the table says what was raised, no claim
counts it, and the same command tries again. A mistake of the user's is one of them, said in its own line. A film that
raises takes nothing from its table, and is said and tried again likewise.
"""

import contextlib
import errno
import shutil
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jax.errors import JaxRuntimeError

from diffjax.errors import NO_ROOM, Taken, UserError
from diffjax.parallel import is_main
from diffjax.writer import read_json, write_json

FOLDER = "raised"  # in a run directory, with a file NAME.json for each
RUN = "run"  # the NAME of its training; of a measurement it is the evaluation's id, of the film "film"
OF_DISKS = (*NO_ROOM, errno.EIO, errno.ESTALE, errno.ENOMEM)
OF_DEVICES = ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED")  # what XLA says first
LONGEST = 300  # characters of a message that a table bears


class Raised(UserError):
    """The code of a run raised an exception, which has been shown, and written down."""


def raised(workdir: Path, *names: str) -> str:
    """The first of what ended these when they were last tried, such as "raised ValueError: ..."; "" if nothing did."""
    folder = workdir / FOLDER
    paths = [folder / f"{name}.json" for name in names] if folder.is_dir() else []
    return next((read_json(path)["reason"] for path in paths if path.is_file()), "")


def mistakes(workdirs: Iterable[Path]) -> list[str]:
    """What the user got wrong, where nothing else was raised in these run directories; [] where something was."""
    notes = [read_json(path) for workdir in workdirs for path in sorted((workdir / FOLDER).glob("*.json"))]
    return [note["reason"] for note in notes] if all(note.get("mistake") for note in notes) else []


@contextlib.contextmanager
def noted(run: str, workdir: Path, name: str) -> Iterator[None]:
    """Writes an exception down, but those that say nothing of what is run: the machine's, and Taken.

    Raises a UserError again; for others, which are shown first, Raised.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, Taken) or of_the_machine(error):
            raise
        if isinstance(error, UserError):
            _note(workdir, name, {"reason": str(error), "mistake": True})
            raise
        traceback.print_exc()
        said = f"raised {type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}".removesuffix(": ")
        _note(workdir, name, {"reason": said})
        raise Raised(f"--run: {run} {said}") from error


def _note(workdir: Path, name: str, content: dict[str, Any]) -> None:
    if is_main():
        write_json(workdir / FOLDER / f"{name}.json", content)


def of_the_machine(error: Exception) -> bool:
    """Whether this is no memory, a full disk or a lost device: nothing that the code of the run is to blame for."""
    if isinstance(error, UserError):  # which says so in a line
        error = error.__cause__
    if isinstance(error, JaxRuntimeError):
        return str(error).startswith(OF_DEVICES)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in OF_DISKS)


def forget(workdir: Path) -> None:
    """Drops what was raised before, now that it is tried again."""
    if is_main() and (workdir / FOLDER).is_dir():
        shutil.rmtree(workdir / FOLDER)
