"""The packages that a stored config names, and that its reader has to name himself.

A checkpoint may name restore's classes and a fixed list (`restore.config.target.ALLOWED`). Whatever
else it names, libraries that restore itself uses included, wants `packages=[NAME]` from whoever
reads it or goes on with its run.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from restore.config.command import as_list, paste, program
from restore.config.target import ALLOWED
from restore.config.trust import INERT, LIBRARIES, Trust, is_foreign, root_of, targets
from restore.types import InputError


class Packages(tuple[str, ...]):
    """Packages that a reader names in Python, in a list or with commas between them."""

    words = "packages=['{}']"  # that name one, where he is told to

    def __new__(cls, names: str | Iterable[str] = ()) -> Self:
        listed = names.split(",") if isinstance(names, str) else names
        return super().__new__(cls, (name for name in listed if name != ""))


class PackagesOption(Packages):
    """Packages that a reader names by the option of a command: mylab,other."""

    words = "--packages {}"


def packages_of(config: Mapping[str, Any]) -> list[str]:
    """What `packages` has to say to whoever reads `config` later; its own `packages` first."""
    own = as_list(config.get("packages"))
    return list(dict.fromkeys([*own, *map(root_of, _beyond(config))]))


def own_code(config: Mapping[str, Any]) -> list[str]:
    """Arguments that name again the packages that a stored config needs, for a shell."""
    packages = packages_of(config)
    return [paste("packages", *packages, many=True)] if packages else []


def go_on(folder: Path, config: Mapping[str, Any]) -> str:
    """The command that goes on with the run of a folder, to which settings may be added."""
    return " ".join([program("train"), paste("resume.path", str(folder)), *own_code(config)])


def check_named(
    config: Any,
    recorded: Mapping[str, str],
    trust: Trust,
    typed: Collection[Any] = (),
    words: str = "packages=[{}]",
) -> None:
    """Raises InputError where a stored config names a package that the reader did not.

    recorded: version of every foreign class when the config was stored. typed: what the reader
    typed himself, and may therefore be named. words: by which he names a package.
    """
    for target in _beyond(config):
        root = root_of(target)
        if root in trust.packages or root in sys.stdlib_module_names or target in typed:
            continue
        made = f" (of {recorded[target]})" if target in recorded else ""
        raise InputError(
            f"the checkpoint names {target}{made}: if you trust that package, add "
            f"{words.format(root)}"
        )


def _beyond(config: Any) -> Iterator[str]:
    """Every class that a checkpoint may not name by itself."""
    for _, target in targets(config):
        library = target.startswith(LIBRARIES) and not target.startswith(INERT)
        if is_foreign(target) or (library and target not in ALLOWED):
            yield target
