"""Signatures and docstrings as they stand in source text: nothing is imported.

What a class takes is known within milliseconds, where importing it loads torch and Lightning. Every
answer here is a part of the truth: None, or Any for an annotation, where the text alone does not
tell. `restore.config.signature.check` asks the classes themselves before anything is built.
"""

import ast
import functools
import importlib.util
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional, Union

_DEPTH = 8  # imports and base classes that are followed


class Tensor:
    """Stands for torch's, which is not imported here: no plain value is one."""


_EMPTY = {"ABC", "Protocol", "object"}  # bases that take no argument
_KNOWN: dict[str, Any] = {
    **{one.__name__: one for one in (int, float, bool, str, dict, list, tuple)},
    **{"Callable": Callable, "Iterable": Iterable, "Mapping": Mapping, "Sequence": Sequence},
    **{"Any": Any, "Literal": Literal, "Optional": Optional, "Union": Union, "Path": Path},
    **{"Dict": dict, "List": list, "Tuple": tuple, "Tensor": Tensor},
}


UNTOLD: Any = object()  # a default that is no plain value


@dataclass(frozen=True)
class Parameter:
    """One argument. annotation: Any where the text does not tell. default: UNTOLD likewise."""

    annotation: Any
    required: bool
    default: Any = UNTOLD


@dataclass(frozen=True)
class Description:
    """What a class or function takes, and what its docstring says."""

    parameters: dict[str, Parameter]
    doc: str


@functools.cache
def describe(target: str) -> Description | None:
    """The class or function behind a dotted path; None where its source text does not tell."""
    module, _, name = target.rpartition(".")
    found = find(module, name)
    if found is None:
        return None
    home, node = found
    if isinstance(node, ast.FunctionDef):
        return Description(_arguments(node, home, bound=False), ast.get_docstring(node) or "")
    if not isinstance(node, ast.ClassDef):
        return None
    parameters = _constructor(home, node)
    if parameters is None:
        return None
    return Description(parameters, ast.get_docstring(node) or "")


def public(module: str) -> list[str]:
    """The classes and functions that a module defines for others, in their order."""
    return [
        name
        for name, node in _tree(module).items()
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not name.startswith("_")
    ]


def _path(module: str) -> Path | None:
    """The file of a module; the packages on the way are not imported."""
    root, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@functools.cache
def _tree(module: str) -> dict[str, ast.AST]:
    """What the top level of a module defines or imports, by name."""
    path = _path(module)
    if path is None:
        return {}
    names: dict[str, ast.AST] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            home = _absolute(module, path.name == "__init__.py", node)
            source = ast.ImportFrom(module=home, names=node.names, level=0)
            names |= {one.asname or one.name: source for one in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names[node.targets[0].id] = node.value
    return names


def _absolute(module: str, is_package: bool, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    up = node.level - 1 if is_package else node.level
    base = parts[: len(parts) - up]
    return ".".join([*base, *([node.module] if node.module else [])])


def find(module: str, name: str, depth: int = 0) -> tuple[str, ast.AST] | None:
    """The module that defines a name, and its node; imports are followed."""
    node = _tree(module).get(name)
    if node is None or depth > _DEPTH:
        return None
    if not isinstance(node, ast.ImportFrom):
        return module, node
    original = next(one.name for one in node.names if (one.asname or one.name) == name)
    return find(node.module or "", original, depth + 1)


def _constructor(module: str, node: ast.ClassDef, depth: int = 0) -> dict[str, Parameter] | None:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _arguments(item, module, bound=True)
    bases = [base.id if isinstance(base, ast.Name) else "" for base in node.bases]
    if bases == ["NamedTuple"] or _is_dataclass(node):
        return _fields(module, node)
    if not set(bases) - _EMPTY:
        return {}
    for base in bases if depth <= _DEPTH else ():
        found = find(module, base)
        if found is not None and isinstance(found[1], ast.ClassDef):
            inherited = _constructor(found[0], found[1], depth + 1)
            if inherited is not None:
                return inherited
    return None


def _is_dataclass(node: ast.ClassDef) -> bool:
    decorators = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
    return "dataclass" in {one.id for one in decorators if isinstance(one, ast.Name)}


def _fields(module: str, node: ast.ClassDef, depth: int = 0) -> dict[str, Parameter]:
    """The fields of a dataclass and of those that it extends; no other base is asked."""
    found: dict[str, Parameter] = {}
    for base in reversed(node.bases):
        above = find(module, ast.unparse(base)) if depth <= _DEPTH else None
        if above and isinstance(above[1], ast.ClassDef) and _is_dataclass(above[1]):
            found |= _fields(above[0], above[1], depth + 1)
    return found | {
        item.target.id: _parameter(item.annotation, item.value, module)
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and "ClassVar" not in ast.unparse(item.annotation)
    }


def _arguments(node: ast.FunctionDef, module: str, bound: bool) -> dict[str, Parameter]:
    """The named arguments of a function, without self and without *args and **kwargs."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    found = {
        one.arg: _parameter(one.annotation, default, module)
        for one, default in zip(positional, defaults, strict=True)
    }
    if bound:
        found.pop(positional[0].arg)
    for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found[one.arg] = _parameter(one.annotation, default, module)
    return found | (_record(given.kwarg.annotation, module) if given.kwarg else {})


def _parameter(annotation: ast.expr | None, default: ast.expr | None, module: str) -> Parameter:
    try:
        plain = UNTOLD if default is None else ast.literal_eval(default)
    except ValueError:
        plain = UNTOLD
    return Parameter(_annotation(annotation, module), default is None, plain)


def _record(node: ast.expr | None, module: str) -> dict[str, Parameter]:
    """The arguments that `**settings: Unpack[SomeTypedDict]` stands for."""
    if not (isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Unpack"):
        return {}
    found = find(module, ast.unparse(node.slice))
    if found is None or not isinstance(found[1], ast.ClassDef):
        return {}
    home, record = found[0], found[1]
    fields: dict[str, Parameter] = {}
    for item in record.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            annotation, optional = item.annotation, False
            if isinstance(annotation, ast.Subscript):
                optional = ast.unparse(annotation.value) == "NotRequired"
                annotation = annotation.slice if optional else annotation
            fields[item.target.id] = Parameter(_annotation(annotation, home), not optional)
    return fields


def _annotation(node: ast.expr | None, module: str, depth: int = 0) -> Any:
    """The type behind an annotation. A name that is not among the plain types becomes Any."""
    if node is None or depth > _DEPTH:
        return Any
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _annotation(_parsed(node.value), module, depth + 1)
        return node.value
    if isinstance(node, ast.Name):
        if node.id in _KNOWN:
            return _KNOWN[node.id]
        found = find(module, node.id)
        if found is None or isinstance(found[1], ast.ClassDef | ast.FunctionDef):
            return Any
        return _annotation(typing.cast(ast.expr, found[1]), found[0], depth + 1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _annotation(node.left, module, depth + 1) | _annotation(
            node.right, module, depth + 1
        )
    return _subscript(node, module, depth) if isinstance(node, ast.Subscript) else Any


def _subscript(node: ast.Subscript, module: str, depth: int) -> Any:
    origin = _annotation(node.value, module, depth + 1)
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if origin is Literal:
        values = [item.value for item in items if isinstance(item, ast.Constant)]
        return Literal[tuple(values)] if len(values) == len(items) else Any
    if origin is Any or origin is Callable:
        return origin
    arguments = tuple(_annotation(item, module, depth + 1) for item in items)
    if origin is Optional:
        return arguments[0] | None
    return origin[arguments if len(arguments) > 1 else arguments[0]]


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
