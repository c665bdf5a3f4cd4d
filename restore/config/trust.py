"""Whose classes a config may name: this follows from where the config came from.

What a user types or keeps in files of his own is his program. What a checkpoint brings along may be
a stranger's, and importing a module already runs it.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore.config.definition import beside
from restore.types import InputError

# Libraries whose classes and functions a user's config may name.
LIBRARIES = (
    *("torch.optim.", "torch.nn.", "torchmetrics."),
    *("kornia.losses.", "kornia.filters.", "kornia.augmentation."),
    *(
        f"lightning.pytorch.{part}."
        for part in ("callbacks", "loggers", "profilers", "strategies", "plugins")
    ),
)
# Optimizers, schedulers and layers touch nothing but tensors: a checkpoint may name them, too.
INERT = ("torch.optim.", "torch.nn.")
OURS = ("restore", "torch", "torchmetrics", "kornia", "lightning")


@dataclass(frozen=True)
class Trust:
    """packages: top-level packages of which any class or function may be named. libraries: whether
    those of LIBRARIES may."""

    packages: tuple[str, ...] = ()
    libraries: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Trust":
        """The trust in a config that the user composed: in its `packages` and in the libraries.

        Raises:
            InputError: a package that is no name, or that is not installed.
        """
        return cls(parse_names(config.get("packages")), libraries=True)

    def covers(self, target: str) -> bool:
        """Whether the package of a dotted path is trusted, restore's own aside."""
        return target.startswith(INERT) or self.covers_all(target)

    def covers_all(self, target: str) -> bool:
        """Whether any class or function of the package may be built, and not just inert ones."""
        return root_of(target) in self.packages or (self.libraries and target.startswith(LIBRARIES))


STRICT = Trust()


def parse_names(packages: Any) -> tuple[str, ...]:
    """The top-level packages that a setting names; none of them is imported."""
    listed = [packages] if isinstance(packages, str) else packages or []
    if not isinstance(listed, list | tuple):
        raise InputError(f"packages={packages!r} must be a list of names, as packages=[mylab]")
    for name in listed:
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"packages={name!r} must be the name of a top-level package")
        if name in sys.stdlib_module_names:
            raise InputError(f"packages=[{name}] is a part of Python: name your own package")
        if importlib.util.find_spec(name) is None:
            raise InputError(f"packages=[{name}] is not installed: install it, or mind its name")
        check_hidden(name)
    return tuple(listed)


def check_hidden(name: str) -> None:
    """Raises InputError where a mere folder stands in the way of an installed package.

    Started above the project of a package that pip installed with -e, Python takes the project's
    folder for the package: its own finder is asked before pip's.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is not None:
        return
    found = [finder.find_spec(name, None) for finder in sys.meta_path]
    if any(one is not None and one.origin is not None for one in found):
        folder = next(iter(spec.submodule_search_locations or []), name)
        raise InputError(
            f"package {name} is installed, and the folder {folder} hides it from Python: start "
            "inside that folder, or where there is none of this name"
        )


def root_of(target: str) -> str:
    return target.partition(".")[0]


def foreign(config: Any) -> dict[str, str]:
    """Version of every class that is neither restore's nor a library's, by its dotted path.

    Where its package has no version, the first digits of the SHA-256 of its file, and of the files
    of the user's own that it imports; both where it was installed with -e, since its code changes
    there and its version does not. Nothing is imported.
    """
    return {
        target: _version(target)
        for target in sorted({target for _, target in targets(config)})
        if is_foreign(target)
    }


def is_foreign(target: str) -> bool:
    return root_of(target) not in OURS


def nodes(config: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every node of a tree of mappings and lists with its dotted place, the root first."""
    yield place, config
    children: Any = ()
    if isinstance(config, Mapping):
        children = config.items()
    elif isinstance(config, list):
        children = enumerate(config)
    for key, value in children:
        yield from nodes(value, f"{place}.{key}" if place else str(key))


def targets(config: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """The place and the dotted path of every class that a config names, in its order."""
    for where, node in nodes(config, place):
        if isinstance(node, Mapping) and isinstance(node.get("_target_"), str):
            yield where, node["_target_"]


def _version(target: str) -> str:
    said = []
    for name in _distributions(_places()).get(root_of(target), ())[:1]:
        said.append(f"{name} {importlib.metadata.version(name)}")
        if not _is_editable(name):
            return said[0]
    module = target.rpartition(".")[0]
    digests = {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in beside(module, without=OURS).items()
    }
    if module in digests:
        said.append(f"sha256 {digests.pop(module)[:12]}")
    if digests:  # in words of its own: what was recorded before these counted begins the same
        others = json.dumps(digests, sort_keys=True).encode()
        said.append(f"with {hashlib.sha256(others).hexdigest()[:12]}")
    return " ".join(said) or "unknown"


def _is_editable(distribution: str) -> bool:
    """Whether pip installed it with -e (PEP 610): its files are those that the user works on."""
    text = importlib.metadata.distribution(distribution).read_text("direct_url.json")
    return text is not None and bool(json.loads(text).get("dir_info", {}).get("editable"))


def _places() -> tuple[tuple[str, int], ...]:
    """Where Python finds distributions, and when each place last changed."""
    return tuple(
        (place, Path(place).stat().st_mtime_ns)
        for place in sys.path
        if any(Path(place).glob("*-info"))
    )


@functools.cache
def _distributions(places: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    """Names of distributions by their top-level package; reading all takes half a second."""
    return importlib.metadata.packages_distributions()


def code_differences(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Classes of other packages that are in both, in another version.

    Where a version alone was recorded, as of packages installed with -e once, it alone is compared.
    """
    return [
        f"the code of {target}: {recorded[target]} -> {now[target]}"
        for target in sorted(recorded.keys() & now.keys())
        if not f"{now[target]} ".startswith(f"{recorded[target]} ")
    ]
