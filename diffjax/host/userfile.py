"""Executes a user's Python file: a config or an experiment."""

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from diffjax.errors import UserError


@contextlib.contextmanager
def executed(path: Path, called: str) -> Iterator[ModuleType]:
    """Executes a file and yields its module, which can import from its own project (`from configs import base`).

    Raises a UserError of one line, beginning with `called`, for any exception of the file or of the block.
    """
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module, root = importlib.util.module_from_spec(spec), str(path.resolve().parent.parent)
    sys.path.insert(0, root)
    try:
        spec.loader.exec_module(module)
        yield module
    except UserError as error:
        raise UserError(f"{called}: {error}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        where = f" at line {lines[-1]}" if lines else ""
        raise UserError(f"{called} raised {type(error).__name__}{where}: {' '.join(str(error).split())}") from error
    finally:
        with contextlib.suppress(ValueError):  # the file may have removed it itself
            sys.path.remove(root)
