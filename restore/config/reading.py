"""The value of an expression of source text, as far as plain values lead; nothing is executed."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from restore.config import definition

Scope = dict[str, Any]
PARTLY = ""  # a key of no argument: the program may have added others to this dict

_LARGEST = 64  # exponents: no expression may take long
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    **{ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge},
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Is: operator.is_},
    **{ast.IsNot: operator.is_not, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b},
}
_COMPUTED: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul},
    **{ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod},
}
_CALLED: dict[str, Callable[..., Any]] = {
    **{"len": len, "min": min, "max": max, "abs": abs, "repr": repr, "sorted": sorted},
    **{"math.isfinite": math.isfinite, "math.isnan": math.isnan, "re.fullmatch": re.fullmatch},
}
_METHODS = ("startswith", "endswith", "isdecimal", "isidentifier")  # of texts
_TYPES: dict[str, type] = {one.__name__: one for one in (int, float, bool, str, dict, list, tuple)}


class Unknown(Exception):
    """The text alone does not tell; the class itself stands for such a value in a scope."""


@dataclass(frozen=True)
class ObjectNode:
    """A node of a config that will be an object, or a function that makes one."""

    target: str


def plain(value: Any) -> Any:
    """A value of a config as a constructor gets it; nodes are ObjectNodes."""
    if isinstance(value, Mapping) and "_target_" in value:
        return ObjectNode(str(value["_target_"]))
    inner = value.values() if isinstance(value, Mapping) else value
    holds = isinstance(value, Mapping | list)
    return Unknown if holds and any(isinstance(one, Mapping | list) for one in inner) else value


def truth(node: ast.expr, scope: Scope, module: str) -> bool:
    """Whether a condition holds; Unknown unless plain values decide."""
    value = read(node, scope, module)
    if isinstance(value, ObjectNode):
        raise Unknown
    return bool(value)


def read(node: ast.expr, scope: Scope, module: str) -> Any:
    """The value of an expression of `module`, where `scope` has names and `self.name`s."""
    try:
        value = _read(node, scope, module)
    except (TypeError, ValueError, ArithmeticError, LookupError, re.error):
        raise Unknown from None
    if value is Unknown:
        raise Unknown
    return value


def _read(node: ast.expr, scope: Scope, module: str) -> Any:
    def inner(one: ast.expr) -> Any:
        return read(one, scope, module)

    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        return _named(node, scope, module)
    if isinstance(node, ast.BoolOp):
        return _either(node, scope, module)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not truth(node.operand, scope, module)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -inner(node.operand)
    if isinstance(node, ast.BinOp):
        return _computed(node.op, inner(node.left), inner(node.right))
    if isinstance(node, ast.Compare):
        return _compared(node, [inner(one) for one in (node.left, *node.comparators)])
    if isinstance(node, ast.IfExp):
        return inner(node.body if truth(node.test, scope, module) else node.orelse)
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(inner(one) for one in node.elts)
    if isinstance(node, ast.Subscript):
        return inner(node.value)[inner(node.slice)]
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(one, scope, module) for one in node.values)
    if isinstance(node, ast.Call) and not node.keywords:
        return _called(node, scope, module)
    raise Unknown


def _named(node: ast.Name | ast.Attribute, scope: Scope, module: str) -> Any:
    name = ast.unparse(node)
    if name in scope:
        return scope[name]
    if name == "math.inf":
        return math.inf
    found = definition.find(module, name)
    if name.isupper() and found is not None and isinstance(found[1], ast.expr):
        return read(found[1], {}, found[0])
    raise Unknown


def _either(node: ast.BoolOp, scope: Scope, module: str) -> bool:
    """A known part may decide beside unknown ones. Its truth alone counts."""
    decides, unknown = isinstance(node.op, ast.Or), False
    for one in node.values:
        try:
            if truth(one, scope, module) is decides:
                return decides
        except Unknown:
            unknown = True
    if unknown:
        raise Unknown
    return not decides


def _computed(kind: ast.operator, left: Any, right: Any) -> Any:
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if isinstance(kind, ast.Pow) and numbers and abs(right) <= _LARGEST:
        return left**right
    if not numbers or type(kind) not in _COMPUTED:
        raise Unknown
    return _COMPUTED[type(kind)](left, right)


def _compared(node: ast.Compare, values: list[Any]) -> bool:
    pairs = zip(node.ops, values, values[1:], strict=False)
    for kind, left, right in pairs:
        identity = isinstance(kind, ast.Is | ast.IsNot)
        if not identity and any(isinstance(one, ObjectNode) for one in (left, right)):
            raise Unknown
        if not _COMPARED[type(kind)](left, right):
            return False
    return True


def _text(node: ast.expr, scope: Scope, module: str) -> str:
    if not isinstance(node, ast.FormattedValue):
        return str(read(node, scope, module))
    value = read(node.value, scope, module)
    if isinstance(value, ObjectNode):
        raise Unknown
    shown = repr(value) if node.conversion == ord("r") else value
    spec = node.format_spec
    return format(shown, _text(spec, scope, module) if spec is not None else "")


def _called(node: ast.Call, scope: Scope, module: str) -> Any:
    name = ast.unparse(node.func)
    if name == "isinstance":
        return _is_instance(read(node.args[0], scope, module), node.args[1])
    args = [read(one, scope, module) for one in node.args]
    if any(isinstance(one, ObjectNode) for one in args):
        raise Unknown
    if name in _CALLED and name not in scope:
        return _CALLED[name](*args)
    if isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS:
        owner = read(node.func.value, scope, module)
        if isinstance(owner, str):
            return getattr(owner, node.func.attr)(*args)
    raise Unknown


def _is_instance(value: Any, kinds: ast.expr) -> bool:
    """Of the plain types alone; no plain value is a tensor."""
    if isinstance(value, ObjectNode):
        raise Unknown
    if isinstance(kinds, ast.BinOp) and isinstance(kinds.op, ast.BitOr):
        return _is_instance(value, kinds.left) or _is_instance(value, kinds.right)
    if isinstance(kinds, ast.Tuple):
        return any(_is_instance(value, one) for one in kinds.elts)
    name = ast.unparse(kinds).rpartition(".")[2]
    if name == "Tensor":
        return False
    return isinstance(value, _TYPES[name])


def bound(
    function: ast.FunctionDef,
    args: list[Any],
    given: Mapping[str, Any],
    module: str,
    is_open: bool,
) -> Scope:
    """The names of a call's arguments; Unknown where neither call nor text tells.

    is_open: whether more may be given than what is known, so that no default is known to hold.
    """
    own, rest = function.args, dict(given)
    positional = [*own.posonlyargs, *own.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(own.defaults))
    pairs = [
        *zip(positional, [*defaults, *own.defaults], strict=True),
        *zip(own.kwonlyargs, own.kw_defaults, strict=True),
    ]
    scope: Scope = {}
    for place, (one, default) in enumerate(pairs):
        if place < min(len(args), len(positional)):
            scope[one.arg] = args[place]
        elif one.arg in rest:
            scope[one.arg] = rest.pop(one.arg)
        else:
            scope[one.arg] = Unknown if is_open or default is None else _default(default, module)
    if own.vararg is not None:
        scope[own.vararg.arg] = Unknown
    if own.kwarg is not None:
        scope[own.kwarg.arg] = {**rest, **({PARTLY: True} if is_open else {})}
    return scope


def _default(node: ast.expr, module: str) -> Any:
    try:
        return read(node, {}, module)
    except Unknown:
        return Unknown
