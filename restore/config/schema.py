"""The signatures that are checked at the start as JSON schemas (draft 7), for editors.

Nothing is described here: types come from signatures, descriptions from docstrings, ranges from
what constructors refuse, and which class stands where from the files of conf/. What is missing is
not refused, because another file may bring it.
"""

import functools
import json
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from restore.config import definition, meaning, source
from restore.config.annotation import Tensor
from restore.config.leaves import ITEMS, Leaves, Section
from restore.config.signature import SETTLED
from restore.config.value import among, is_of_fixed_length, wrong_type

Schema = dict[str, Any]

_DIALECT = "http://json-schema.org/draft-07/schema#"
# In a file, an interpolation or ??? may stand for any value.
_OPEN = r"^\?\?\?$|\$\{"
_NODE = {"$ref": "#/definitions/node"}
_BUILT = {"type": "object", "required": ["_target_"]}
_PLAIN = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}


def schema(name: str, folders: Sequence[Path]) -> Schema:
    """The schema of a group's leaves, or of the composed config `train` or `evaluate`.

    Raises:
        InputError: a group that does not exist.
    """
    return _schema(name, Leaves(folders))


def _schema(name: str, leaves: Leaves) -> Schema:
    section = leaves.section(name)
    targets = _with_siblings(section.everywhere())
    known = {target: made for target in targets if (made := _of_class(target)) is not None}
    for target in section.targets & known.keys():
        properties = {**known[target]["properties"], "defaults": {"type": "array"}}
        known[target] = {**known[target], "properties": properties}
    body = _of_section(section, known)
    if not section.targets:
        body["properties"]["defaults"] = _defaults(leaves)
    definitions = {**known, "node": _dispatch(known)}
    return {"$schema": _DIALECT, "title": name, **body, "definitions": definitions}


def _with_siblings(targets: Iterable[str]) -> list[str]:
    """The targets, and what else the modules of restore among them offer."""
    found = set(targets)
    for module in {target.rpartition(".")[0] for target in found}:
        if module.startswith("restore."):
            found |= {f"{module}.{name}" for name in definition.public(module)}
    return sorted(found)


@functools.cache
def _of_class(target: str) -> Schema | None:
    """A node with this `_target_`; None where source text does not tell what it takes."""
    described = source.describe(target)
    if described is None:
        return None
    lines, ranges = meaning.lines(target), meaning.ranges(target)
    properties: Schema = {"_target_": {"const": target}, "_partial_": {"type": "boolean"}}
    for name, parameter in described.parameters.items():
        made = {**of_type(parameter.annotation), **ranges.get(name, {})}
        if made and parameter.annotation is not Any:
            made["errorMessage"] = wrong_type(parameter.annotation)
        if [target, name, "auto"] in SETTLED:
            made = {"anyOf": [{"const": "auto"}, made]}
        if name in lines:
            made["description"] = lines[name]
        if parameter.default is not source.UNTOLD:
            made["default"] = parameter.default
        properties[name] = {"allOf": [_NODE], **made} if "$ref" not in made else made
    return {
        "description": described.doc.partition("\n\n")[0].replace("\n", " "),
        "properties": properties,
        "additionalProperties": False,
        "errorMessage": among(described.parameters),
    }


def of_type(annotation: Any) -> Schema:
    """The values of a file that `restore.config.value.fits` lets stand for an annotation.

    Neither an interpolation nor ??? is refused anywhere. JSON schema takes 1.0 for an integer.
    """
    union = typing.get_origin(annotation) in (Union, types.UnionType)
    members = typing.get_args(annotation) if union else (annotation,)
    if any(member is Any for member in members):
        return {}
    plain = [_PLAIN[member] for member in members if _is_plain(member)]
    others = [_of_one(member) for member in members if not _is_plain(member)]
    open_text = {} if "string" in plain else {"pattern": _OPEN}
    kinds = list(dict.fromkeys([*plain, "string"]))
    simple: Schema = {"type": kinds if len(kinds) > 1 else kinds[0], **open_text}
    return {"anyOf": [simple, *others]} if others else simple


def _is_plain(annotation: Any) -> bool:
    return annotation is None or (isinstance(annotation, type) and annotation in _PLAIN)


def _of_one(annotation: Any) -> Schema:
    origin = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation)
    if origin is Literal:
        return {"enum": list(arguments)}
    is_class = isinstance(origin, type)
    if is_class and issubclass(origin, Mapping):
        inner = of_type(arguments[1]) if len(arguments) == 2 else {}
        return {
            "type": "object",
            "if": {"not": {"required": ["_target_"]}},
            "then": {"additionalProperties": inner},
        }
    if is_class and issubclass(origin, Iterable) and origin is not Tensor:
        items = [of_type(one) for one in arguments if one is not ...]
        listed: Schema = {"type": "array", **({"items": {"anyOf": items}} if items else {})}
        if is_of_fixed_length(annotation):
            listed |= {"items": items, "minItems": len(items), "maxItems": len(items)}
        return {"anyOf": [listed, _BUILT]}
    if is_class and issubclass(origin, os.PathLike):
        return {"anyOf": [{"type": "string"}, _BUILT]}
    return {"type": "object"}


def _dispatch(targets: Iterable[str]) -> Schema:
    """A node is what its `_target_` takes, wherever it stands."""
    names = sorted(targets)
    modules = sorted({name.rpartition(".")[0] for name in names})
    own = "|".join(module.replace(".", r"\.") for module in modules if module.startswith("restore"))
    foreign = {"not": {"pattern": rf"^({own})\.\w+$"}} if own else {}
    return {
        "properties": {"_target_": {"anyOf": [{"enum": [*names, None]}, foreign]}},
        "allOf": [
            {
                "if": {"properties": {"_target_": {"const": name}}, "required": ["_target_"]},
                "then": {"$ref": f"#/definitions/{name}"},
            }
            for name in names
        ],
        "items": _NODE,
    }


def _of_section(section: Section, known: Mapping[str, Schema]) -> Schema:
    """A node of a file that may leave its `_target_` to another file."""
    children = {key: child for key, child in section.children.items() if key != ITEMS}
    below = {key: _of_section(child, known) for key, child in children.items()}
    if section.targets:
        return _of_built(section.targets, known, below)
    classes = [child.targets for child in children.values()]
    if not classes or not all(classes):
        closed = {"additionalProperties": False, "errorMessage": among(children)}
        return {"properties": below, **(closed if children else {})}
    anyone = Section()  # callbacks, losses, benchmarks: their names are free
    for child in children.values():
        anyone.merge(child)
    alike = all(one == classes[0] for one in classes)
    return {
        "properties": {} if alike else below,
        "additionalProperties": _of_section(anyone, known),
    }


def _of_built(
    targets: set[str], known: Mapping[str, Schema], below: Mapping[str, Schema]
) -> Schema:
    """A section where files name classes: without `_target_`, a key of any of them is meant."""
    if not targets <= known.keys():
        return {"allOf": [_NODE], "properties": dict(below)}
    found: dict[str, list[Schema]] = {}
    for target in sorted(targets):
        for key in known[target]["properties"]:
            found.setdefault(key, []).append({"$ref": f"#/definitions/{target}/properties/{key}"})
    found.pop("_target_")
    settings = {key: one[0] if len(one) == 1 else {"anyOf": one} for key, one in found.items()}
    return {
        "allOf": [_NODE],
        "properties": {key: one for key, one in below.items() if key in settings},
        "if": {"not": {"required": ["_target_"]}},
        "then": {
            "properties": settings,
            "additionalProperties": False,
            "errorMessage": among(settings.keys() - {"_partial_"}),
        },
    }


def _defaults(leaves: Leaves) -> Schema:
    """A defaults list: groups and their choices are proposed, others are not refused."""
    chosen = {
        f"{word}/{group}": {
            "anyOf": [{"enum": sorted(files)}, {"type": ["string", "array", "null"]}]
        }
        for group, files in sorted(leaves.groups.items())
        for word in ("override ", "")
    }
    return {"type": "array", "items": {"properties": chosen}}


def render(folders: Sequence[Path]) -> dict[str, str]:
    """File name -> text, of the schema of every group and of both composed configs."""
    leaves = Leaves(folders)
    return {
        f"{name}.json": json.dumps(_schema(name, leaves), indent=1) + "\n"
        for name in (*sorted(leaves.groups), *leaves.roots)
    }
