"""The text of a syntax tree that stays the same while a file means the same.

It has no comments, docstrings, layout or checks that only raise, and local variables are numbered, so that a function
may be documented, checked and tidied without making its numbers stale. It is the same in every version of Python.
"""

import ast
import symtable
from collections.abc import Iterator
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NAMED = dict.fromkeys((*FUNCTIONS, ast.ExceptHandler, ast.MatchAs, ast.MatchStar), "name") | {
    ast.Name: "id", ast.MatchMapping: "rest"
}  # where a tree has the name of a variable  # fmt: skip


def canonical(tree: ast.Module) -> str:
    """The text of a tree, which is changed on the way."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    variables = {function: local_variables(function) for function in _outermost_functions(tree)}
    tree = _WithoutChecks().visit(tree)
    for function, names in variables.items():
        _number(function, names)
    return _text(tree)


def local_variables(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names that mean a local variable wherever they occur in a function, those inside it included.

    Not its parameters, which callers may name, nor what it imports, nor a class inside it and what that calls its
    attributes: Flax names parameters after classes.
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
    """Functions and methods that are in no other function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            yield child
        else:
            yield from _outermost_functions(child)


def _number(function: ast.AST, names: set[str]) -> None:
    """Has a function's variables be called by the order in which they occur, "1", "2", ..., which no name can be."""
    numbers: dict[str, str] = {}

    def renamed(name):
        return numbers.setdefault(name, str(len(numbers) + 1)) if name in names else name

    for node in ast.walk(function):
        if isinstance(node, ast.Nonlocal):
            node.names = [renamed(name) for name in node.names]
        elif (field := NAMED.get(type(node))) and getattr(node, field):
            setattr(node, field, renamed(getattr(node, field)))


class _WithoutChecks(ast.NodeTransformer):
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


def _text(node: Any) -> str:
    """A syntax tree as text, the same in every version of Python, which `ast.unparse` and `ast.dump` are not.

    Versions differ in fields that are empty here, and in how the constants of an f-string are cut.
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
    """The parts of an f-string, neighbouring constants as one."""
    parts = []
    for value in values:
        value = value.value if isinstance(value, ast.Constant) else value
        if isinstance(value, str) and parts and isinstance(parts[-1], str):
            parts[-1] += value
        elif value != "":
            parts.append(value)
    return parts
