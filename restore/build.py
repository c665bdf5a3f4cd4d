"""From a plain config to a live object: the only place that calls Hydra's instantiate.

The whole tree is checked before the first object is built, wherever the config came from.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from restore.config.naming import Packages, check_named
from restore.config.signature import check, check_called
from restore.config.trust import STRICT, Trust, code_differences, foreign, parse_names
from restore.types import Facts, InputError

Config = dict[str, Any]


def build(config: Config, path: str = "", *, trust: Trust = STRICT, **given: Any) -> Any:
    """The object that `config` describes; `given` are arguments that only code knows.

    trust: whose classes it may name; by default what a stranger's checkpoint may.

    Raises:
        InputError: a target that is not allowed, an unknown key, a value of the wrong type, a
            missing key, or a value that the constructor refuses. Nothing is built in that case
            but what the constructor itself had built.
    """
    if not isinstance(config, Mapping) or "_target_" not in config:
        raise InputError(f"{path}._target_ is missing: nothing says what {path} is")
    check_called(config, path)
    check(config, path, given=set(given), trust=trust)
    # The root is called here and not by instantiate, which would turn live arguments into configs.
    root = {**config, "_partial_": True}
    try:
        return instantiate(root, _convert_="all")(**given)
    except InstantiationException as error:
        raise InputError(_reason(error, path)) from error
    except InputError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(f"{path} needs a package that is not here: {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(_unfit(config, str(error)) or f"{path}: {error}") from error
    except Exception as error:
        if type(error).__name__ != "MisconfigurationException":  # Lightning may not be loaded
            raise
        raise InputError(f"{path}: {error}") from error


def restored(content: Config, task: Config | None = None, packages: Iterable[str] = ()) -> Any:
    """The task of a checkpoint's content in eval mode, with its averaged weights if it has them.

    task: replaces top-level keys of the task's config, such as the sampler. packages: those that
    the reader trusts beside restore. A warning names classes of theirs whose code has changed.
    """
    facts, trust = Facts(**content["facts"]), Trust(parse_names(list(packages)))
    node = {**content["config"]["task"], **(task or {})}
    said = {"words": packages.words} if isinstance(packages, Packages) else {}
    check_named(node, content.get("foreign", {}), trust, **said)
    made = build(node, "task", trust=trust, facts=facts)
    _warn_of_other_code(content, node)
    try:
        made.load_state_dict(content["state_dict"])
        if content.get("ema", {}).get("weights"):
            # Buffers are not averaged, so that some keys are missing.
            found = made.network.load_state_dict(content["ema"]["weights"], strict=False)
            if found.unexpected_keys:
                raise RuntimeError(f"no place for the average of {found.unexpected_keys[0]}")
    except RuntimeError as error:
        raise InputError(f"the checkpoint's weights do not fit its config: {error}") from error
    return made.eval()


def _warn_of_other_code(content: Config, node: Config) -> None:
    """One line where classes beside restore's, which `node` names, are not what was trained."""
    changed = code_differences(content.get("foreign", {}), foreign(node))
    if changed:
        said = "since it was trained, so that it may restore otherwise"
        warnings.warn(f"{content['experiment']}: {'; '.join(changed)} {said}", stacklevel=3)


def is_off(node: Any) -> bool:
    """Whether a callback is null, or its class is."""
    return node is None or (isinstance(node, Mapping) and node.get("_target_", "") is None)


def _unfit(config: Config, reason: str) -> str | None:
    """The words for a part of a config, such as a network, that its owner cannot call."""
    found = re.match(
        r"(\w+)\.__init__\(\) (?:got an unexpected keyword argument|missing) .*", reason
    )
    if found is None:
        return None
    owner = config["_target_"].rpartition(".")[2]
    return (
        f"{found[1]} does not fit {owner} ({found[0].partition(' ')[2]}): take the part that an "
        "experiment with this task names"
    )


def _reason(error: InstantiationException, path: str) -> str:
    """One line from Hydra's report: the constructor's own message, and where."""
    cause = error.__cause__
    if isinstance(cause, InputError):
        return str(cause)
    where = str(error).rpartition("full_key: ")[2] if "full_key: " in str(error) else ""
    where = ".".join(part for part in (path, where) if part)
    message = str(cause or error).strip().splitlines()[0]
    return f"{where}: {message}" if where else message
