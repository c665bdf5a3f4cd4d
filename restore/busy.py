"""How many of the cores that this process may use other programs keep busy.

Threads of one operation wait for the last of them. Where another program takes one of their cores,
each operation waits until the scheduler gives it back: one thread is then many times faster.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from restore import launch
from restore.precision import device_of
from restore.workers import processes

_STAT = Path("/proc/stat")  # of Linux; times of each core since the start of the machine
_SECONDS = 0.2
_IDLE = slice(3, 5)  # columns of a core: idle, and waiting for a disk


def notes(trainer: Mapping[str, Any]) -> list[str]:
    """What a run on a processor is told whose threads would wait for other work."""
    alone = processes("cpu", trainer.get("devices", 1)) == 1
    if device_of(str(trainer.get("accelerator", "auto"))) != "cpu" or not alone:
        return []
    line = note(torch.get_num_threads())
    return [line] if line else []


def note(threads: int) -> str | None:
    """For that many threads; None where nothing is known, or nothing in their way."""
    if threads < 2 or (found := busy()) is None:
        return None
    if threads <= (fitting := fitting_beside(found)):
        return None
    return (
        f"{found:.1f} of {launch.cores()} cores are busy with other work, for which {threads} "
        f"threads wait: OMP_NUM_THREADS={fitting} in front of the command may be many times faster"
    )


def fitting_beside(found: float) -> int:
    """Threads that wait for nobody where so many cores are busy."""
    return max(1, int(launch.cores() - found + 0.5))


def busy() -> float | None:
    """Cores of this process's that others use now, 0 to all; takes a fifth of a second."""
    before = _times()
    if before is None:
        return None
    time.sleep(_SECONDS)
    after = _times() or {}
    shares = [_share(before[core], after[core]) for core in before.keys() & after.keys()]
    return sum(shares)


def _times() -> dict[int, tuple[int, int]] | None:
    """Idle and all ticks of each core that this process may use."""
    try:
        lines = _STAT.read_text(encoding="utf-8").splitlines()
        mine = os.sched_getaffinity(0)
    except (OSError, AttributeError):  # no Linux
        return None
    found: dict[int, tuple[int, int]] = {}
    for name, *ticks in map(str.split, lines):
        number = name.removeprefix("cpu")
        if number.isdecimal() and int(number) in mine:
            numbers = [int(tick) for tick in ticks[:8]]  # guests' are counted in users' already
            found[int(number)] = sum(numbers[_IDLE]), sum(numbers)
    return found


def _share(before: tuple[int, int], after: tuple[int, int]) -> float:
    idle, whole = after[0] - before[0], after[1] - before[1]
    return 1 - idle / whole if whole > 0 else 0.0
