"""Whether a config may be built: targets against an allow-list, keys and values against signatures.

A config may come from a command line or from a downloaded checkpoint; nothing here builds anything.
"""

import difflib
import importlib
import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Union

from restore.config import source
from restore.config.trust import STRICT, Trust, root_of
from restore.types import InputError

ALLOWED = {
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.LearningRateMonitor",
    "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.profilers.SimpleProfiler",
    "torch.optim.Adam",
    "torch.optim.AdamW",
    "torch.optim.SGD",
    "torch.optim.lr_scheduler.ConstantLR",
    "torch.optim.lr_scheduler.CosineAnnealingLR",
    "torch.optim.lr_scheduler.MultiStepLR",
    "torch.optim.lr_scheduler.OneCycleLR",
    "torch.optim.lr_scheduler.StepLR",
}
# What a config may name: classes of these packages, and functions of those modules alone, because
# others write files (a checkpoint's config may come from a stranger).
PACKAGES = (
    *("callback", "data", "degradation", "diffusion", "evaluation", "loss", "metric"),
    *("network", "recovery", "task", "tracking"),
)
FUNCTIONS = ("restore.diffusion.", "restore.loss.", "restore.metric.bucket.")
_MANY = 20  # names in a message
_SPECIAL = {"_target_", "_partial_"}
# What a class does not take: something that it takes is put in its place before it is built.
SETTLED = [["lightning.pytorch.Trainer", "precision", "auto"]]


def check(
    config: Any, path: str = "", given: set[str] | None = None, trust: Trust = STRICT
) -> None:
    """Raises InputError unless every node of the tree may be built. Builds nothing."""
    _check_values(config, path)
    for place, node in _nodes(config, path):
        if isinstance(node, Mapping) and "_target_" in node:
            _check_call(node, place, (given or set()) if place == path else set(), trust)


def check_early(config: Mapping[str, Any]) -> None:
    """What `check` says of a whole config, as far as source text tells: nothing is imported.

    What the program gives to the objects of the first two levels is not known here, so that only
    deeper ones can lack something.
    """
    trust = Trust.of(config)
    for root, path in _roots(config):
        _check_values(root, path)
        for place, node in _nodes(root, path):
            if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
                continue
            _check_allowed(node["_target_"], place, trust)
            described = source.describe(node["_target_"])
            if described is not None:
                _check_arguments(node, place, described.parameters)
                if place != path:
                    _check_complete(node, place, described.parameters, set())


def _roots(config: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The outermost nodes of a config that become objects, and their paths."""
    for key, node in config.items():
        if isinstance(node, Mapping) and "_target_" in node:
            yield node, key
        for name, inner in node.items() if isinstance(node, Mapping) else ():
            if "_target_" not in node and isinstance(inner, Mapping) and "_target_" in inner:
                yield inner, f"{key}.{name}"


def _check_values(config: Any, path: str) -> None:
    for place, node in _nodes(config, path):
        if isinstance(node, str) and "${" in node:
            raise InputError(f"{place}={node}: interpolations are resolved before this point only")
        if isinstance(node, float) and not math.isfinite(node):
            raise InputError(f"{place}={node} must be a finite number")


def _nodes(config: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every node of a tree of mappings and lists with its dotted path, the root first."""
    yield path, config
    children: Any = ()
    if isinstance(config, Mapping):
        children = config.items()
    elif isinstance(config, list):
        children = enumerate(config)
    for key, value in children:
        yield from _nodes(value, f"{path}.{key}" if path else str(key))


def resolve(target: str, path: str = "", trust: Trust = STRICT) -> Callable[..., Any]:
    """The class or function behind a dotted path that may be built, or InputError."""
    refusal = _check_allowed(target, path, trust)
    place = f"{path}._target_={target}".strip(".")
    module, _, name = target.rpartition(".")
    allowed = target in ALLOWED
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{place} does not exist ({error})") from None
    if allowed:
        return typing.cast(Callable[..., Any], found)
    if not _is_buildable(found, target, trust):
        raise refusal
    return typing.cast(Callable[..., Any], found)


def _is_buildable(found: Any, target: str, trust: Trust) -> bool:
    """Whether what lies behind a path is what the path promises, and not what a module imported."""
    home = getattr(found, "__module__", None) or ""
    is_class = inspect.isclass(found) and not issubclass(found, BaseException)
    is_function = inspect.isfunction(found)
    if _is_own(target.rpartition(".")[0]):
        return _is_own(home) and (is_class or (is_function and target.startswith(FUNCTIONS)))
    if trust.covers_all(target):
        return root_of(home) == root_of(target) and (is_class or is_function)
    return is_class and home.startswith("torch.") and issubclass(found, _inert())


def _inert() -> tuple[type, ...]:
    import torch

    return (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torch.nn.Module)


def _check_allowed(target: str, path: str, trust: Trust) -> InputError:
    """Raises InputError unless the path may be built; returns what it would have raised."""
    place = f"{path}._target_={target}".strip(".")
    refusal = InputError(
        f"{place}: only restore's own classes can be built here, and those of packages that you "
        "name, as packages=[mylab]"
    )
    module, _, name = target.rpartition(".")
    allowed = _is_own(module) or trust.covers(target)
    if target not in ALLOWED and (not allowed or name.startswith("_")):
        raise refusal
    return refusal


def _is_own(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"restore.{package}." for package in PACKAGES))


def _check_call(node: Mapping[str, Any], path: str, given: set[str], trust: Trust) -> None:
    target = resolve(str(node["_target_"]), path, trust)
    try:
        parameters = _parameters(target)
    except ValueError as error:  # an exception class and the like
        raise InputError(f"{path}._target_={node['_target_']} cannot be built: {error}") from None
    for key in node:
        if key in given and key not in _SPECIAL:
            raise InputError(f"{path}.{key} is not a setting: the program gives it")
    _check_arguments(node, path, parameters)
    _check_complete(node, path, parameters, given)


def _check_arguments(
    node: Mapping[str, Any], path: str, parameters: Mapping[str, source.Parameter]
) -> None:
    """Raises InputError for a key that no parameter has, or a value that it cannot take."""
    if not isinstance(node.get("_partial_", False), bool):
        raise InputError(f"{path}._partial_={node['_partial_']!r} must be true or false")
    for key, value in node.items():
        if key in _SPECIAL:
            continue
        if key not in parameters:
            raise InputError(unknown(f"{path}.{key}".strip("."), key, parameters))
        settled = [node.get("_target_"), key, value] in SETTLED
        if not settled and not fits(value, parameters[key].annotation):
            wanted = spell(parameters[key].annotation)
            raise InputError(f"{path}.{key}={value!r} has the wrong type: it takes {wanted}")


def _check_complete(
    node: Mapping[str, Any], path: str, parameters: Mapping[str, source.Parameter], given: set[str]
) -> None:
    for name, parameter in parameters.items() if not node.get("_partial_") else ():
        if parameter.required and name not in node and name not in given:
            raise InputError(f"{path}.{name} is missing: {node['_target_']} needs it")


def _parameters(target: Callable[..., Any]) -> dict[str, source.Parameter]:
    """Named parameters with their evaluated annotations, without self and without *args.

    `**settings: Unpack[SomeTypedDict]` hands its keys on to a base class, whose defaults they have.
    """
    signature = inspect.signature(target)
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(inspect.unwrap(function))
    except (NameError, TypeError):
        hints = {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = {
        name: source.Parameter(hints.get(name, Any), parameter.default is parameter.empty)
        for name, parameter in signature.parameters.items()
        if parameter.kind in named
    }
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD and _is_record(hints.get(name)):
            inherited = _inherited(target)
            record = typing.get_args(hints[name])[0]
            found |= {key: inherited[key] for key in typing.get_type_hints(record)}
    return found


def _is_record(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Unpack


def _inherited(target: Any) -> dict[str, source.Parameter]:
    """The parameters of the next class above that has a constructor of its own."""
    own = next(base for base in target.__mro__ if "__init__" in base.__dict__)
    above = target.__mro__[target.__mro__.index(own) + 1 :]
    return _parameters(next(base for base in above if "__init__" in base.__dict__))


def unknown(path: str, key: str, known: typing.Iterable[str]) -> str:
    """The message for a key that does not exist, with the nearest one that does."""
    names = sorted(set(known))
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"{path} is not a setting: did you mean {near[0]}?"
    if len(names) > _MANY:
        nearest = difflib.get_close_matches(key, names, n=_MANY, cutoff=0)
        return f"{path} is not a setting: among others there are {', '.join(nearest)}"
    return f"{path} is not a setting: known are: {', '.join(names)}"


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
        if not listable or origin.__name__ == "Tensor":
            return False
        inner = arguments or (Any,)
        return all(any(fits(item, one) for one in inner if one is not ...) for item in value)
    # A str may stand for a path; a number or a bool for nothing else.
    return isinstance(value, str) and is_class and issubclass(origin, os.PathLike)


def spell(annotation: Any) -> str:
    """A type in the words of a config."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(map(spell, arguments))
    if annotation is type(None):
        return "null"
    return inspect.formatannotation(annotation).replace("typing.", "").rpartition("source.")[2]
