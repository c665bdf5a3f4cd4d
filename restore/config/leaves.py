"""The files of conf/ as a tree of sections: which classes stand where, and which keys.

Only text is read: neither Hydra nor a class is imported.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from restore.config.value import unknown
from restore.types import InputError

ITEMS = "[]"  # the section that the items of a list share
GLOBAL = "_global_"  # the package of a file that speaks of the whole config


@dataclass
class Section:
    """A node of configs: the classes that files name there, and what lies below."""

    targets: set[str] = field(default_factory=set)
    children: dict[str, "Section"] = field(default_factory=dict)

    def at(self, path: str) -> "Section":
        """The section at a dotted path below, made where it is missing."""
        section = self
        for key in path.split(".") if path else ():
            section = section.children.setdefault(key, Section())
        return section

    def add(self, node: Any) -> None:
        """Takes in the classes and keys of a file's content."""
        if isinstance(node, list):  # its items share one section
            for item in node:
                if isinstance(item, Mapping):
                    self.children.setdefault(ITEMS, Section()).add(item)
        for key, value in node.items() if isinstance(node, Mapping) else ():
            if key == "_target_":
                self.targets |= {value} if isinstance(value, str) and "." in value else set()
            elif key not in ("defaults", "_partial_"):
                self.children.setdefault(str(key), Section()).add(value)

    def merge(self, other: "Section") -> None:
        self.targets |= other.targets
        for key, child in other.children.items():
            self.children.setdefault(key, Section()).merge(child)

    def everywhere(self) -> Iterator[str]:
        """The classes of this section and of all below."""
        yield from self.targets
        for child in self.children.values():
            yield from child.everywhere()


@dataclass(frozen=True)
class Leaf:
    """A file of a group. package: where it places itself, "" for the root of the config."""

    package: str
    content: Mapping[str, Any]


class Leaves:
    """The configs of several folders; a later folder adds to the groups of an earlier one.

    Raises:
        InputError: a folder that is not there, or a file that is no YAML.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.groups: dict[str, dict[str, Leaf]] = {}
        self.roots: dict[str, Mapping[str, Any]] = {}
        for folder in folders:
            if not folder.is_dir():
                raise InputError(f"{folder} is no folder of configs")
            for path in sorted(folder.glob("*/*.yaml")):
                leaf = _leaf(path)
                self.groups.setdefault(path.parent.name, {})[path.stem] = leaf
            for path in sorted(folder.glob("*.yaml")):
                self.roots[path.stem] = _read(path)

    def section(self, name: str) -> Section:
        """What may stand in a leaf of a group, or in a composed config.

        Raises:
            InputError: a group that does not exist.
        """
        if name in self.roots:
            return self._composed(name)
        if name not in self.groups:
            known = [*self.groups, *self.roots]
            raise InputError(unknown(name, name, known).replace("a setting", "a group of configs"))
        leaves = self.groups[name].values()
        speaks_of_all = any(not leaf.package for leaf in leaves)
        made = self._composed("train") if speaks_of_all else Section()
        for leaf in leaves:
            if leaf.package:
                made.add(leaf.content)
                self._add_listed(leaf.content, made)
        return made

    def _composed(self, root: str) -> Section:
        """A whole config: its own keys, and every group of its defaults list in its place."""
        made = Section()
        made.add(self.roots[root])
        for group in {key.strip("/") for key in _defaults(self.roots[root])} & set(self.groups):
            for leaf in self.groups[group].values():
                made.at(leaf.package).add(leaf.content)
                if leaf.package:
                    self._add_listed(leaf.content, made.at(leaf.package))
        return made

    def _add_listed(self, content: Mapping[str, Any], section: Section) -> None:
        """Takes in the groups that a file's defaults list puts below it."""
        for key in _defaults(content):
            group, _, package = key.strip("/").partition("@")
            for leaf in self.groups.get(group, {}).values() if key.startswith("/") else ():
                section.at(package or leaf.package).add(leaf.content)


def _defaults(content: Mapping[str, Any]) -> list[str]:
    """The keys of a defaults list that are groups."""
    entries = content.get("defaults") or []
    return [str(key) for one in entries if isinstance(one, Mapping) for key in one]


def package_of(path: Path) -> str:
    """Where a leaf places itself: what its first comments say, else the group that it lies in."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if line.startswith("# @package "):
            return line.split()[2]
    return path.parent.name


def _leaf(path: Path) -> Leaf:
    package = package_of(path)
    return Leaf("" if package == GLOBAL else package, _read(path))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    return content if isinstance(content, Mapping) else {}
