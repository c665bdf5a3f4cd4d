"""People's side: exit codes, the one line an error becomes, and the `restore` command.

Importing this module must stay instant: `train.py --help` goes through it.
"""

import argparse
import contextlib
import difflib
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

DONE, FAILED, BAD_INPUT = 0, 1, 2


def run(main: Callable[[], Any]) -> NoReturn:
    """Calls main and exits: 0 done, 1 failed (traceback), 2 bad configuration or input."""
    try:
        main()
    except Exception as error:
        sys.exit(explain(error))
    sys.exit(DONE)


def explain(error: Exception) -> int:
    """Tells the user what went wrong, on stderr, and returns the exit code."""
    line = one_line(error)
    if line is None:
        traceback.print_exception(error)
        return FAILED
    print(f"error: {line}", file=sys.stderr)
    return BAD_INPUT


def one_line(error: BaseException) -> str | None:
    """What the user should read of a configuration error; None for a fault of the program."""
    types = sys.modules.get("restore.types")  # an InputError can only come from a loaded module
    if types is not None and isinstance(error, types.InputError):
        # One that was raised in a DataLoader's worker brings the worker's traceback along.
        text = str(error).strip()
        worker = text.startswith("Caught ") and "DataLoader worker" in text
        return text.rpartition("InputError: ")[2] if worker else " ".join(text.split())
    home = type(error).__module__.split(".")[0]
    if (
        home in ("hydra", "omegaconf", "antlr4")
        and type(error).__name__ != "InstantiationException"
    ):
        return _hydra_line(error)
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "a group cannot be set to null: leave the override out, or use group=[] for none"
    return None


def _hydra_line(error: BaseException) -> str:
    text = str(error)
    missing = re.search(
        r"Could not find '([^']+)'(?:.*?Available options in '[^']+':\n(.*))?", text, re.S
    )
    if missing:
        group, _, name = missing[1].rpartition("/")
        options = sorted(re.findall(r"^\t(\S+)$", missing[2] or "", re.M))
        near = difflib.get_close_matches(name, options, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{group}={name} does not exist: {hint}choose from {', '.join(options)}"
    listed_one = re.search(r"Could not load '([^']+)/([^'/]+)'", text)
    if listed_one:
        group, name = listed_one.groups()
        return f"{group}={name} does not exist: look into conf/{group}/ for what there is"
    empty = re.match(r"Missing mandatory value: (\S+)", text)
    if empty:
        return f"{empty[1]} is not set: give {empty[1]}=VALUE"
    setting = re.match(r"Could not override '([^']+)'", text)
    if setting:
        return _unknown_setting(setting[1], error.__cause__)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:3])


def _unknown_setting(path: str, cause: BaseException | None) -> str:
    """The message for an override of a key that is not there; OmegaConf's error knows its node."""
    known = [str(key) for key in getattr(cause, "parent_node", None) or ()]
    key = str(getattr(cause, "key", None) or path.rpartition(".")[2])
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(sorted(known))}"
    known_or_help = hint if known else "python train.py --cfg job lists all settings"
    return f"{path} is not a setting: {known_or_help}"


@contextlib.contextmanager
def run_folder(folder: Path, alone: bool = True) -> Iterator[None]:
    """Takes away the folder that Hydra made if the run is refused before `work_begins`.

    alone: exits with the code of the error here, because Hydra would add lines of its own; a job of
    a sweep raises instead, so that the next one starts.
    """
    try:
        yield
    except Exception as error:
        if not (folder / "config.yaml").exists():
            _remove_empty(folder)
        if alone:
            sys.exit(explain(error))
        raise


def plain(cfg: Any) -> dict[str, Any]:
    """A composed config as a resolved plain dict; a value that is still missing is an error."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def listed(value: Any) -> list[str]:
    """A plain list of names or paths; one may stand without brackets."""
    return [value] if isinstance(value, str) else [str(item) for item in value or []]


def _remove_empty(folder: Path) -> None:
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    for empty in (folder, *folder.parents):
        if empty == folder or Path.cwd() in empty.parents:
            with contextlib.suppress(OSError):  # not empty: somebody else's
                empty.rmdir()


def work_begins(folder: Path, config: str) -> None:
    """Says where the run writes, as its first line, and keeps its resolved config there."""
    (folder / "config.yaml").write_text(config)
    print(folder, flush=True)


def main() -> NoReturn:
    """The console script `restore`."""
    from restore import __version__

    parser = argparse.ArgumentParser(prog="restore", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"restore {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    doctor = commands.add_parser("doctor", help="check this installation, its data and weights")
    doctor.set_defaults(command=_doctor)
    arguments = parser.parse_args()
    if "command" not in arguments:
        parser.print_help()
        sys.exit(DONE)
    try:
        sys.exit(arguments.command())
    except Exception as error:
        sys.exit(explain(error))


def _doctor() -> int:
    from restore.evaluation import doctor

    return doctor.show(doctor.diagnose())
