"""Which code a number depends on: a hash that changes with it, not with comments, docstrings, checks or Python.

A check that only raises makes no number another one: it may be added, or said more clearly, without making cells stale.
It covers the modules in which a config's components are defined, those of the loop, and all from which these take
something: not a package for one of its names, but the module where that is defined. What draws from a run and measures
it is no part of its training's code. Of a user's own file it covers what a function uses, there and in the files beside
it; of what is installed nothing. A cell whose hash is no longer today's was made by older code, and is called stale.

Some files import everything, as that of the loop. Of these counts what they say themselves, nothing of what they
import; and of a training no more than the definitions in them that it goes by, such as "diffjax.train:loop".
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

import diffjax
from diffjax.ablation.syntax import Source, Taken, definition, read
from diffjax.config import TABLES, slot_of
from diffjax.errors import UserError
from diffjax.measures import METRICS
from diffjax.metrics.features import FEATURES

ROOT = Path(diffjax.__file__).parent
LOOP = (  # how a run begins, goes on and is given up, whatever it trains
    "diffjax.run:Experiment", "diffjax.run:_optimizers", "diffjax.train:begin", "diffjax.train:warm_start",
    "diffjax.train:loop", "diffjax.train:due", "diffjax.train:first_bad_step", "diffjax.health", "diffjax.window",
    "diffjax.state", "diffjax.ema", "diffjax.optim", "diffjax.parallel", "diffjax.data.pipeline",
)  # fmt: skip
MEASURING = ("diffjax.ablation.work:_measure", "diffjax.run", "diffjax.measures.evidence", "diffjax.sampling")
ALONE = ("diffjax.run", "diffjax.train")  # import everything
DRAWING = ("sampler", "eval")  # sections of a config that say nothing of training
SILENT = (  # what changes no number, or imports everything
    "diffjax.config", "diffjax.pictures", "diffjax.writer", "diffjax.progress", "diffjax.workdir",
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
    """Likewise for a function in a user's own file, with whatever it uses: of that file, of those beside it, of ours.

    Raises UserError where a file takes all of a module of this package, as it is not known then what it uses.
    """
    parts = _of_own_files(Path(path).resolve(), name)
    modules = {module for part in parts for module in _sources(part)}
    return _hash(modules, *(part.content for part in parts), *needs)


def _hash(parts: Iterable[str], *more: str) -> str:
    found: set[str] = set()
    for part in sorted(parts):
        _closure(part, found)
    digest = hashlib.sha256("".join(more).encode())
    for part in sorted(found):
        module, _, name = part.partition(":")
        path = _file(module)
        digest.update(f"{part}:{definition(path.read_text(), name) if name else _content(path)}\n".encode())
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


def _closure(part: str, found: set[str]) -> None:
    """Adds a module of this package, and all those it takes something from, to `found`; a definition in one alone."""
    module, _, name = part.partition(":")
    if part in found or (not name and _is_silent(module)) or _file(module) is None:
        return
    found.add(part)
    if not name and module not in ALONE:
        for imported in _imports(_file(module)):
            _closure(imported, found)


def _is_silent(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in SILENT)


def _imports(path: Path) -> tuple[str, ...]:
    """The modules of this package from which a file takes something."""
    return _sources(read(path.read_text()))


def _sources(source: Source) -> tuple[str, ...]:
    """The modules of this package from which something is taken, each that which defines it.

    Of a package that is taken as such those whose names are asked of it.
    """
    modules = []
    for module, name, known_as in source.taken:
        if name and _is_door(f"{module}.{name}"):
            modules += [_source(f"{module}.{name}", asked) for of, asked in source.attributes if of == known_as]
        elif _is_ours(module):
            modules.append(_source(module, name))
    return tuple(module for module in modules if module)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "diffjax"


def _source(module: str, name: str) -> str:
    """The module that defines what is called `name` in `module`; "" for a table of components in a package's door.

    A package's `__init__` hands on what is defined elsewhere, and has tables: of these a config says what it takes.
    """
    if _file(f"{module}.{name}") or not _is_door(module):
        return f"{module}.{name}" if _file(f"{module}.{name}") else module
    handed = (t for t in read(_file(module).read_text()).taken if t.known_as == name)
    return next((_source(t.module, t.name) for t in handed), "")


def _content(path: Path) -> str:
    """What a file says, without its comments, docstrings and layout."""
    return read(path.read_text()).content


def _of_own_files(path: Path, name: str) -> list[Source]:
    """What a function uses of its file, and of the files beside it: those that `executed` lets it import."""
    found: dict[tuple[Path, str], Source] = {}

    def follow(file: Path, name: str) -> None:
        if (file, name) in found:
            return
        found[file, name] = source = read(file.read_text(), name)
        for taken in source.taken:
            if _is_ours(taken.module):
                _check_named(taken, file)
            elif there := _beside(taken, file, path.parent.parent):
                follow(*there)

    follow(path, name)
    return list(found.values())


def _check_named(taken: Taken, file: Path) -> None:
    if taken.name in ("", "*") and not _is_silent(taken.module):
        raise UserError(
            f"grid: {file} takes all of {taken.module}, and it is not known what a number depends on; write "
            f"`from {taken.module} import` and the names that are used"
        )


def _beside(taken: Taken, file: Path, root: Path) -> tuple[Path, str] | None:
    """The file of the user's own from which another takes something, and the name in it; None of what is installed."""
    module = taken.module.lstrip(".")
    above = len(taken.module) - len(module)
    place = (file.parents[above - 1] if above else root).joinpath(*module.split("."))
    name = taken.name.removesuffix("*")  # "": all of it
    tries = ((place / taken.name, ""), (place, name))  # a module of a package, or a name of a module
    files = [(path, of) for at, of in tries for path in (at.with_name(f"{at.name}.py"), at / "__init__.py")]
    return next(((path, of) for path, of in files if path.is_file()), None)


def _is_door(module: str) -> bool:
    return (file := _file(module)) is not None and file.name == "__init__.py"


def _file(module: str) -> Path | None:
    if not _is_ours(module):
        return None
    path = ROOT.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
