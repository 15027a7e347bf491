"""What a Python file says, and what it takes from others, whatever its comments, docstrings, checks and layout."""

import ast
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

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
    return Source(tuple(taken(tree)), frozenset(attributes), _told(tree))


@cache
def definition(text: str, name: str) -> str:
    """The content of what alone gives a name of a file its meaning; "" where nothing does."""
    tree = ast.parse(text)
    own = [statement for statement in tree.body if name in bound(statement)]
    return _told(ast.Module(own, [])) if own else ""


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


def _told(tree: ast.Module) -> str:
    """What a syntax tree says, without docstrings and checks."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return _said(_Checkless().visit(tree))


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
