"""A job's processes: a group of their own that starts clean, and of which nothing is left."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from restore.recovery.parent import PARENT

GRACE = 30.0  # seconds that a job has for saving after SIGTERM
PRUNED = 3  # exit code of a job
SWEEP = "RESTORE_SWEEP"
# Requests to stop, after which a job has saved; any other signal kills it.
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
# What a launcher of distributed processes says to its own children. MASTER_PORT among them: without
# it Lightning takes a port that is free at that moment.
_LEAKS = re.compile(
    r"(LOCAL_|NODE_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)$|ROLE_NAME$|MASTER_|TORCHELASTIC_|PL_"
    r"|RESTORE_(SWEEP|PARENT|RANKS|AGREED_.*)$"
)


def environment() -> dict[str, str]:
    """The environment of this process, less what would make a child believe that it is a rank."""
    return {name: value for name, value in os.environ.items() if not _LEAKS.match(name)}


def run(command: list[str], log: Path, env: dict[str, str]) -> tuple[int, int | None]:
    """Runs a command with its output in `log`: (exit code, signal that told us to stop, if any).

    STOPS that this process does not ignore go on to all of its group, which is killed GRACE seconds
    later, or at a second signal. Whatever is left of the group when the command ends is killed.
    """
    with log.open("wb") as file:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**env, PARENT: str(os.getpid())},
            start_new_session=True,
        )
    try:
        with _forwarding(child) as told:
            return _wait(child, told), told[0][0] if told else None
    finally:
        if child.poll() is None:  # something was raised here, by a launcher's signal handler
            _signal_group(child, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE)
        _signal_group(child, signal.SIGKILL)
        child.wait()


def signal_of(code: int) -> signal.Signals | None:
    """What has ended a process, by its exit code: -number, or 128 + number where it said so itself;
    None where it was no signal."""
    number = -code if code < 0 else code - 128
    return signal.Signals(number) if number in {*signal.Signals} else None


def _wait(child: subprocess.Popen[bytes], told: list[tuple[int, float]]) -> int:
    # A launcher's worker dies with the sweep, and takes its job along.
    watched = os.environ.get(SWEEP) == str(os.getppid())
    while True:
        try:
            return child.wait(0.5)
        except subprocess.TimeoutExpired:
            if watched and os.environ[SWEEP] != str(os.getppid()):
                _signal_group(child, signal.SIGKILL)
                os._exit(1)
            if told and time.monotonic() > told[0][1] + GRACE:
                _signal_group(child, signal.SIGKILL)


@contextlib.contextmanager
def _forwarding(child: subprocess.Popen[bytes]) -> Iterator[list[tuple[int, float]]]:
    """Passes signals on to the child's group; gives the list of (signal, time)."""
    told: list[tuple[int, float]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        _signal_group(child, signal.SIGKILL if told else number)
        told.append((number, time.monotonic()))

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers there
        yield told
        return
    heard = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in heard}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
