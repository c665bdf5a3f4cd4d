"""What a constructor is known to refuse, from its source text: nothing is imported or called.

`if clip_norm <= 0: raise InputError(f"task.clip_norm={clip_norm} must be positive")` is a rule, and
holds the words for the user. Here such statements are followed with the settings of a config,
through helpers and base classes, as far as plain values lead. Whatever the text does not tell is
left to the constructor itself.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from restore.config import definition, source
from restore.config.meaning import lineage
from restore.config.reading import PARTLY, ObjectNode, Scope, Unknown, bound, plain, read, truth
from restore.types import InputError

_DEPTH = 8  # calls that are followed
_WORDED = ("ValueError", "TypeError", "MisconfigurationException")  # the place is put before them


class _Stopped(Exception):
    """The constructor returns or raises by what the text does not tell: nothing follows."""


@dataclass(frozen=True)
class _Call:
    """is_open: whether more is given than what is known, so that no default is sure to hold."""

    args: list[Any]
    given: dict[str, Any]
    is_open: bool


@dataclass(frozen=True)
class _Where:
    """The module of a statement, its class by number in the line of bases, and calls so far."""

    module: str
    level: int = 0
    depth: int = 0


def check(node: Mapping[str, Any], place: str, is_open: bool) -> None:
    """Raises InputError where the constructor of `node` would refuse its settings.

    is_open: whether the program gives arguments besides.
    """
    target = str(node["_target_"])
    keys = node.keys() - {"_target_", "_partial_"}
    call = _Call([], {key: plain(node[key]) for key in keys}, is_open)
    reader = _Reader(place, target)
    try:
        if reader.line:
            reader.construct(call, _Where(reader.line[0][0]))
        else:
            module, _, name = target.rpartition(".")
            reader.help(name, call, _Where(module))
    except _Stopped:
        return


class _Reader:
    """Follows the statements of one class and its bases, or of one function."""

    def __init__(self, place: str, target: str) -> None:
        self.place, self.target = place, target
        self.line = [(home, one) for home, one in lineage(target) if isinstance(one, ast.ClassDef)]
        self.attributes: dict[str, Any] = {}  # by `self.name`

    def construct(self, call: _Call, where: _Where) -> None:
        """Follows the constructor that the classes from `where.level` on have."""
        if (found := self._method("__init__", where)) is not None:
            function, there = found
            self._enter(function, replace(call, args=[None, *call.args]), there)
        elif (found := self._method("__post_init__", where)) is not None and not where.level:
            described = source.describe(self.target)
            for name, parameter in (described.parameters if described else {}).items():
                known = not call.is_open and parameter.default is not source.UNTOLD
                default = parameter.default if known else Unknown
                self.attributes[f"self.{name}"] = call.given.get(name, default)
            self._walk(found[0].body, {}, found[1])

    def help(self, name: str, call: _Call, where: _Where) -> None:
        """Follows a function of the module."""
        found = definition.find(where.module, name)
        if found is not None and isinstance(found[1], ast.FunctionDef):
            self._enter(found[1], call, replace(where, module=found[0]))

    def _method(self, name: str, where: _Where) -> tuple[ast.FunctionDef, _Where] | None:
        """The method that a call finds, looked for from `where.level` on."""
        for level in range(where.level, len(self.line)):
            module, node = self.line[level]
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == name:
                    return item, replace(where, module=module, level=level)
        return None

    def _enter(self, function: ast.FunctionDef, call: _Call, where: _Where) -> None:
        scope = bound(function, call.args, call.given, where.module, call.is_open)
        self._walk(function.body, scope, replace(where, depth=where.depth + 1))

    def _walk(self, body: list[ast.stmt], scope: Scope, where: _Where) -> bool:
        """Follows statements; False where they have returned."""
        for statement in body:
            if isinstance(statement, ast.Raise):
                self._refuse(statement, scope, where)
            elif isinstance(statement, ast.If):
                if not self._branch(statement, scope, where):
                    return False
            elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr | ast.Return):
                followed = statement.value if where.depth < _DEPTH else None
                if isinstance(followed, ast.Call):
                    self._follow(followed, scope, where)
                self._stir(statement, followed)
                if isinstance(statement, ast.Return):
                    return False
                self._assign(statement, scope, where)
            elif isinstance(statement, ast.For) and (pairs := _pairs(statement, scope)):
                for pair in pairs:
                    self._set(statement.target, pair, scope)
                    if not self._walk(statement.body, scope, where):
                        return False
            else:
                self._forget(statement, scope)
        return True

    def _branch(self, statement: ast.If, scope: Scope, where: _Where) -> bool:
        try:
            holds = truth(statement.test, {**scope, **self.attributes}, where.module)
        except Unknown:
            self._forget(statement, scope)
            return True
        return self._walk(statement.body if holds else statement.orelse, scope, where)

    def _refuse(self, statement: ast.Raise, scope: Scope, where: _Where) -> None:
        """Raises what the constructor would, in its words; _Stopped where they are not known."""
        made = statement.exc
        args = made.args if isinstance(made, ast.Call) else []
        kind = ast.unparse(made.func) if isinstance(made, ast.Call) else ""
        words = self._value(args[0], scope, where) if args else Unknown
        if words is Unknown or (kind != "InputError" and kind not in _WORDED):
            raise _Stopped
        raise InputError(f"{words}" if kind == "InputError" else f"{self.place}: {words}")

    def _follow(self, node: ast.Call, scope: Scope, where: _Where) -> None:
        """Follows a call of the base class, of a method, of a helper, or of a part."""
        call, function = self._called(node, scope, where), node.func
        if isinstance(function, ast.Name):
            if isinstance(scope.get(function.id), ObjectNode):
                self._check_part(scope[function.id], call.given)
            else:
                self.help(function.id, call, where)
        elif isinstance(function, ast.Attribute) and self.line:
            owner = ast.unparse(function.value)
            if owner == "super()" and function.attr == "__init__":
                self.construct(call, replace(where, level=where.level + 1))
            elif owner == "self":
                found = self._method(function.attr, replace(where, level=0))
                if found is not None:
                    self._enter(found[0], replace(call, args=[None, *call.args]), found[1])

    def _called(self, node: ast.Call, scope: Scope, where: _Where) -> _Call:
        args = [self._value(one, scope, where) for one in node.args]
        given: dict[str, Any] = {}
        is_open = any(isinstance(one, ast.Starred) for one in node.args)
        for one in node.keywords:
            value = self._value(one.value, scope, where)
            if one.arg is not None:
                given[one.arg] = value
            elif isinstance(value, dict):
                is_open |= PARTLY in value
                given |= {key: inner for key, inner in value.items() if key != PARTLY}
            else:
                is_open = True
        return _Call(args, given, is_open)

    def _check_part(self, part: ObjectNode, given: Mapping[str, Any]) -> None:
        """Raises InputError for a part that does not take what its owner calls it with."""
        known = _known_arguments(part.target)
        for name in given:
            if known is not None and name not in known:
                raise InputError(
                    f"{part.target.rpartition('.')[2]} does not fit "
                    f"{self.target.rpartition('.')[2]} (it takes no {name}): take the part that an "
                    "experiment with this task names"
                )

    def _value(self, node: ast.expr, scope: Scope, where: _Where) -> Any:
        try:
            return read(node, {**scope, **self.attributes}, where.module)
        except Unknown:
            return Unknown

    def _assign(self, statement: ast.stmt, scope: Scope, where: _Where) -> None:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            grows = any(isinstance(one, ast.List) for one in ast.walk(statement.value))  # or may
            value = Unknown if grows else self._value(statement.value, scope, where)
            one = isinstance(statement, ast.AnnAssign)
            for target in [statement.target] if one else statement.targets:  # type: ignore[union-attr]
                self._set(target, value, scope)

    def _set(self, target: ast.expr, value: Any, scope: Scope) -> None:
        if isinstance(target, ast.Tuple):
            fits = isinstance(value, list | tuple) and len(value) == len(target.elts)
            values = value if fits else [Unknown] * len(target.elts)
            for one, inner in zip(target.elts, values, strict=True):
                self._set(one, inner, scope)
        elif isinstance(target, ast.Name):
            scope[target.id] = value
        elif isinstance(target, ast.Attribute):
            self.attributes[ast.unparse(target)] = value

    def _forget(self, statement: ast.stmt, scope: Scope) -> None:
        """What a statement that is not followed may change is unknown; _Stopped if it returns."""
        self._stir(statement)
        for node in ast.walk(statement):
            if isinstance(node, ast.Return):
                raise _Stopped
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                self._set(node, Unknown, scope)

    def _stir(self, statement: ast.stmt, followed: ast.expr | None = None) -> None:
        """Forgets the attributes, which methods that are not followed may change."""
        calls = (one for one in ast.walk(statement) if isinstance(one, ast.Call))
        if any(ast.unparse(one.func).startswith("self.") for one in calls if one is not followed):
            self.attributes.clear()


def _pairs(statement: ast.For, scope: Scope) -> list[tuple[str, Any]]:
    """Names and values of `for name, value in settings.items()`, where they are known."""
    name, _, rest = ast.unparse(statement.iter).partition(".items()")
    held: Any = scope.get(name)
    known = not rest and isinstance(held, dict) and PARTLY not in held
    return [*held.items()] if known and isinstance(statement.target, ast.Tuple) else []


def _known_arguments(target: str) -> set[str] | None:
    """What a class or function takes; None where it takes any, or the text does not tell."""
    described = source.describe(target)
    for _, node in lineage(target) if described is not None else ():
        items = [node] if isinstance(node, ast.FunctionDef) else node.body
        for item in items:
            is_class = isinstance(node, ast.ClassDef)
            if isinstance(item, ast.FunctionDef) and (item.name == "__init__" or not is_class):
                rest = item.args.kwarg
                is_any = rest is not None and "Unpack" not in ast.unparse(rest.annotation or rest)
                return None if is_any else set(described.parameters)  # type: ignore[union-attr]
    return None
