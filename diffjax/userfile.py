"""A user's own Python file, executed: a config, or an experiment."""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from diffjax.errors import UserError


@contextlib.contextmanager
def executed(path: Path, called: str) -> Iterator[ModuleType]:
    """The module that a file is. While it is in use it can say `from configs import base` of its own neighbours.

    Raises UserError, in one line that begins with what the file is `called`, for whatever it raises, now or in use.
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
        raise UserError(f"{called} raised {type(error).__name__}: {' '.join(str(error).split())}") from error
    finally:
        with contextlib.suppress(ValueError):  # the file may have taken it away itself
            sys.path.remove(root)
