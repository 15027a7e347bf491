"""Which code a number depends on: a hash that changes with it, and not with comments, docstrings or other methods.

It covers the modules in which a config's components are defined, those of the loop, and all that these import. A cell
whose hash is no longer today's was made by older code, and is called stale.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ml_collections import ConfigDict

import diffjax
from diffjax.config import TABLES, slot_of
from diffjax.measures import METRICS

ROOT = Path(diffjax.__file__).parent
LOOP = ("diffjax.window", "diffjax.state", "diffjax.ema", "diffjax.optim", "diffjax.parallel", "diffjax.sampling",
        "diffjax.data.pipeline", "diffjax.measures.evidence")  # fmt: skip
SILENT = (  # what changes no number, or imports everything
    "diffjax.config", "diffjax.run", "diffjax.pictures", "diffjax.writer", "diffjax.progress", "diffjax.workdir",
    "diffjax.errors", "diffjax.checkpoint", "diffjax.measures.report", "diffjax.ablation",
)  # fmt: skip


def code_of(config: ConfigDict, metrics: tuple[str, ...] = ()) -> str:
    """Twelve hexadecimal digits for the code that trains and draws what a config says, and measures `metrics`."""
    modules = set(LOOP) | {component.__module__ for component in _components(config)}
    modules |= {METRICS[name].function.__module__ for name in metrics}
    return _hash(modules)


def code_of_file(path: str) -> str:
    """Likewise for a file outside the package, with all that it imports of it."""
    return _hash(_imports(Path(path)), _content(Path(path)))


def _hash(modules: Iterable[str], *more: str) -> str:
    found: set[str] = set()
    for module in sorted(modules):
        _closure(module, found)
    digest = hashlib.sha256("".join(more).encode())
    for module in sorted(found):
        digest.update(f"{module}:{_content(_file(module))}\n".encode())
    return digest.hexdigest()[:12]


def _components(node: ConfigDict, path: str = "") -> list:
    """The classes and functions that a config names."""
    found = []
    for key, value in node.items():
        if isinstance(value, ConfigDict):
            here = f"{path}{key}."
            if "name" in value:
                family = value.name.partition(":")[0]
                found.append(TABLES[slot_of(f"{here}name")][family])
            found += _components(value, here)
    return [getattr(component, "func", component) for component in found]


def _closure(module: str, found: set[str]) -> None:
    """Adds a module of this package, and all those it imports, to `found`."""
    if module in found or module.startswith(SILENT) or _file(module) is None:
        return
    found.add(module)
    for imported in _imports(_file(module)):
        _closure(imported, found)


def _imports(path: Path) -> tuple[str, ...]:
    """The modules of this package that a file imports; of `from package import name` also package.name."""
    return _read(path.read_text())[0]


def _content(path: Path) -> str:
    """What a file says, without its comments, docstrings and layout."""
    return _read(path.read_text())[1]


@cache
def _read(text: str) -> tuple[tuple[str, ...], str]:
    tree, names = ast.parse(text), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tuple(name for name in names if name.startswith("diffjax.")), ast.unparse(tree)


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
