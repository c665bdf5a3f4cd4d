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
        return " ".join(str(error).split())
    home = type(error).__module__.split(".")[0]
    if (
        home in ("hydra", "omegaconf", "antlr4")
        and type(error).__name__ != "InstantiationException"
    ):
        return _hydra_line(error)
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
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:3])


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
        if empty.is_relative_to(Path.cwd()) or empty == folder:
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
    parser.parse_args()
    parser.print_help()
    sys.exit(DONE)
