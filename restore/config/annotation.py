"""The types that annotations mean, as the source text tells."""

import ast
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Optional, Union

from restore.config.definition import DEPTH, find


class Tensor:
    """Stands for torch's, which is not imported here: no plain value is one."""


_KNOWN: dict[str, Any] = {
    **{one.__name__: one for one in (int, float, bool, str, dict, list, tuple)},
    **{"Callable": Callable, "Iterable": Iterable, "Mapping": Mapping, "Sequence": Sequence},
    **{"Any": Any, "Literal": Literal, "Optional": Optional, "Union": Union, "Path": Path},
    **{"Dict": dict, "List": list, "Tuple": tuple, "Tensor": Tensor},
}


def type_of(node: ast.expr | None, module: str, depth: int = 0) -> Any:
    """The type behind an annotation. A name that is not among the plain types becomes Any."""
    if node is None or depth > DEPTH:
        return Any
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return type_of(parsed(node.value), module, depth + 1)
        return node.value
    if isinstance(node, ast.Name):
        if node.id in _KNOWN:
            return _KNOWN[node.id]
        found = find(module, node.id)
        if found is None or isinstance(found[1], ast.ClassDef | ast.FunctionDef):
            return Any
        return type_of(typing.cast(ast.expr, found[1]), found[0], depth + 1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return type_of(node.left, module, depth + 1) | type_of(node.right, module, depth + 1)
    return _subscript(node, module, depth) if isinstance(node, ast.Subscript) else Any


def _subscript(node: ast.Subscript, module: str, depth: int) -> Any:
    origin = type_of(node.value, module, depth + 1)
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if origin is Literal:
        values = [item.value for item in items if isinstance(item, ast.Constant)]
        return Literal[tuple(values)] if len(values) == len(items) else Any
    if origin is Any or origin is Callable:
        return origin
    arguments = tuple(type_of(item, module, depth + 1) for item in items)
    if origin is Optional:
        return arguments[0] | None
    return origin[arguments if len(arguments) > 1 else arguments[0]]


def parsed(text: str) -> ast.expr | None:
    """An annotation in quotes; None where it is no expression."""
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
