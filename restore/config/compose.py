"""A config of conf/ without a command line."""

from collections.abc import Sequence
from typing import Any

from restore.config.command import conf, plain, unknown_setting, without_null
from restore.types import InputError


def unled(config: dict[str, Any], name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The config; of an evaluation without guidance, which Hydra forgets, its guidance is None."""
    is_unled = name == "evaluate" and {"~guidance", "guidance=null"} & {*overrides}
    return {**config, "guidance": None} if is_unled else config


def composed(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The config conf/<name>.yaml with overrides as on a command line, resolved.

    Raises InputError, in one line, for what Hydra cannot compose.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from restore.errors import one_line

    GlobalHydra.instance().clear()  # of a notebook, or of an earlier call that failed
    try:
        with initialize_config_dir(str(conf().resolve()), version_base="1.3"):
            made = plain(compose(name, [without_null(one) for one in overrides]))
            return unled(made, name, overrides)
    except Exception as error:
        line = unknown_setting(error) or one_line(error)
        if line is None:
            raise
        raise InputError(line) from error
