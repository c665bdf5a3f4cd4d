"""What `--help` says: examples, groups, and what keys mean, by comments of conf/ and docstrings.

No class is imported: an answer takes a second at most.
"""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from restore.config import meaning, searchpath, source
from restore.config.command import conf, program
from restore.config.leaves import GLOBAL, package_of
from restore.config.value import unknown
from restore.types import InputError

Script = Literal["train", "evaluate"]

_ASKS = ("-h", "--help")
_EXAMPLES: dict[Script, tuple[tuple[str, str], ...]] = {
    "train": (
        ("", "the default experiment, on embedded data"),
        ("experiment=inpaint_photos debug=smoke", "everything once, in a minute"),
        ("experiment=NAME max_updates=2000 task.optimizer.lr=1e-4", "other settings"),
        ("-m experiment=NAME seed=1,2,3", "a sweep, a job for each value"),
        ("resume.path=RUN_FOLDER max_updates=9000", "go on with a run, in its folder"),
        ("experiment=NAME init=CHECKPOINT", "start from the weights of a trained model"),
        ("experiment=NAME --cfg job", "all settings and their values; starts nothing"),
        ("--help experiment", "the choices of a group, and what they are for"),
        ("experiment=NAME --help task", "what the keys of a section mean"),
    ),
    "evaluate": (
        ("checkpoint=RUN_FOLDER benchmark=digits_half", "its best checkpoint"),
        ("'checkpoint=[A,B]' 'baseline=[telea]' 'benchmark=[X,Y]'", "all of them on each"),
        ("checkpoint=A benchmark=X sampler=ddim sampler.num_steps=50", "with another sampler"),
        ("checkpoint=A benchmark=X record=true", "also into experiments/results.csv"),
        ("--help benchmark", "the choices of a group, and what they are for"),
        ("benchmark=X --help benchmark", "what its keys mean, too"),
    ),
}


def is_asked(arguments: Sequence[str]) -> bool:
    return any(one in _ASKS for one in arguments)


def text(script: Script, arguments: Sequence[str], about: str) -> str:
    """The answer to a command line that asks for help; about: what the script does.

    Raises InputError for a section that does not exist.
    """
    sections = [one for one in arguments if re.fullmatch(r"[a-z]\w*([./]\w+)*", one)]
    if not sections:
        return "\n".join(_overview(script, about))
    overrides = [one for one in arguments if one not in sections and not one.startswith("-")]
    config = _composed(script, overrides)
    return "\n\n".join("\n".join(_section(one, config, script)) for one in sections)


def _overview(script: Script, about: str) -> Iterator[str]:
    command, lines = program(script), _defaults(script)
    yield f"{command} [group=choice ...] [key=value ...] [-m]"
    yield ""
    yield about
    yield "\nexamples:"
    yield from _table((f"{command} {given}".rstrip(), said) for given, said in _EXAMPLES[script])
    yield "\nkeys:"
    yield from _table(_root_keys(lines))
    yield "\ngroups, and what each takes by default in []:"
    for group, default, comment in _groups(lines):
        names = ", ".join(_choices(group))
        yield from _paragraph(f"{group} [{default}]{comment}: ", names)
    yield ""
    yield f"what keys mean: {command} --help SECTION, such as data, task, task.optimizer, trainer"
    # Hydra completes lines of a script, and of no word of another program.
    completes = (
        f"{command} -sc install=bash" if command.endswith(".py") else "restore completion bash"
    )
    yield f'shell completion: eval "$({completes})"; also zsh and fish'
    yield "Hydra's own flags: --hydra-help"


def _root_keys(lines: str) -> Iterator[tuple[str, str]]:
    """`key = value` and the comment of what stands at the root of a composed config."""
    parent = ""
    for line in lines.splitlines():
        found = re.fullmatch(r"(  )?(\w+):\s*([^#\s][^#]*?)?\s*(?:# (.*))?", line)
        if not found:
            continue
        indent, key, value, comment = found.groups()
        if not indent:
            parent = key
        if parent in ("defaults", "hydra") or (not value and not indent and not comment):
            continue
        name = f"{parent}.{key}" if indent else key
        yield (f"{name} = {value}" if value else name), comment or ""


def _groups(lines: str) -> Iterator[tuple[str, str, str]]:
    """Group, default and comment of a defaults list."""
    for name, default, comment in re.findall(r"^  - (\w+): (\S+)(?: # (.*))?$", lines, re.M):
        yield (
            name,
            default.replace("[]", "none").replace("null", "none"),
            comment and f" ({comment})",
        )


def _choices(group: str) -> dict[str, str]:
    """The files of a group with their first comment."""
    found = {}
    for path in sorted(
        (path for folder in (conf(), *_own()) for path in (folder / group).glob("*.yaml")),
        key=lambda path: path.stem,
    ):
        first = [
            line.lstrip("# ")
            for line in path.read_text(encoding="utf-8").splitlines()[:3]
            if line.startswith("# ") and "@package" not in line
        ]
        found[path.stem] = first[0] if first else ""
    return found


def _own() -> list[Path]:
    """Folders of the user's own configs, where the command line names them."""
    return [searchpath.folder(place) for place in searchpath.places_of(sys.argv[1:])]


def _composed(script: Script, overrides: list[str]) -> Any:
    """The composed config, in which interpolations are not resolved."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(conf()), version_base="1.3"):
        return OmegaConf.to_container(compose(script, overrides))


def _section(name: str, config: Any, script: Script) -> Iterator[str]:
    """The choices of a group, and what the keys of a group or below a dotted key mean."""
    choices = _choices(name)
    if choices:
        yield f"{name}=CHOICE, one of:"
        yield from _table(choices.items())
    place = _place(name) if choices else name
    rows = [*_rows(place, config, script)]
    is_section = any(key.startswith(f"{place}.") for key in map(_key, rows))
    if not rows and not choices:
        raise InputError(unknown(name, name, [*config, *(one[0] for one in _all_groups(script))]))
    if is_section:
        yield f"{'' if not choices else chr(10)}keys of {place}:"
    if is_section or not choices:
        yield from _table(rows)


def _rows(place: str, config: Mapping[str, Any], script: Script) -> Iterator[tuple[str, str]]:
    """What is said of a key, and of all keys below it; nothing of one that nobody takes."""
    comments = {_key(row): row[1] for row in _root_keys(_defaults(script))}
    top = place.partition(".")[0]
    for row in _keys(top, config[top]) if top in config else ():
        key = _key(row)
        if key == place or key.startswith(f"{place}."):
            yield row[0], row[1] or comments.get(key, "")


def _key(row: tuple[str, str]) -> str:
    return row[0].partition(" ")[0].lstrip("+")


def _all_groups(script: Script) -> Iterator[tuple[str, str, str]]:
    return _groups(_defaults(script))


def _defaults(script: Script) -> str:
    """The text of the file that every config of a script starts from."""
    return (conf() / f"{script}.yaml").read_text(encoding="utf-8")


def _place(group: str) -> str:
    """The place in the config that the files of a group share; each may have one below it."""
    places = map(package_of, sorted((conf() / group).glob("*.yaml")))
    elsewhere = (one for one in places if one.partition(".")[0] not in (group, GLOBAL))
    return next(elsewhere, group)


def _keys(place: str, node: Any) -> Iterator[tuple[str, str]]:
    """Every key below a node with its value, and what the docstring of its class says of it."""
    if not isinstance(node, Mapping):
        yield f"{place} = {_shown(node)}", ""
        return
    target = str(node.get("_target_", ""))
    said = meaning.lines(target) if target else {}
    if target:
        described = source.describe(target)
        first = " ".join((described.doc if described else "").partition("\n\n")[0].split())
        yield place, f"{target.rpartition('.')[2]}: {first}" if first else target
    for key, value in node.items():
        name = f"{place}.{key}"
        if isinstance(value, Mapping) and value:
            yield from _keys(name, value)
        elif key not in ("_target_", "_partial_"):
            yield f"{name} = {_shown(value)}", said.get(key, "")
    described = source.describe(target) if target else None
    for key, parameter in described.parameters.items() if described else ():
        if key not in node and not parameter.required:
            yield f"+{place}.{key}", said.get(key, "")


def _shown(value: Any) -> str:
    """A value as a config spells it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Two columns; a long left one has its right one below it."""
    width, left = max(60, min(120, shutil.get_terminal_size((100, 24)).columns)), 34
    for name, said in rows:
        lines = textwrap.wrap(said, width - left - 4) if said else []
        if len(name) > left or not lines:
            yield f"  {name}"
        else:
            yield f"  {name:<{left}}  {lines.pop(0)}"
        yield from (f"  {'':<{left}}  {line}" for line in lines)


def _paragraph(start: str, words: str) -> Iterator[str]:
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    yield from textwrap.wrap(
        start + words,
        width,
        initial_indent="  ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )
