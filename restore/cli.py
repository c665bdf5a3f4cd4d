"""People's side: exit codes, the one line an error becomes, and the `restore` command.

Importing this module must stay instant: `train.py --help` goes through it.
"""

import argparse
import contextlib
import difflib
import errno
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

DONE, FAILED, BAD_INPUT = 0, 1, 2


def run(main: Callable[[], Any]) -> NoReturn:
    """Calls main and exits: 0 done, 1 failed (traceback), 2 bad configuration or input."""
    sys.argv[1:] = map(without_null, sys.argv[1:])
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        sys.exit(explain(error))
    finally:
        _leave_group()
    sys.exit(DONE)


def _leave_group() -> None:
    """Ends the threads of a process group, which now and then abort the process at its exit."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def without_null(argument: str) -> str:
    """`group=null` as Hydra spells it, `~group`: the task without its adversary, for one."""
    group, _, value = argument.partition("=")
    is_group = value == "null" and (Path(__file__).parents[1] / "conf" / group).is_dir()
    return f"~{group}" if is_group else argument


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
    unusable = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
    if isinstance(error, OSError) and error.errno in unusable and error.filename is not None:
        return f"{error.filename} cannot be made or opened: {error.strerror}"
    home = type(error).__module__.split(".")[0]
    if (
        home in ("hydra", "omegaconf", "antlr4")
        and type(error).__name__ != "InstantiationException"
    ):
        return _hydra_line(error)
    return None


def _hydra_line(error: BaseException) -> str:
    text = str(error)
    unread = getattr(error, "override", None)
    if isinstance(unread, str):
        return (
            f"{unread} cannot be read: {text.splitlines()[0]}; quotes protect brackets and commas"
        )
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
        key = getattr(error, "full_key", None) or empty[1]
        return f"{key} is not set: give {key}=VALUE"
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
            remove_empty(folder)
        if alone:
            sys.exit(explain(error))
        raise


def plain(cfg: Any) -> dict[str, Any]:
    """A composed config as a resolved plain dict; a value that is still missing is an error."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


class ResumeRequest(NamedTuple):
    """What `train.py resume.path=FOLDER key=value` asks for."""

    folder: Path
    allow_inexact: bool
    settings: dict[str, Any]  # by dotted key


def resume_request(arguments: list[str]) -> ResumeRequest | None:
    """None where a new run is asked for. The stored config is the base, so that Hydra composes
    nothing: its groups and flags have no meaning here."""
    if not any(argument.startswith("resume.path=") for argument in arguments):
        return None
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from restore.types import InputError

    settings: dict[str, Any] = {}
    for one in OverridesParser.create().parse_overrides(
        [argument for argument in arguments if not argument.startswith("-")]
    ):
        if one.is_delete() or one.is_sweep_override() or one.package is not None:
            raise InputError(f"{one.input_line}: a resumed run takes plain key=value only")
        settings[one.key_or_group] = one.value()
    flags = [argument for argument in arguments if argument.startswith("-")]
    if flags or "experiment" in settings:
        named = flags[0] if flags else "experiment="
        raise InputError(f"{named} has no meaning with resume.path, which knows its own run")
    allow = settings.pop("resume.allow_inexact", False)
    if not isinstance(allow, bool):
        raise InputError(f"resume.allow_inexact={allow} must be true or false")
    return ResumeRequest(Path(str(settings.pop("resume.path"))), allow, settings)


def listed(value: Any) -> list[str]:
    """A plain list of names or paths; one may stand without brackets."""
    return [value] if isinstance(value, str) else [str(item) for item in value or []]


def remove_empty(folder: Path) -> None:
    """Takes away a folder in which Hydra alone has written, and its empty parents in here."""
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    for empty in (folder, *folder.parents):
        if empty == folder or Path.cwd() in empty.parents:
            with contextlib.suppress(OSError):  # not empty: somebody else's
                empty.rmdir()


def work_begins(folder: Path, config: str) -> None:
    """Says where the run writes, as its first line, and keeps its resolved config there."""
    try:
        (folder / "config.yaml").write_text(config)
    except OSError as error:
        from restore.types import InputError

        raise InputError(f"run folder {folder} cannot be written: {error.strerror}") from error
    print(folder, flush=True)


def main() -> NoReturn:
    """The console script `restore`."""
    from restore import __version__

    parser = argparse.ArgumentParser(prog="restore", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"restore {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    doctor = commands.add_parser("doctor", help="check this installation, its data and weights")
    doctor.set_defaults(command=lambda given: _doctor())
    sweep = commands.add_parser("sweep", help="rank the jobs of a sweep, or continue it")
    sweep.add_argument("folder", metavar="DIR", type=Path, help="what train.py -m printed first")
    sweep.add_argument("--resume", action="store_true", help="run the jobs that are not done")
    sweep.set_defaults(command=_sweep)
    arguments = parser.parse_args()
    if "command" not in arguments:
        parser.print_help()
        sys.exit(DONE)
    try:
        sys.exit(arguments.command(arguments))
    except Exception as error:
        sys.exit(explain(error))


def _doctor() -> int:
    from restore.evaluation import doctor

    return doctor.show(doctor.diagnose())


def _sweep(arguments: argparse.Namespace) -> int:
    from restore.sweep import ranking

    return ranking.resume(arguments.folder) if arguments.resume else ranking.show(arguments.folder)
