"""What a command line says before Hydra reads it, and what Hydra made of it."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from restore.types import InputError

_OVERRIDE = re.compile(r"Could not override '([^']+)'")


def conf() -> Path:
    """The folder of the configs: conf/ of a checkout, or its copy inside an installed package."""
    package = Path(__file__).parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def program(word: str) -> str:
    """How `train` or `evaluate` is called by whoever started this: a word of restore, or a script.

    A word is run as `python -m restore.main.WORD`, in any folder; the scripts lie in a checkout.
    """
    started = Path(sys.argv[0])
    is_word = started.stem == "restore" or started.parent == Path(__file__).parents[1] / "main"
    is_checkout = (conf().parent / f"{word}.py").is_file()
    return f"python {word}.py" if is_checkout and not is_word else f"restore {word}"


def without_null(argument: str) -> str:
    """`group=null` as Hydra spells it, `~group`: the task without its adversary, for one."""
    group, _, value = argument.partition("=")
    is_group = value == "null" and (conf() / group).is_dir()
    return f"~{group}" if is_group else argument


_LISTS = ("benchmark", "baseline", "published")  # groups of which several may be chosen
# Flags of Hydra that show something and start nothing.
_SHOW = ("-c", "--cfg", "-i", "--info", "-sc", "--shell-completion")
_PATHS = ("outputs.dir", "hydra.run.dir", "hydra.sweep.dir", "resume.path")


def spell(arguments: list[str]) -> list[str]:
    """A command line as Hydra has to read it.

    Raises:
        InputError: what Hydra would answer with a traceback.
    """
    shows = [one for one in arguments if one.partition("=")[0] in _SHOW]
    if shows and {"-m", "--multirun"} & {*arguments}:
        raise InputError(f"{shows[0]} shows one config and starts no sweep: leave out -m")
    for before, one in pairwise(["", *arguments]):
        if one.startswith("="):
            raise InputError(f"{one} names no key: give KEY{one}")
        if not before.startswith("-"):  # else it may be the value of a flag
            _refuse_choice_alone(one)
        _refuse_several(one)
    return [_whole_path(without_null(one)) for one in arguments]


def _refuse_choice_alone(word: str) -> None:
    if not re.fullmatch(r"\w+", word):
        return
    groups = sorted(one.name for one in conf().iterdir() if (one / f"{word}.yaml").is_file())
    if groups:
        meant = " or ".join(f"{group}={word}" for group in groups)
        meant += f" (evaluate: checkpoint={word})" if "experiment" in groups else ""
        raise InputError(f"{word} stands without its group: give {meant}")


def _refuse_several(argument: str) -> None:
    """Hydra writes several choices of a group into one, which serves callbacks alone."""
    several = re.fullmatch(r"(\w+)=\[(.+,.+)\]", argument)
    if several and several[1] not in (*_LISTS, "callback") and (conf() / several[1]).is_dir():
        each = f"-m {several[1]}={several[2]} tries each"
        raise InputError(f"{argument}: choose one {several[1]}; {each}")


def _whole_path(argument: str) -> str:
    """A path is all that stands behind the first `=` of its key, whatever its characters mean.

    So is what begins with `~/`, which means nothing to Hydra, and which shells leave as it is here.
    """
    key, _, value = argument.partition("=")
    may = key in ("checkpoint", "init.path") or key.endswith(".root")
    is_path = key in _PATHS or (may and Path(value).expanduser().exists())
    if value.startswith("~/") and (is_path or "," not in value):
        value, is_path = os.path.expanduser(value), True
    if not is_path or not value:
        return argument
    is_spelled = "${" in value or value[0] in "'\""
    return f"{key}={value if is_spelled else quote(value)}"


def quote(value: str) -> str:
    """A text as the value of an override, in Hydra's quotes where one of its characters needs them.

    Where Hydra's grammar sees a plain word, the text stays as it is.
    """
    from hydra.core.override_parser.types import Quote, QuotedString

    if re.fullmatch(r"[\w./:%+@-]+", value, re.ASCII):
        return value
    text = value.replace("${", r"\${")
    return QuotedString(text, Quote.single).with_quotes()


def spelled(value: Any) -> str:
    """A value of a config as that of an override: numbers, texts, null, lists and mappings."""
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{spelled(one)}' for key, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(spelled, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return quote(value) if isinstance(value, str) else repr(value)


def paste(key: str, *values: str, many: bool = False) -> str:
    """`key=value` to be pasted into a shell; many: as a list."""
    texts = [quote(value) for value in values]
    return shlex.quote(f"{key}=[{','.join(texts)}]" if many else f"{key}={texts[0]}")


def patient(composed: Callable[[], Any]) -> Callable[[], Any]:
    """Composes again with a plus before each key that Hydra does not know but its class takes."""

    def run() -> Any:
        from hydra.errors import ConfigCompositionException

        # Hydra would print errors in its own words, and exit with 1; errors.run has one line.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        while True:
            try:
                return composed()
            except ConfigCompositionException as error:
                _add_plus(error)

    return run


def _add_plus(error: Exception) -> None:
    """Changes the command line, or raises InputError, or the error where it is another."""
    gone = re.match(r"Could not delete '([^']+)'\. No match in the defaults list", str(error))
    if gone and f"~{gone[1]}" in sys.argv and (conf() / gone[1]).is_dir():
        place = sys.argv.index(f"~{gone[1]}")
        # Hydra finds no list, whatever is in it; of another group there is none already.
        sys.argv[place : place + 1] = [f"{gone[1]}=[]"] if gone[1] in _LISTS else []
        return
    setting = _OVERRIDE.match(str(error))
    if not setting:
        raise error
    path, node, key = _place(setting[1], error)
    for index, argument in enumerate(sys.argv):
        _, equals, value = argument.partition(f"{path}=")
        if not equals or argument != f"{path}={value}":
            continue
        if takes(node, key):
            sys.argv[index] = f"+{argument}"
            return
        if value and _sweeps_over_files() and not value.startswith("choice("):
            sys.argv[index] = f"{path}=choice({value})"
            return
    raise InputError(_unknown_setting(path, node, key)) from error


def unknown_setting(error: Exception) -> str | None:
    """The message for Hydra's error of a key that is not there; None for another error."""
    setting = _OVERRIDE.match(str(error))
    return _unknown_setting(*_place(setting[1], error)) if setting else None


def _place(path: str, error: Exception) -> tuple[str, Any, str]:
    """An override's path, the node that lacks its key, and the key, as OmegaConf's error knows."""
    node = getattr(error.__cause__, "parent_node", None)
    return path, node, str(getattr(error.__cause__, "key", None) or path.rpartition(".")[2])


def _sweeps_over_files() -> bool:
    """Whether this is a sweep over files of a group of conf/, which may have different keys.

    Hydra gives plain overrides to the sweep's own config, too, in which such a group has its
    default; `choice` keeps one for the jobs, of which each is composed with its own file.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if not {"-m", "--multirun"} & {*sys.argv[1:]}:
        return False
    given = [one for one in sys.argv[1:] if not one.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(given)
    return any(one.is_sweep_override() and (conf() / one.key_or_group).is_dir() for one in parsed)


def takes(node: Any, key: str) -> bool:
    """Whether the class of a config node has an argument `key`; false for a node without one."""
    return key in _parameters(node)


def _parameters(node: Any) -> Mapping[str, Any]:
    from restore.config.source import describe

    described = describe(str(node["_target_"])) if node and "_target_" in node else None
    return described.parameters if described is not None else {}


def _unknown_setting(path: str, node: Any, key: str) -> str:
    """The message for an override of a key that is not there."""
    from restore.config.value import unknown

    group = path.rpartition(".")[0]
    files = sorted(file.stem for file in (conf() / group).glob("*.yaml")) if group else []
    if files and key == group.partition(".")[0]:  # the node that lacks it is the root
        named = f"{group}={files[0]}"
        return f"{path} needs its {group}, which is not set: add {named}, or {', '.join(files[1:])}"
    known = {str(name) for name in node or () if str(name) != "_target_"} | {*_parameters(node)}
    if known:
        said = unknown(path, key, known)
        if path.endswith("._target_") and "_target_" not in node:  # one more of several
            said += f"{'' if said.endswith('?') else '.'} A new one is +{path}=CLASS"
        return said
    return f"{path} is not a setting: {program('train')} --cfg job lists all settings"


def plain(cfg: Any) -> dict[str, Any]:
    """A composed config as a resolved plain dict; a value that is still missing is an error."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def as_list(value: Any) -> list[str]:
    """A plain list of names or paths; one may stand without brackets."""
    return [value] if isinstance(value, str) else [str(item) for item in value or []]
