"""The packages that a stored config names, and that its reader has to name himself.

A checkpoint may name restore's classes and a fixed list (`restore.config.target.ALLOWED`). Whatever
else it names, libraries that restore itself uses included, wants `packages=[NAME]` from whoever
reads it or goes on with its run.
"""

import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from restore.config.target import ALLOWED
from restore.config.trust import INERT, LIBRARIES, Trust, is_foreign, root_of, targets
from restore.types import InputError


def packages_of(config: Mapping[str, Any]) -> list[str]:
    """What `packages` has to say to whoever reads `config` later; its own `packages` first."""
    own = config.get("packages") or []
    return list(dict.fromkeys([*own, *map(root_of, _beyond(config))]))


def check_named(
    config: Any, recorded: Mapping[str, str], trust: Trust, typed: Collection[Any] = ()
) -> None:
    """Raises InputError where a stored config names a package that the reader did not.

    recorded: version of every foreign class when the config was stored. typed: what the reader
    typed himself, and may therefore be named.
    """
    for target in _beyond(config):
        root = root_of(target)
        if root in trust.packages or root in sys.stdlib_module_names or target in typed:
            continue
        made = f" (of {recorded[target]})" if target in recorded else ""
        raise InputError(
            f"the checkpoint names {target}{made}: if you trust that package, add packages=[{root}]"
        )


def _beyond(config: Any) -> Iterator[str]:
    """Every class that a checkpoint may not name by itself."""
    for _, target in targets(config):
        library = target.startswith(LIBRARIES) and not target.startswith(INERT)
        if is_foreign(target) or (library and target not in ALLOWED):
            yield target
