"""Signatures and docstrings as they stand in source text: nothing is imported.

What a class takes is known within milliseconds, where importing it loads torch and Lightning. Every
answer here is a part of the truth: None, or Any for an annotation, where the text alone does not
tell. `restore.config.signature.check` asks the classes themselves before anything is built.
"""

import ast
import functools
from dataclasses import dataclass
from typing import Any

from restore.config.annotation import parsed, type_of
from restore.config.definition import DEPTH, find

_EMPTY = {"ABC", "Protocol", "object"}  # bases that take no argument
_UNPACK = ("Unpack", "typing.Unpack")
UNTOLD: Any = object()  # a default that is no plain value


@dataclass(frozen=True)
class Parameter:
    """One argument. annotation: Any where the text does not tell. default: UNTOLD likewise."""

    annotation: Any
    required: bool
    default: Any = UNTOLD


@dataclass(frozen=True)
class Description:
    """What a class or function takes, and what its docstring says.

    rest: the name of a class's own `**settings` of which the text does not tell what they are.
    """

    parameters: dict[str, Parameter]
    doc: str
    rest: str = ""


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
    return Description(parameters, ast.get_docstring(node) or "", _untold(node, home))


def _untold(node: ast.ClassDef, module: str) -> str:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__" and item.args.kwarg:
            rest = item.args.kwarg
            return "" if _record(rest.annotation, module) else rest.arg
    return ""


def _constructor(module: str, node: ast.ClassDef, depth: int = 0) -> dict[str, Parameter] | None:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _arguments(item, module, bound=True)
    bases = [base.id if isinstance(base, ast.Name) else "" for base in node.bases]
    if bases == ["NamedTuple"] or _is_dataclass(node):
        return _fields(module, node)
    if not set(bases) - _EMPTY:
        return {}
    for base in bases if depth <= DEPTH else ():
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
        above = find(module, ast.unparse(base)) if depth <= DEPTH else None
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
    return Parameter(type_of(annotation, module), default is None, plain)


def _record(node: ast.expr | None, module: str) -> dict[str, Parameter]:
    """The arguments that `**settings: Unpack[SomeTypedDict]` stands for, in quotes or not."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = parsed(node.value)
    if not (isinstance(node, ast.Subscript) and ast.unparse(node.value) in _UNPACK):
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
            fields[item.target.id] = Parameter(type_of(annotation, home), not optional)
    return fields
