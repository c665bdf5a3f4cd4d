"""What is asked of a running training, and its answers, as files of its folder.

No server and no port: whoever sees the folder can ask, over ssh and from any node of a cluster.
Importing this module must stay instant.
"""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from restore.folder import write_whole
from restore.run_files import LOCK

FOLDER = ".ask"  # below the run's
WORDS = ("status", "sample", "save", "stop")
_REQUEST, _ANSWER = ".request", ".answer"
_LOOK_EVERY = 0.05  # seconds between two looks for an answer


class Request(NamedTuple):
    """A file that waits to be answered; its word may be one that nobody knows."""

    path: Path
    word: str


def leave(run: Path, word: str) -> Request:
    """Leaves a request in a run folder: whole, or not there."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}{_REQUEST}"
    write_whole(path, json.dumps({"word": word}) + "\n")
    return Request(path, word)


def wait(request: Request, seconds: float) -> dict[str, Any] | None:
    """The answer, which is taken away; None where none has come after so many seconds."""
    path = request.path.with_suffix(_ANSWER)
    deadline = time.monotonic() + seconds
    while True:
        if path.is_file():
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            path.unlink()
            return content
        if time.monotonic() >= deadline:
            return None
        time.sleep(_LOOK_EVERY)


def take_back(request: Request) -> None:
    """Removes a request that nobody waits for any longer, and an answer that came too late."""
    for path in (request.path, request.path.with_suffix(_ANSWER)):
        path.unlink(missing_ok=True)


def waiting(run: Path) -> Iterator[Request]:
    """What has been left in a run folder and is not answered, oldest first."""
    try:
        names = sorted(os.listdir(run / FOLDER))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if name.endswith(_REQUEST) and not name.startswith("."):
            path = run / FOLDER / name
            with contextlib.suppress(OSError):  # taken back
                yield Request(path, _word(path))


def _word(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["word"])
    except (ValueError, KeyError, TypeError):
        return ""


def answer(request: Request, content: dict[str, Any]) -> None:
    """Answers once: nobody who waits misses it, and no later look sees the request again."""
    with contextlib.suppress(OSError):  # a full disk must not end the training
        write_whole(request.path.with_suffix(_ANSWER), json.dumps(content) + "\n")
    request.path.unlink(missing_ok=True)


def forget_old(run: Path) -> None:
    """Removes what was left before the run took its lock: it was meant for an earlier process."""
    lock, folder = run / LOCK, run / FOLDER
    if not (lock.is_file() and folder.is_dir()):
        return
    begun = lock.stat().st_mtime_ns
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime_ns < begun:
                path.unlink()
