"""Exceptions that end a run of a table, or one of its measurements, written down for whoever asks what became of it.

An exception is no result: nothing is known of what was to be measured. So the table says what was raised, no claim
counts it, and the same command tries again.
"""

import contextlib
import errno
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path

from jax.errors import JaxRuntimeError

from diffjax.errors import NO_ROOM, UserError
from diffjax.parallel import is_main
from diffjax.writer import read_json, write_json

FOLDER = "raised"  # in a run directory, with a file NAME.json for each
RUN = "run"  # the NAME of what is no measurement; of one it is the evaluation's id
OF_DISKS = (*NO_ROOM, errno.EIO, errno.ESTALE, errno.ENOMEM)
OF_DEVICES = ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED")  # what XLA says first
LONGEST = 300  # characters of a message that a table bears


class Raised(UserError):
    """The code of a run raised an exception, which has been shown, and written down."""


def raised(workdir: Path, *names: str) -> str:
    """The first of what ended these when they were last tried, such as "raised ValueError: ..."; "" if nothing did."""
    folder = workdir / FOLDER
    paths = [folder / f"{name}.json" for name in names] if folder.is_dir() else []
    return next((read_json(path)["said"] for path in paths if path.is_file()), "")


@contextlib.contextmanager
def noted(run: str, workdir: Path, name: str) -> Iterator[None]:
    """Shows an exception, writes it down, and raises Raised for it; leaves those that say nothing of the code."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if of_the_machine(error):
            raise
        traceback.print_exc()
        said = f"raised {type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}".removesuffix(": ")
        if is_main():
            write_json(workdir / FOLDER / f"{name}.json", {"said": said})
        raise Raised(f"--run: {run} {said}") from error


def of_the_machine(error: Exception) -> bool:
    """Whether this is no memory, a full disk or a lost device: nothing that the code of the run is to blame for."""
    if isinstance(error, JaxRuntimeError):
        return str(error).startswith(OF_DEVICES)
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in OF_DISKS)


def forget(workdir: Path) -> None:
    """Drops what was raised before, now that it is tried again."""
    if is_main() and (workdir / FOLDER).is_dir():
        shutil.rmtree(workdir / FOLDER)
