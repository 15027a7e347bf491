"""What a Python file says, and what it takes from others, whatever its comments, docstrings, checks and layout."""

import ast
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from diffjax.ablation.canonical import canonical

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)  # what is named inside stays there


class Taken(NamedTuple):
    """A name that a file takes from a module."""

    module: str  # of one in the same folder ".module"
    name: str  # "" of `import module`, "*" where all are taken
    known_as: str = ""


class Source(NamedTuple):
    """A file, or a part of it."""

    taken: tuple[Taken, ...]
    attributes: frozenset[tuple[str, str]]  # (name, attribute), wherever one is asked of a name
    content: str  # what it says, without comments, docstrings, checks and layout


@cache
def read(text: str, name: str = "") -> Source:
    """The whole of a file; or what a name of it stands for, with whatever of the file that uses.

    A name that nothing at the top of the file binds, as of a function inside another, is of the whole file.
    """
    tree = ast.parse(text)
    if name in bound(tree):
        tree = _used_by(name, tree)
    attributes = {(n.value.id, n.attr) for n in ast.walk(tree) if isinstance(n, ast.Attribute) and _is_name(n.value)}
    return Source(tuple(taken(tree)), frozenset(attributes), canonical(tree))


@cache
def definition(text: str, name: str) -> str:
    """The content of what alone gives a name of a file its meaning; "" where nothing does."""
    tree = ast.parse(text)
    own = [statement for statement in tree.body if name in bound(statement)]
    return canonical(ast.Module(own, [])) if own else ""


def taken(tree: ast.Module) -> list[Taken]:
    """All that a file takes from modules, wherever in it."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found += [Taken(module, alias.name, alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [Taken(alias.name, "", _name(alias)) for alias in node.names]
    return found


def _used_by(name: str, tree: ast.Module) -> ast.Module:
    """Of a file the statements that give a name its meaning, the names that these use theirs, and so on.

    With all that act on their own, and what these use.
    """
    binding: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for known_as in bound(statement):
            binding.setdefault(known_as, []).append(statement)
    chosen = [statement for statement in tree.body if _acts(statement)]
    names, used = {name} | _names(chosen), set()
    while new := names & binding.keys() - used:
        more = [statement for known_as in new for statement in binding[known_as]]
        chosen, names, used = chosen + more, names | _names(more), used | new
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            statement.names = [alias for alias in statement.names if _name(alias) in {*used, "*"}]
    kept = {id(statement) for statement in chosen}
    return ast.Module([statement for statement in tree.body if id(statement) in kept], [])


def _names(statements: Iterable[ast.stmt]) -> set[str]:
    return {node.id for statement in statements for node in ast.walk(statement) if _is_name(node)}


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def _acts(node: ast.AST) -> bool:
    """Whether a statement has a call whose result nothing takes, and may change anything, or takes all of a module."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.ImportFrom):
        return any(alias.name == "*" for alias in node.names)
    inside = () if isinstance(node, DEFINITIONS) else ast.iter_child_nodes(node)
    return any(_acts(part) for part in inside if isinstance(part, ast.stmt | ast.excepthandler | ast.match_case))


def bound(node: ast.AST) -> set[str]:
    """The names that a statement, or a whole file, gives a meaning, or another one, as T by `T["x"] = 3`."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {_name(alias) for alias in node.names}
    if isinstance(node, DEFINITIONS):
        return {node.name}
    if isinstance(node, SCOPES):
        return set()
    own = _root(node) if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del) else set()
    return own.union(*map(bound, ast.iter_child_nodes(node)))


def _root(target: ast.expr) -> set[str]:
    """The name that an assignment changes: T of `T.x[0]`."""
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return {target.id} if isinstance(target, ast.Name) else set()


def _name(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]
