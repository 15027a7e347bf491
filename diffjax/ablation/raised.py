"""Records of exceptions that end a run of a table, or one of its measurements.

An exception is not a result: it says nothing about what was to be measured. The table therefore shows what was raised,
no claim counts it, and the same command tries again. A user error is recorded too, as its own line. A film that raises
is reported and tried again likewise, but takes nothing from its table.
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
from diffjax.host.json_files import read_json, write_json
from diffjax.parallel import is_main

FOLDER = "raised"  # in a run directory, with a file NAME.json for each
RUN = "run"  # the NAME for its training; a measurement has its evaluation's id, the films have "film"
OF_DISKS = (*NO_ROOM, errno.EIO, errno.ESTALE, errno.ENOMEM)
OF_DEVICES = ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED")  # XLA's messages begin with these
LONGEST = 300  # characters of a message in a table


class Raised(UserError):
    """The code of a run raised an exception, which has been printed and recorded."""


def raised(workdir: Path, *names: str) -> str:
    """The first recorded exception of these names, such as "raised ValueError: ..."; "" if there is none."""
    folder = workdir / FOLDER
    paths = [folder / f"{name}.json" for name in names] if folder.is_dir() else []
    return next((read_json(path)["reason"] for path in paths if path.is_file()), "")


def mistakes(workdirs: Iterable[Path]) -> list[str]:
    """The user errors recorded in these run directories; [] if any other exception is recorded."""
    notes = [read_json(path) for workdir in workdirs for path in sorted((workdir / FOLDER).glob("*.json"))]
    return [note["reason"] for note in notes] if all(note.get("mistake") for note in notes) else []


@contextlib.contextmanager
def noted(run: str, workdir: Path, name: str) -> Iterator[None]:
    """Records an exception of the body, unless it is the machine's fault or Taken.

    A UserError is raised again; any other exception is printed, then raised as Raised.
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
        reason = f"raised {type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}".removesuffix(": ")
        _note(workdir, name, {"reason": reason})
        raise Raised(f"`run`: {run} {reason}") from error


def _note(workdir: Path, name: str, content: dict[str, Any]) -> None:
    if is_main():
        write_json(workdir / FOLDER / f"{name}.json", content)


def of_the_machine(error: Exception) -> bool:
    """Whether the machine is to blame, not the code of the run: no memory, a full disk, a lost device."""
    if isinstance(error, UserError):  # raised from the machine's exception, to say it in one line
        error = error.__cause__
    if isinstance(error, JaxRuntimeError):
        return str(error).startswith(OF_DEVICES)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in OF_DISKS)


def forget(workdir: Path) -> None:
    """Removes the records of a run directory, before it is tried again."""
    if is_main() and (workdir / FOLDER).is_dir():
        shutil.rmtree(workdir / FOLDER)
