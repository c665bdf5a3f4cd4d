"""A run folder belongs to one run, and one process group at a time writes in it.

run.json says whose the folder is; a lock on the file .lock, which the system releases when its
process dies, says who writes. Importing this module must stay instant.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import struct
import sys
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from restore import launch
from restore.folder import short, write_whole
from restore.run_files import CHECKPOINTS, CONFIG, LOCK, METRICS, RESULT, RUN
from restore.types import InputError, RunError

# What a run leaves in its folder.
TRACES = (RUN, CONFIG, CHECKPOINTS, METRICS, RESULT)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_held: dict[Path, int] = {}  # file descriptors of the locks of this process


def new_id() -> str:
    return uuid.uuid4().hex


def is_first() -> bool:
    """Whether this is the first process of its run, which locks for all."""
    return launch.here().rank == 0


def claim(folder: Path) -> None:
    """Makes the folder of a new run and locks it, before anything is written.

    Raises:
        InputError: the folder holds a run, another process writes in it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = next((name for name in TRACES if (folder / name).exists()), None)
        if found is None:
            hold(folder)
            return
    except OSError as error:
        raise InputError(
            f"run folder {short(str(folder))} cannot be made or opened: {error.strerror}; choose "
            "another hydra.run.dir"
        ) from error
    raise InputError(
        f"run folder {folder} holds a run ({found}): go on with it by resume.path={folder}, or "
        "choose another hydra.run.dir"
    )


def hold(folder: Path, kind: Literal["run", "sweep"] = "run") -> None:
    """Locks a run's or a sweep's folder until this process ends or calls `release`; again is no
    matter.

    A record lock of POSIX, which NFS knows, too, and which a forked worker does not inherit. It is
    lost when this process opens and closes .lock once more, so that nothing else here may do that.

    Raises:
        InputError: another process holds the lock; the message says who and since when.
        OSError: the file cannot be written.
    """
    path = folder.resolve() / LOCK
    if path in _held:
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            told = f"{folder} is on a file system without locks: start one {kind} a folder"
            print(told, file=sys.stderr)
        else:
            holder = os.read(file, 1000).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise InputError(
                f"{kind} folder {folder} is in use by {holder}: wait until that {kind} ends, stop "
                "it, or choose another folder"
            ) from error
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())
    _held[path] = file


def holder(folder: Path) -> str | None:
    """Who writes in a run folder, as "process 7 on HOST since TIME"; None where nobody does.

    Asks the system and locks nothing: a run that begins at this moment is not refused for it.
    """
    path = folder.resolve() / LOCK
    if path in _held:
        return f"process {os.getpid()} on {socket.gethostname()}"
    said = ""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            said = file.read(1000).strip()
            return (said or "another process") if _is_locked(file.fileno()) else None
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return said or None


def _is_locked(file: int) -> bool:
    """What F_GETLK says, in a record whose order differs between systems."""
    linux = sys.platform == "linux"
    layout, place = ("hhqqi0q", 0) if linux else ("qqihh", 3)
    kind = (fcntl.F_WRLCK, os.SEEK_SET)
    asked = struct.pack(layout, *kind, 0, 0, 0) if linux else struct.pack(layout, 0, 0, 0, *kind)
    answer = struct.unpack(layout, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    return bool(answer[place] != fcntl.F_UNLCK)


def is_there(folder: Path) -> bool:
    """False where a folder that this process has locked was taken away or replaced."""
    file = _held.get(folder.resolve() / LOCK)
    try:
        return file is None or os.path.samestat(os.fstat(file), os.stat(folder / LOCK))
    except FileNotFoundError:
        return False


def check_there(folder: Path) -> None:
    """Raises RunError where the folder was taken away."""
    if not is_there(folder):
        raise RunError(f"run folder {folder} was taken away while the run wrote in it")


def release() -> None:
    """Gives all locks of this process back."""
    while _held:
        _, file = _held.popitem()
        with contextlib.suppress(OSError):
            os.ftruncate(file, 0)
        os.close(file)


def write_identity(
    folder: Path, run: str | None, experiment: str, overrides: Sequence[str]
) -> None:
    """run.json, which names the run of a folder."""
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    content = {
        "id": run,
        "experiment": experiment,
        "overrides": list(overrides),
        "started": started,
        "host": socket.gethostname(),
    }
    write_whole(folder / RUN, json.dumps(content, indent=2) + "\n")


def identity(folder: Path) -> dict[str, Any] | None:
    """What run.json says; None where there is none, as of runs before they had an id."""
    path = folder / RUN
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("id"), str | None):
        raise InputError(f"{path} does not say whose the folder is: restore it, or start a new run")
    return content
