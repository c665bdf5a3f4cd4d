"""Whether a value of a config fits an annotation, and how messages spell names and types."""

import difflib
import inspect
import os
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union

_MANY = 20  # names in a message


def unknown(path: str, key: str, known: typing.Iterable[str]) -> str:
    """The message for a key that does not exist, with the nearest one that does."""
    names = sorted(set(known))
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"{path} is not a setting: did you mean {near[0]}?"
    if len(names) > _MANY:
        nearest = difflib.get_close_matches(key, names, n=_MANY, cutoff=0)
        return f"{path} is not a setting: among others there are {', '.join(nearest)}"
    return f"{path} {among(names)}"


def among(names: typing.Iterable[str]) -> str:
    """What is said of a key, behind its name, that is none of `names` and near none."""
    listed = ", ".join(sorted(names))
    return f"is not a setting: known are: {listed}" if listed else "is not a setting: none is taken"


def wrong_type(annotation: Any) -> str:
    """What is said of a value, behind it, that cannot stand where `annotation` is asked for."""
    return f"has the wrong type: it takes {spell(annotation)}"


def fits(value: Any, annotation: Any) -> bool:
    """Whether a config value may stand where `annotation` is asked for.

    A mapping with _target_ will become an object and fits every annotation but plain values.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or annotation is inspect.Parameter.empty:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    if annotation in (None, type(None)):
        return value is None
    if annotation in (int, float):
        number = (int, float) if annotation is float else (int,)
        return isinstance(value, number) and not isinstance(value, bool)
    if annotation in (bool, str):
        return isinstance(value, annotation)
    if isinstance(value, list) and is_of_fixed_length(annotation):
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    return _fits_container(value, origin or annotation, arguments)


def _fits_container(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    if isinstance(value, Mapping) and "_target_" in value:
        return True
    is_class = inspect.isclass(origin)
    if isinstance(value, Mapping):
        inner = arguments[1] if len(arguments) == 2 else Any
        return (
            is_class and issubclass(origin, Mapping) and all(fits(v, inner) for v in value.values())
        )
    if isinstance(value, list):
        # A tensor can be iterated over, too, but no list becomes one.
        listable = is_class and issubclass(origin, typing.Iterable) and origin is not str
        if not listable or issubclass(origin, Mapping) or origin.__name__ == "Tensor":
            return False
        inner = arguments or (Any,)
        return all(any(fits(item, one) for one in inner if one is not ...) for item in value)
    # A str may stand for a path; a number or a bool for nothing else.
    return isinstance(value, str) and is_class and issubclass(origin, os.PathLike)


def is_of_fixed_length(annotation: Any) -> bool:
    """Whether a type has as many items as arguments, as tuple[float, float] has."""
    arguments = typing.get_args(annotation)
    return typing.get_origin(annotation) is tuple and bool(arguments) and ... not in arguments


def spell(annotation: Any) -> str:
    """A type in the words of a config."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if is_of_fixed_length(annotation):
        return f"[{', '.join(map(spell, arguments))}]"
    if origin in (Union, types.UnionType):
        # No config holds a tensor, which optimizers take as well.
        plain = [one for one in arguments if getattr(one, "__name__", "") != "Tensor"]
        return " or ".join(map(spell, plain or arguments))
    if annotation is type(None):
        return "null"
    return inspect.formatannotation(annotation).replace("typing.", "").rpartition("source.")[2]
