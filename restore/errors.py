"""Exit codes, and the one line that an error becomes.

Importing this module must stay instant: `train.py --help` goes through it.
"""

import contextlib
import difflib
import errno
import io
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from restore.fellows import code_of_another, first_to_tell, group
from restore.types import InputError, RunError

DONE, FAILED, BAD_INPUT = 0, 1, 2
INTERRUPTED = 130  # 128 + SIGINT
_LACKS = (  # of torch's CPU allocator, and of its loader where the system has killed a worker
    *("can't allocate memory", "not enough memory", "out of shared memory"),
    *("is killed by signal: Killed", "is killed by signal: Bus error"),
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, a quota, a limit of a file's size
_LESS = "give smaller images or batches (data.batch_size of train.py, batch_size of evaluate.py)"


def run(main: Callable[[], Any]) -> NoReturn:
    """Calls main and exits: 0 done, 1 failed (a traceback, or a line where memory or room on a disk
    was lacking), 2 bad configuration or input, 130 interrupted before there was anything to
    save."""
    readable()
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        enough()
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(explain(error))
    except SystemExit as ended:
        # Lightning exits with 1 before its first batch, where nothing waits to be saved.
        if isinstance(ended.__context__, KeyboardInterrupt):
            sys.exit(_interrupted())
        raise
    finally:
        _leave_group()
    sys.exit(DONE)


def enough() -> None:
    """Whoever read the output has enough, as `head` does: the rest is no error and goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def readable() -> None:
    """Lets a terminal that is no UTF-8 take whatever is printed, with ? for what it lacks.

    A finished training must not fail by the arrow in its last table. Warnings of restore become one
    line, as its errors are.
    """
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Of a warning of restore what it says; of others also where it was raised."""
    own = category is UserWarning and filename.startswith(str(Path(__file__).parent))
    said = warnings.formatwarning(message, category, filename, lineno, line)
    with contextlib.suppress(OSError):
        (file or sys.stderr).write(f"warning: {message}\n" if own else said)


def _interrupted() -> int:
    print("interrupted", file=sys.stderr)
    return INTERRUPTED


def _leave_group() -> None:
    """Ends the threads of a process group, which now and then abort the process at its exit."""
    distributed = group()
    if distributed is not None:
        distributed.destroy_process_group()


def explain(error: Exception | KeyboardInterrupt) -> int:
    """Tells the user what went wrong, on stderr, and returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return _interrupted()
    if isinstance(error, RunError):
        return _say(_text(error), FAILED)
    line = one_line(error)
    if is_lack(error):
        return _say(f"{_text(error) or 'out of memory'}; {_LESS}", FAILED)
    full = _full_disk(error)
    if full is not None:
        return _say(full, FAILED)
    if line is not None:
        return _say(line, BAD_INPUT)
    told = code_of_another(error)
    if told is None:
        traceback.print_exception(error)
    return FAILED if told is None else told


def is_lack(error: BaseException) -> bool:
    """Whether an error says that memory was refused, on a GPU, by the system or to a worker."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and any(words in said for words in _LACKS)


def _full_disk(error: BaseException) -> str | None:
    """The line of an error that says, or that came of one that says, that a disk took no more."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL:
            place = "" if seen.filename is None else f" at {os.fsdecode(seen.filename)}"
            return f"{seen.strerror}{place}: make room, or write to another disk"
        seen = seen.__cause__ or seen.__context__
    return None


def _say(line: str, code: int) -> int:
    """One line a run: where several of its processes fail at once, that of the first. The code."""
    if first_to_tell(code):
        print(f"error: {line}", file=sys.stderr)
    return code


def one_line(error: BaseException) -> str | None:
    """What the user should read of a configuration error; None for a fault of the program."""
    if isinstance(error, InputError):
        return _text(error)
    unusable = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG)
    if isinstance(error, OSError) and error.errno in unusable and error.filename is not None:
        return f"{error.filename} cannot be made or opened: {error.strerror}"
    home = type(error).__module__.split(".")[0]
    if (
        home in ("hydra", "omegaconf", "antlr4")
        and type(error).__name__ != "InstantiationException"
    ):
        return _hydra_line(error)
    return None


def _text(error: BaseException) -> str:
    """The message on one line, without the traceback that a DataLoader's worker puts before it."""
    text = str(error).strip()
    if text.startswith("Caught ") and "DataLoader worker" in text:
        text = text.rpartition(f"{type(error).__name__}: ")[2]
    return " ".join(text.split())


def _hydra_line(error: BaseException) -> str:
    text = str(error)
    unread = getattr(error, "override", None)
    if isinstance(unread, str):
        if "=" not in unread:
            return f"{unread} cannot be read: give {unread}=VALUE, without spaces"
        return (
            f"{unread} cannot be read: {text.splitlines()[0]}; quotes protect brackets and commas"
        )
    several = re.match(r"Ambiguous value for argument '(.+?)'\n", text)
    if several:
        return f"{several[1]} names several values: add -m for a sweep, or give a list as KEY=[A,B]"
    missing = re.search(
        r"Could not find '([^']+)'(?:.*?Available options in '[^']+':\n(.*))?", text, re.S
    )
    if missing:
        group, _, name = missing[1].rpartition("/")
        return _no_choice(group, name, re.findall(r"^\t(\S+)$", missing[2] or "", re.M))
    listed_one = re.search(r"Could not load '([^']+)/([^'/]+)'", text)
    if listed_one:
        group, name = listed_one.groups()
        folders = [Path(path, group) for path in re.findall(r"path=file://(.+)$", text, re.M)]
        return _no_choice(group, name, [one.stem for at in folders for one in at.glob("*.yaml")])
    empty = re.match(r"Missing mandatory value: (\S+)", text)
    if empty:
        key = getattr(error, "full_key", None) or empty[1]
        return f"{key} is not set: give {key}=VALUE"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:3])


def _no_choice(group: str, name: str, options: list[str]) -> str:
    near = difflib.get_close_matches(name, options, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{group}={name} does not exist: {hint}choose from {', '.join(sorted(options))}"
