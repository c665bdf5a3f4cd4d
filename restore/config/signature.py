"""Whether a config may be built: targets against an allow-list, keys and values against signatures.

A config may come from a command line or from a downloaded checkpoint; nothing here builds anything.
"""

import inspect
import math
import shlex
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from restore.config import refusal, source
from restore.config.command import conf
from restore.config.target import check_allowed, check_kind, resolve
from restore.config.trust import STRICT, Trust, nodes
from restore.config.unserved import check_served
from restore.config.value import fits, unknown, wrong_type
from restore.types import InputError

_SPECIAL = {"_target_", "_partial_"}
_EVERY_TASK = "restore.task.base.Task"
# What a class does not take: something that it takes is put in its place before it is built.
SETTLED = [["lightning.pytorch.Trainer", "precision", "auto"]]


def check(
    config: Any, path: str = "", given: set[str] | None = None, trust: Trust = STRICT
) -> None:
    """Raises InputError unless every node of the tree may be built. Builds nothing."""
    _check_values(config, path)
    for place, node in nodes(config, path):
        if isinstance(node, Mapping) and "_target_" in node:
            _check_call(node, place, (given or set()) if place == path else set(), trust)


def check_early(config: Mapping[str, Any]) -> None:
    """What `check` says of a whole config, as far as source text tells: nothing is imported.

    What the program gives to the objects of the first two levels is not known here, so that only
    deeper ones can lack something.
    """
    trust = Trust.of(config)
    for root, path in _roots(config):
        check_called(root, path)
        _check_values(root, path)
        for place, node in nodes(root, path):
            if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
                continue
            check_allowed(node["_target_"], place, trust)
            check_served(node["_target_"], place)
            described = source.describe(node["_target_"])
            if described is not None:
                if place == "task":
                    _check_handed_on(node, described)
                _check_arguments(node, place, described.parameters, is_new=True)
                if place != path:
                    _check_complete(node, place, described.parameters, set())
                # What a benchmark leaves open, it takes from the training that it measures.
                inherits = path.startswith("benchmark.")
                known = {key: one for key, one in node.items() if one is not None or not inherits}
                is_open = place == path or inherits or node.get("_partial_") is True
                refusal.check(known, place, is_open)


def _check_handed_on(task: Mapping[str, Any], described: source.Description) -> None:
    """Raises InputError for a setting of every task that a task of somebody's own takes by a
    `**learning` of which its text does not tell what it is."""
    every, rest = source.describe(_EVERY_TASK), described.rest
    shared = every.parameters.keys() if every and rest else set()
    for key in task:
        if key in shared - described.parameters.keys():
            raise InputError(
                f"task.{key}: {task['_target_']} takes **{rest} and does not say what it is: "
                f"annotate it as **{rest}: Unpack[Learning], of restore.task.learning"
            )


def check_called(root: Mapping[str, Any], path: str) -> None:
    """Raises InputError for an outermost node that would stay a function."""
    if root.get("_partial_") is True:
        raise InputError(f"{path}._partial_=true is refused: {path} itself is needed")


def _roots(config: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The outermost nodes of a config that become objects, and their paths."""
    for key, node in config.items():
        if isinstance(node, Mapping) and "_target_" in node:
            yield node, key
        for name, inner in node.items() if isinstance(node, Mapping) else ():
            if "_target_" not in node and isinstance(inner, Mapping) and "_target_" in inner:
                yield inner, f"{key}.{name}"


def _check_values(config: Any, path: str) -> None:
    for place, node in nodes(config, path):
        if isinstance(node, str) and "${" in node:
            raise InputError(f"{place}={node}: interpolations are resolved before this point only")
        if isinstance(node, float) and not math.isfinite(node):
            raise InputError(f"{place}={node} must be a finite number")


def _check_call(node: Mapping[str, Any], path: str, given: set[str], trust: Trust) -> None:
    target = resolve(str(node["_target_"]), path, trust)
    check_kind(target, path, str(node["_target_"]))
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
    node: Mapping[str, Any],
    path: str,
    parameters: Mapping[str, source.Parameter],
    is_new: bool = False,
) -> None:
    """Raises InputError for a key that no parameter has, or a value that it cannot take.

    is_new: whether the config is of a command line, which may leave keys out.
    """
    if not isinstance(node.get("_partial_", False), bool):
        raise InputError(f"{path}._partial_={node['_partial_']!r} must be true or false")
    _check_known(node, path, parameters, is_new)
    for key, value in node.items():
        if key in _SPECIAL:
            continue
        settled = [node.get("_target_"), key, value] in SETTLED
        if not settled and not fits(value, parameters[key].annotation):
            wanted = wrong_type(parameters[key].annotation)
            is_choice = isinstance(value, str) and (conf() / key).is_dir()
            meant = f"; a file of conf/{key}/ is chosen by {key}=NAME" if is_choice else ""
            raise InputError(f"{path}.{key}={value!r} {wanted}{meant}")


def _check_known(
    node: Mapping[str, Any], path: str, parameters: Mapping[str, source.Parameter], is_new: bool
) -> None:
    strange = [key for key in node if key not in _SPECIAL and key not in parameters]
    if not strange:
        return
    places = [f"{path}.{key}".strip(".") for key in strange]
    said = unknown(places[0], strange[0], parameters)
    if is_new:  # an experiment's keys, for one, whose class the command line has changed
        out = " ".join(shlex.quote(f"~{place}") for place in places)
        said += f"{'' if said.endswith('?') else '.'} Set for another class? Leave out: {out}"
    raise InputError(said)


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
