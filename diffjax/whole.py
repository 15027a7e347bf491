"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A place beside `path` to write to, which is moved there when all went well: nobody ever reads half a file.

    What went wrong leaves nothing behind; what a kill leaves has an ending that nobody looks for.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(unfinished)):
            error.filename = str(path)  # a full disk does not say what it had no room for
        raise
    finally:
        unfinished.unlink(missing_ok=True)
