"""Hydra composes each choice of groups of conf/ once a process; the tests copy what it made.

Composing a config takes 0.13 s, and hundreds of tests do it. Settings
(`max_updates=3`) are laid over a copy by Hydra, as ever; a config that takes files from elsewhere
(`hydra.searchpath`) is composed anew where one of them has changed.
"""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT
from omegaconf import OmegaConf, flag_override

from restore.config import searchpath

ORIGINALS: list[tuple[Any, str, Any]] = []  # what `remember` has put the cache in place of


def _put(patch: pytest.MonkeyPatch, owner: Any, name: str, value: Any) -> None:
    ORIGINALS.append((owner, name, getattr(owner, name)))
    patch.setattr(owner, name, value)


def _place(repo: Any) -> Any:
    """Where a repository's files lie, with the state of those that may change as the tests run."""
    from hydra import version

    places = tuple((one.scheme(), one.path) for one in repo.get_sources())
    return version.getbase(), places, tuple(_state(*place) for place in places)


def _state(scheme: str, path: str) -> Any:
    if scheme == "structured" or path in (str(ROOT / "conf"), "hydra.conf"):
        return None
    folder = searchpath.folder(f"{scheme}://{path}")
    files = {str(one.relative_to(folder)): one.stat() for one in sorted(folder.rglob("*"))}
    return tuple((name, one.st_mtime_ns, one.st_size) for name, one in files.items())


def remember(patch: pytest.MonkeyPatch) -> None:
    """Until the patch ends."""
    for what in (_share_sources, _parse_once, _list_once, _merge_once, _map_read_choices):
        what(patch)


def _share_sources(patch: pytest.MonkeyPatch) -> None:
    """Hydra copies all sources for each config, to put others in their place, never into them."""
    from hydra._internal.config_repository import CachingConfigRepository

    def start(repo: Any, delegate: Any) -> None:
        repo.delegate, repo.cache = copy.copy(delegate), {}

    _put(patch, CachingConfigRepository, "__init__", start)


def _parse_once(patch: pytest.MonkeyPatch) -> None:
    """A file that has not changed is parsed once; Hydra changes what it gets, so it gets a copy."""
    from hydra._internal.sources_registry import SourcesRegistry

    kind: Any = SourcesRegistry.instance().types["file"]
    parsed: dict[tuple[str, int, int], bytes] = {}
    parse = kind.load_config

    def load(source: Any, config_path: str) -> Any:
        path = Path(source.path, source._normalize_file_name(config_path))
        if not path.is_file():
            return parse(source, config_path)
        state = path.stat()
        key = (str(path), state.st_mtime_ns, state.st_size)
        if key not in parsed:
            parsed[key] = pickle.dumps(parse(source, config_path))
        return pickle.loads(parsed[key])

    _put(patch, kind, "load_config", load)


def _list_once(patch: pytest.MonkeyPatch) -> None:
    """Which files make up a config is found once for all configs of the same choices of groups."""
    from hydra._internal import config_loader_impl
    from hydra._internal.defaults_list import Overrides, create_defaults_list

    lists: dict[Any, Any] = {}

    def create(
        repo: Any, config_name: Any, overrides_list: Any, prepend_hydra: bool, skip_missing: bool
    ) -> Any:
        given = (repo, config_name, overrides_list, prepend_hydra, skip_missing)
        settings = Overrides(repo=repo, overrides_list=overrides_list).config_overrides
        choices = tuple(
            one.input_line
            for one in overrides_list
            if not one.is_sweep_override() and not any(one is other for other in settings)
        )
        key = (_place(repo), config_name, prepend_hydra, skip_missing, choices)
        if key not in lists:
            lists[key] = create_defaults_list(*given)
        return dataclasses.replace(lists[key], config_overrides=settings)

    _put(patch, config_loader_impl, "create_defaults_list", create)


def _merge_once(patch: pytest.MonkeyPatch) -> None:
    """The files of a config are merged once, and those of Hydra's own node once for all configs."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    merged: dict[Any, bytes] = {}
    merge: Any = ConfigLoaderImpl._compose_config_from_defaults_list

    def copied(key: Any, make: Callable[[], Any]) -> Any:
        if key not in merged:
            merged[key] = pickle.dumps(make())
        return pickle.loads(merged[key])

    def compose(loader: Any, defaults: Any, repo: Any) -> Any:
        place = _place(repo)
        files = [dataclasses.astuple(one) for one in defaults]
        own = sum(1 for _ in takewhile(lambda one: one.config_path.startswith("hydra/"), defaults))

        def both() -> Any:
            config = copied((place, *files[:own]), lambda: merge(loader, defaults[:own], repo))
            with flag_override(config, "no_deepcopy_set_nodes", True):
                config.merge_with(merge(loader, defaults[own:], repo))
            return config

        return copied((place, *files), both)

    _put(patch, ConfigLoaderImpl, "_compose_config_from_defaults_list", compose)


def _map_read_choices(patch: pytest.MonkeyPatch) -> None:
    """For each file Hydra makes a config of all choices, which only interpolations in it read."""
    from hydra._internal import defaults_list as module

    mapped = module._create_interpolation_map

    def choices(overrides: Any, defaults_list: Any, self_added: bool) -> Any:
        if any(not one.is_override() and one.is_interpolation() for one in defaults_list):
            return mapped(overrides, defaults_list, self_added)
        return OmegaConf.create()

    _put(patch, module, "_create_interpolation_map", choices)
