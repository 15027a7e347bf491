"""Which code a number depends on: a hash that changes with it, not with comments, docstrings, checks or Python.

A check that only raises makes no number another one: it may be added, or said more clearly, without making cells stale.
It covers the modules in which a config's components are defined, those of the loop, and all from which these take
something: not a package for one of its names, but the module where that is defined. What draws from a run and measures
it is no part of its training's code. A cell whose hash is no longer today's was made by older code, and is called
stale.
"""

import ast
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import diffjax
from diffjax.config import TABLES, slot_of
from diffjax.measures import METRICS
from diffjax.metrics.features import FEATURES

ROOT = Path(diffjax.__file__).parent
LOOP = ("diffjax.window", "diffjax.state", "diffjax.ema", "diffjax.optim", "diffjax.parallel", "diffjax.data.pipeline")
MEASURING = ("diffjax.measures.evidence", "diffjax.sampling")  # whatever the metric
DRAWING = ("sampler", "eval")  # sections of a config that say nothing of training
SILENT = (  # what changes no number, or imports everything
    "diffjax.config", "diffjax.run", "diffjax.pictures", "diffjax.writer", "diffjax.progress", "diffjax.workdir",
    "diffjax.errors", "diffjax.checkpoint", "diffjax.measures.report", "diffjax.ablation",
)  # fmt: skip


def code_of(config: ConfigDict, metrics: Collection[str] = (), needs: Iterable[str] = ()) -> str:
    """Twelve hexadecimal digits for the code that trains what a config says; with `metrics`, that measures it too.

    Metrics are named with the features that they ask, as in "frechet:pixels"; `needs` is the code of runs it is of.
    """
    sections = config if metrics else {name: of for name, of in config.items() if name not in DRAWING}
    modules = {*LOOP, *(MEASURING if metrics else ()), *(component.__module__ for component in _components(sections))}
    for name, _, features in (metric.partition(":") for metric in metrics):
        modules.add(METRICS[name].function.__module__)
        if features in FEATURES:  # a classifier is a run, in `needs`
            modules.add(_plain(FEATURES[features]).__module__)
    return _hash(modules, *needs)


def code_of_function(path: str, name: str, needs: Iterable[str] = ()) -> str:
    """Likewise for a function in a file outside the package, with whatever of the file, and of the package, it uses."""
    source = _read(Path(path).read_text(), name)
    return _hash(_sources(source), source.content, *needs)


def _hash(modules: Iterable[str], *more: str) -> str:
    found: set[str] = set()
    for module in sorted(modules):
        _closure(module, found)
    digest = hashlib.sha256("".join(more).encode())
    for module in sorted(found):
        digest.update(f"{module}:{_content(_file(module))}\n".encode())
    return digest.hexdigest()[:12]


def _components(node: Mapping[str, Any], path: str = "") -> list[Callable]:
    """The classes and functions that a config names."""
    found = []
    for key, value in node.items():
        if isinstance(value, ConfigDict):
            here = f"{path}{key}."
            if "name" in value:
                family = value.name.partition(":")[0]
                found.append(_plain(TABLES[slot_of(f"{here}name")][family]))
            found += _components(value, here)
    return found


def _plain(component: Callable) -> Callable:
    """What a partial application applies."""
    return getattr(component, "func", component)


def _closure(module: str, found: set[str]) -> None:
    """Adds a module of this package, and all those it takes something from, to `found`."""
    silent = any(module == name or module.startswith(f"{name}.") for name in SILENT)
    if module in found or silent or _file(module) is None:
        return
    found.add(module)
    for imported in _imports(_file(module)):
        _closure(imported, found)


def _imports(path: Path) -> tuple[str, ...]:
    """The modules of this package from which a file takes something."""
    return _sources(_read(path.read_text()))


def _sources(source: "Source") -> tuple[str, ...]:
    """The modules of what is taken, each that which defines it."""
    modules = (_source(module, name) for module, name, _ in source.taken)
    return tuple(module for module in modules if module)


def _source(module: str, name: str) -> str:
    """The module that defines what is called `name` in `module`; "" for a table of components in a package's door.

    A package's `__init__` hands on what is defined elsewhere, and has tables: of these a config says what it takes.
    """
    if _file(f"{module}.{name}") or not _is_door(module):
        return f"{module}.{name}" if _file(f"{module}.{name}") else module
    handed = (t for t in _read(_file(module).read_text()).taken if t.known_as == name)
    return next((_source(t.module, t.name) for t in handed), "")


def _content(path: Path) -> str:
    """What a file says, without its comments, docstrings and layout."""
    return _read(path.read_text()).content


class Taken(NamedTuple):
    """A name that a file takes from a module of this package."""

    module: str
    name: str
    known_as: str = ""


class Source(NamedTuple):
    """A file, or one function in it, as its code depends on it."""

    taken: tuple[Taken, ...]
    content: str


@cache
def _read(text: str, function: str = "") -> Source:
    tree = ast.parse(text)
    if function:
        tree = _used_by(function, tree)
    taken = _taken(tree)
    packages = {t.known_as: f"{t.module}.{t.name}" for t in taken if _is_door(f"{t.module}.{t.name}")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
            taken.append(Taken(packages[node.value.id], node.attr))
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return Source(tuple(t for t in taken if t.known_as not in packages), _said(_Checkless().visit(tree)))


class _Checkless(ast.NodeTransformer):
    """A tree without what only refuses: each `if` of which nothing is left but what it raises, and loops of such."""

    def visit_If(self, node):
        self.generic_visit(node)
        named = any(isinstance(part, ast.NamedExpr) for part in ast.walk(node.test))  # what it names may be used
        return node if node.orelse or named or not all(isinstance(part, ast.Raise) for part in node.body) else None

    def visit_For(self, node):
        self.generic_visit(node)
        return node if node.body or node.orelse else None

    def visit_ImportFrom(self, node):
        return None if node.module == "diffjax.errors" else node


def _said(node: Any) -> str:
    """A syntax tree as text, the same in every version of Python, which `ast.unparse` and `ast.dump` are not.

    Versions differ in fields that are empty here, and in how the constants of an f-string are cut.
    """
    if isinstance(node, list):
        return f"[{', '.join(map(_said, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _joined(node.values)
    return f"{type(node).__name__}({', '.join(f'{name}={_said(value)}' for name, value in sorted(fields.items()))})"


def _joined(values: list[ast.expr]) -> list[ast.expr | str]:
    """The parts of an f-string, neighbouring constants as one."""
    parts = []
    for value in values:
        value = value.value if isinstance(value, ast.Constant) else value
        if isinstance(value, str) and parts and isinstance(parts[-1], str):
            parts[-1] += value
        elif value != "":
            parts.append(value)
    return parts


def _used_by(function: str, tree: ast.Module) -> ast.Module:
    """Of a file the statements that bind the names which a function uses, and those which these use, and so on."""
    bound = {name: statement for statement in tree.body for name in _bound(statement)}
    names, used = {function}, {}
    while new := [name for name in names if name in bound and name not in used]:
        used |= {name: bound[name] for name in new}
        names |= {n.id for name in new for n in ast.walk(bound[name]) if isinstance(n, ast.Name)}
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            statement.names = [alias for alias in statement.names if _name(alias) in used]
    chosen = {id(statement) for statement in used.values()}
    return ast.Module([statement for statement in tree.body if id(statement) in chosen], [])


def _bound(statement: ast.stmt) -> list[str]:
    """The names that a statement of a file gives a meaning."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [_name(alias) for alias in statement.names]
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement]
    return [
        n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    ]


def _name(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _taken(tree: ast.Module) -> list[Taken]:
    return [
        Taken(node.module, alias.name, alias.asname or alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "diffjax"
        for alias in node.names
    ]


def _is_door(module: str) -> bool:
    return (file := _file(module)) is not None and file.name == "__init__.py"


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
