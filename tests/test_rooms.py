"""The plan of the house: the rooms of `diffjax/` stand on floors, and an import never climbs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import diffjax

ROOT = Path(diffjax.__file__).parent
ROOMS = (  # from the ground up; a module imports its own room and those before it
    "errors", "host", "precision", "keys", "ramp", "parallel", "optim", "diffusion", "adversarial", "augment",
    "encoders", "data", "models", "interop", "metrics", "methods", "config", "frozen_text", "workdir", "inference",
    "experiment", "run", "drawing", "evaluation", "training", "ablation", "cli",
)  # fmt: skip
DEFERRED = {  # imports inside a function that do climb, each for the reason that stands beside it there
    ("diffjax.experiment", "diffjax.run"),
    ("diffjax.run", "diffjax.evaluation.evaluate"),
}
ALONE = {  # libraries that someone could take away: all that they need of diffjax
    "diffusion": {"errors"},
    "adversarial": {"errors", "ramp"},
    "augment": {"errors", "ramp"},
    "metrics": {"errors", "host", "precision", "data", "interop"},
    "models": {"errors", "precision", "parallel", "encoders"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), ast.parse(path.read_text())


def imported(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """The modules of diffjax that a file imports; those that only a type checker sees do not count."""
    checked = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("diffjax") and id(node) not in checked:
            for alias in node.names:
                yield node, f"{node.module}.{alias.name}" if node.module == "diffjax" else node.module
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names if alias.name.startswith("diffjax."))


def room(module: str) -> str:
    return module.split(".")[1]


IMPORTS = [
    (module, target, node in tree.body)
    for module, tree in modules()
    if module != "diffjax"
    for node, target in imported(tree)
]


def test_every_room_is_on_the_plan():
    assert {room(module) for module, _ in modules() if module != "diffjax"} == set(ROOMS)


def test_an_import_never_climbs():
    climbing = {(a, b) for a, b, _ in IMPORTS if ROOMS.index(room(b)) > ROOMS.index(room(a))}
    assert climbing == DEFERRED
    assert not any(at_the_top for a, b, at_the_top in IMPORTS if (a, b) in DEFERRED)


@pytest.mark.parametrize("name", ALONE)
def test_a_library_needs_no_more_than_it_says(name):
    assert {room(b) for a, b, _ in IMPORTS if room(a) == name} - {name} == ALONE[name]


def test_only_one_module_knows_orbax_and_only_one_room_knows_tfds():
    knows = {library: set() for library in ("orbax", "tensorflow_datasets")}
    for module, tree in modules():
        for node in ast.walk(tree):
            names = [alias.name for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)]
            for name in [getattr(node, "module", None) or "", *names]:
                if name.partition(".")[0] in knows:
                    knows[name.partition(".")[0]].add(module)
    assert knows == {"orbax": {"diffjax.workdir.checkpoint"}, "tensorflow_datasets": {"diffjax.data.tfds"}}
