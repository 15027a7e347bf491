"""A canonical text of a syntax tree, which stays the same as long as the code means the same.

It has no comments, docstrings, layout or checks that only raise, and it numbers local variables. A function can
therefore be documented, checked and tidied without making its results stale. All versions of Python give the same text.
"""

import ast
import symtable
from collections.abc import Iterator
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NAMED = dict.fromkeys((*FUNCTIONS, ast.ExceptHandler, ast.MatchAs, ast.MatchStar), "name") | {
    ast.Name: "id", ast.MatchMapping: "rest"
}  # the field that has a variable's name, by type of node  # fmt: skip


def canonical(tree: ast.Module) -> str:
    """The canonical text of a tree. Modifies the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    variables = {function: local_variables(function) for function in _outermost_functions(tree)}
    tree = _WithoutChecks().visit(tree)
    for function, names in variables.items():
        _number(function, names)
    return _text(tree)


def local_variables(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names that are local variables wherever they occur in a function and in functions inside it.

    Not its parameters, which callers may pass by name; nor its imports; nor classes inside it and their attributes,
    because Flax names parameters after them.
    """
    module = symtable.symtable(ast.unparse(function), function.name, "exec")
    tables = [*_tables(module)]
    symbols = [(table, symbol) for table in tables for symbol in table.get_symbols()]
    fixed = {
        symbol.get_name()
        for table, symbol in symbols
        if symbol.is_global() or symbol.is_parameter() or symbol.is_imported() or isinstance(table, symtable.Class)
    }
    fixed |= {symbol.get_name() for symbol in module.get_symbols()}  # decorators, defaults, annotations
    fixed |= {node.name for node in ast.walk(function) if isinstance(node, ast.ClassDef)}
    return {symbol.get_name() for _, symbol in symbols if symbol.is_local()} - fixed


def _tables(module: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """The scopes inside a module, and inside those."""
    for table in module.get_children():
        yield table
        yield from _tables(table)


def _outermost_functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions and methods that are not inside another function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            yield child
        else:
            yield from _outermost_functions(child)


def _number(function: ast.AST, names: set[str]) -> None:
    """Renames a function's variables to "1", "2", ... in order of occurrence; no valid name can clash with these."""
    numbers: dict[str, str] = {}

    def renamed(name):
        return numbers.setdefault(name, str(len(numbers) + 1)) if name in names else name

    for node in ast.walk(function):
        if isinstance(node, ast.Nonlocal):
            node.names = [renamed(name) for name in node.names]
        elif (field := NAMED.get(type(node))) and getattr(node, field):
            setattr(node, field, renamed(getattr(node, field)))


class _WithoutChecks(ast.NodeTransformer):
    """Removes checks: each `if` that does nothing but raise, and loops over nothing but such."""

    def visit_If(self, node):
        self.generic_visit(node)
        assigns = any(isinstance(part, ast.NamedExpr) for part in ast.walk(node.test))  # later code may use the name
        only_raises = all(isinstance(statement, ast.Raise) for statement in node.body)
        return None if only_raises and not node.orelse and not assigns else node

    def visit_For(self, node):
        self.generic_visit(node)
        return node if node.body or node.orelse else None

    def visit_ImportFrom(self, node):
        return None if node.module == "diffjax.errors" else node


def _text(node: Any) -> str:
    """A syntax tree as text, the same in every version of Python, unlike those of `ast.unparse` and `ast.dump`.

    Versions differ in which fields may be empty, and in how they split the constants of an f-string.
    """
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _joined(node.values)
    return f"{type(node).__name__}({', '.join(f'{name}={_text(value)}' for name, value in sorted(fields.items()))})"


def _joined(values: list[ast.expr]) -> list[ast.expr | str]:
    """The parts of an f-string, with adjacent constants joined."""
    parts = []
    for value in values:
        value = value.value if isinstance(value, ast.Constant) else value
        if isinstance(value, str) and parts and isinstance(parts[-1], str):
            parts[-1] += value
        elif value != "":
            parts.append(value)
    return parts
