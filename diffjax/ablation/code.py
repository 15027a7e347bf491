"""Hashes of the code that a number depends on. A cell whose hash differs from today's is called stale.

- For a training, the hash covers the modules that define the config's components, the training loop, and everything
  these import. A name imported from a package counts as the module that defines it, not as the whole package.
- The code that samples and measures a run is not part of its training's hash.
- For a function in a user's file, the hash covers what the function uses: in that file, in files beside it that it
  imports, and in diffjax.
- Nothing covers comments, docstrings, layout, local names, checks that only raise, installed packages, or the version
  of Python (canonical.py). Such changes leave every number the same, so they must not make cells stale.

A part of the code is a module, "diffjax.optim.ema", or one definition in it, "diffjax.training.loop:loop". Definitions
keep modules that import everything, such as the one of the training loop, from making every hash depend on everything;
of the modules in ALONE the hash takes the content but none of the imports.
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
from diffjax.evaluation import METRICS
from diffjax.metrics.features import FEATURES

ROOT = Path(diffjax.__file__).parent
LOOP = (  # how a run starts, continues and fails, whatever it trains
    "diffjax.experiment:Experiment", "diffjax.experiment:_optimizers", "diffjax.training.loop:prepare",
    "diffjax.training.warm_start:warm_start", "diffjax.training.loop:loop", "diffjax.training.loop:due",
    "diffjax.training.loop:first_bad_step", "diffjax.training.health", "diffjax.training.window",
    "diffjax.training.stopwatch", "diffjax.keys", "diffjax.optim.state", "diffjax.optim.ema",
    "diffjax.optim.optimizers", "diffjax.parallel", "diffjax.data.pipeline",
)  # fmt: skip
MEASURING = (
    "diffjax.ablation.work:_measure", "diffjax.run", "diffjax.evaluation.evidence", "diffjax.inference.sampling",
    "diffjax.evaluation.choice:extractors",
)  # fmt: skip
JUDGE = "diffjax.evaluation.classes"  # takes the features of a classifier, which is a run, in `needs`
ALONE = ("diffjax.experiment", "diffjax.run", "diffjax.training.loop")  # they import everything, which does not count
DRAWING = ("sampler", "eval")  # sections of a config that do not affect training
SILENT = (  # modules that change no number, or that import everything
    "diffjax.config", "diffjax.errors", "diffjax.host", "diffjax.workdir", "diffjax.drawing.pictures",
    "diffjax.evaluation.report", "diffjax.ablation",
)  # fmt: skip


def code_of(config: ConfigDict, metrics: Collection[str] = (), needs: Iterable[str] = ()) -> str:
    """The hash, twelve hexadecimal digits, of the code that trains a config; with `metrics`, also measures it.

    Metrics carry the features they use, as in "frechet:pixels"; `needs` are the hashes of the runs that it needs.
    """
    sections = config if metrics else {name: section for name, section in config.items() if name not in DRAWING}
    modules = {*LOOP, *(MEASURING if metrics else ()), *(component.__module__ for component in _components(sections))}
    for name, _, features in (metric.partition(":") for metric in metrics):
        modules.add(METRICS[name].function.__module__)
        if features:
            modules.add(_plain(FEATURES[features]).__module__ if features in FEATURES else JUDGE)
    return _hash(modules, *needs)


def code_of_function(path: str, name: str, needs: Iterable[str] = ()) -> str:
    """The hash of a function in a user's file, and of what it uses there, in the files beside it, and in diffjax.

    Raises UserError if a file imports a whole module of diffjax: it is then unknown what the function uses.
    """
    sources = _user_sources(Path(path).resolve(), name)
    modules = {module for source in sources for module in _imported_modules(source)}
    return _hash(modules, *(source.content for source in sources), *needs)


def _hash(parts: Iterable[str], *more: str) -> str:
    """The hash of parts of diffjax with everything they import, and of more text."""
    closure: set[str] = set()
    for part in sorted(parts):
        _closure(part, closure)
    digest = hashlib.sha256("".join(more).encode())
    for part in sorted(closure):
        module, _, name = part.partition(":")
        path = _file(module)
        digest.update(f"{part}:{definition(path.read_text(), name) if name else _content(path)}\n".encode())
    return digest.hexdigest()[:12]


def _components(node: Mapping[str, Any], path: str = "") -> list[Callable]:
    """The classes and functions that a config names."""
    components = []
    for key, value in node.items():
        if isinstance(value, ConfigDict):
            prefix = f"{path}{key}."
            if "name" in value:
                family = value.name.partition(":")[0]
                components.append(_plain(TABLES[slot_of(f"{prefix}name")][family]))
            components += _components(value, prefix)
    return components


def _plain(component: Callable) -> Callable:
    """The function inside a partial application."""
    return getattr(component, "func", component)


def _closure(part: str, found: set[str]) -> None:
    """Adds a part of diffjax to `found`; a module with everything it imports, a definition by itself."""
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
    """The modules of diffjax that define what a file imports."""
    return _imported_modules(read(path.read_text()))


def _imported_modules(source: Source) -> tuple[str, ...]:
    """The modules of diffjax that define what a source imports.

    If it imports a package, these are the modules that define the attributes it uses of it.
    """
    modules = []
    for module, name, known_as in source.taken:
        if name and _is_door(f"{module}.{name}"):
            attributes = [attribute for owner, attribute in source.attributes if owner == known_as]
            modules += [_defining_module(f"{module}.{name}", attribute) for attribute in attributes]
        elif _is_ours(module):
            modules.append(_defining_module(module, name))
    return tuple(module for module in modules if module)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "diffjax"


def _defining_module(module: str, name: str) -> str:
    """The module that defines `name`, imported from `module`; "" for a table of components in a package's `__init__`.

    An `__init__` re-exports names and has tables of components; which entries of a table count, the config says.
    """
    if _file(f"{module}.{name}"):
        return f"{module}.{name}"
    if not _is_door(module):
        return module
    reexports = (imported for imported in read(_file(module).read_text()).taken if imported.known_as == name)
    return next((_defining_module(imported.module, imported.name) for imported in reexports), "")


def _content(path: Path) -> str:
    """The canonical text of a file."""
    return read(path.read_text()).content


def _user_sources(path: Path, name: str) -> list[Source]:
    """What a function uses of its file, and of the files beside it that `executed` lets it import."""
    sources: dict[tuple[Path, str], Source] = {}

    def follow(file: Path, name: str) -> None:
        if (file, name) in sources:
            return
        sources[file, name] = source = read(file.read_text(), name)
        for imported in source.taken:
            if _is_ours(imported.module):
                _check_named(imported, file)
            elif target := _user_file(imported, file, path.parent.parent):
                follow(*target)

    follow(path, name)
    return list(sources.values())


def _check_named(imported: Taken, file: Path) -> None:
    if imported.name in ("", "*") and not _is_silent(imported.module):
        raise UserError(
            f"grid: {file} imports all of {imported.module}, so it is unknown what a number depends on; write "
            f"`from {imported.module} import` and the names that are used"
        )


def _user_file(imported: Taken, file: Path, root: Path) -> tuple[Path, str] | None:
    """The user's file behind an import of `file`, and the imported name, "" for all of it; None for a package."""
    module = imported.module.lstrip(".")
    level = len(imported.module) - len(module)
    target = (file.parents[level - 1] if level else root).joinpath(*module.split("."))
    candidates = ((target / imported.name, ""), (target, imported.name.removesuffix("*")))  # a module, or a name in one
    files = [
        (path, name) for stem, name in candidates for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")
    ]
    return next(((path, name) for path, name in files if path.is_file()), None)


def _is_door(module: str) -> bool:
    """Whether a module is the `__init__` of a package."""
    return (file := _file(module)) is not None and file.name == "__init__.py"


def _file(module: str) -> Path | None:
    """The file of a module of diffjax; None if there is none."""
    if not _is_ours(module):
        return None
    path = ROOT.joinpath(*module.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
