"""What a Python file, or one name of it, consists of: its canonical text, and what it imports."""

import ast
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from diffjax.ablation.canonical import canonical

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)  # names bound inside stay inside


class Taken(NamedTuple):
    """A name that a file imports."""

    module: str  # with its leading dots, if relative
    name: str  # "" for `import module`, "*" for all names
    known_as: str = ""


class Source(NamedTuple):
    """A file, or a part of it."""

    taken: tuple[Taken, ...]
    attributes: frozenset[tuple[str, str]]  # (name, attribute) of every `name.attribute`
    content: str  # its canonical text


@cache
def read(text: str, name: str = "") -> Source:
    """A whole file; or the part of it that defines `name`, with everything in the file that this uses.

    For a name that is not bound at the top level of the file, such as a function inside another, it is the whole file.
    """
    tree = ast.parse(text)
    if name in bound(tree):
        tree = _used_by(name, tree)
    attributes = {(n.value.id, n.attr) for n in ast.walk(tree) if isinstance(n, ast.Attribute) and _is_name(n.value)}
    return Source(tuple(taken(tree)), frozenset(attributes), canonical(tree))


@cache
def definition(text: str, name: str) -> str:
    """The canonical text of the statements that bind a name, without what they use; "" if there are none."""
    tree = ast.parse(text)
    statements = [statement for statement in tree.body if name in bound(statement)]
    return canonical(ast.Module(statements, [])) if statements else ""


def taken(tree: ast.Module) -> list[Taken]:
    """All imports of a file, at any depth."""
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            imports += [Taken(module, alias.name, alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            imports += [Taken(alias.name, "", _name(alias)) for alias in node.names]
    return imports


def _used_by(name: str, tree: ast.Module) -> ast.Module:
    """The statements of a file that bind a name, those that bind the names these use, and so on.

    Statements with side effects, and what these use, are always included.
    """
    binding: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for bound_name in bound(statement):
            binding.setdefault(bound_name, []).append(statement)
    chosen = [statement for statement in tree.body if _acts(statement)]
    names, used = {name} | _names(chosen), set()
    while new := names & binding.keys() - used:
        statements = [statement for bound_name in new for statement in binding[bound_name]]
        chosen, names, used = chosen + statements, names | _names(statements), used | new
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            statement.names = [alias for alias in statement.names if _name(alias) in {*used, "*"}]
    chosen_ids = {id(statement) for statement in chosen}
    return ast.Module([statement for statement in tree.body if id(statement) in chosen_ids], [])


def _names(statements: Iterable[ast.stmt]) -> set[str]:
    return {node.id for statement in statements for node in ast.walk(statement) if _is_name(node)}


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def _acts(node: ast.AST) -> bool:
    """Whether a statement may have side effects: it has a call whose result is unused, or a star import."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.ImportFrom):
        return any(alias.name == "*" for alias in node.names)
    children = () if isinstance(node, DEFINITIONS) else ast.iter_child_nodes(node)
    return any(_acts(child) for child in children if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case))


def bound(node: ast.AST) -> set[str]:
    """The names that a statement, or a whole file, binds or modifies, as `T["x"] = 3` modifies T."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {_name(alias) for alias in node.names}
    if isinstance(node, DEFINITIONS):
        return {node.name}
    if isinstance(node, SCOPES):
        return set()
    names = _root(node) if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del) else set()
    return names.union(*map(bound, ast.iter_child_nodes(node)))


def _root(target: ast.expr) -> set[str]:
    """The name that an assignment target modifies: T in `T.x[0]`."""
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return {target.id} if isinstance(target, ast.Name) else set()


def _name(alias: ast.alias) -> str:
    """The name that `import` binds."""
    return alias.asname or alias.name.partition(".")[0]
