"""Which GPUs a job may see when several jobs share those of one machine."""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from restore.types import InputError

_WAIT = 0.2  # seconds between two looks for a free slot


def visible() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name and name != "-1"]
    try:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        listed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    except FileNotFoundError:
        return []
    return listed.stdout.split() if listed.returncode == 0 else []


@contextlib.contextmanager
def take(count: int, jobs_per_gpu: int) -> Iterator[str]:
    """Waits for a slot on each of `count` GPUs, holds them, gives the CUDA_VISIBLE_DEVICES.

    A slot is a lock on a file that all sweeps of the user on this machine share; the kernel opens
    it again when its holder dies. Emptier GPUs are taken first.
    """
    names = visible()
    if len(names) < count:
        raise InputError(
            f"search.jobs_per_gpu={jobs_per_gpu}: a job needs {count} GPUs and this machine shows "
            f"{len(names)}; set search.jobs_per_gpu=null, or trainer.devices"
        )
    folder = Path(tempfile.gettempdir()) / f"restore-gpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    held: dict[str, FileLock] = {}
    while len(held) < count:
        with FileLock(folder / "allocate.lock"):
            held = _allocate(folder, names, count, jobs_per_gpu)
        if len(held) < count:
            time.sleep(_WAIT)
    try:
        yield ",".join(name for name in names if name in held)
    finally:
        for lock in held.values():
            lock.release()


def _allocate(folder: Path, names: list[str], count: int, slots: int) -> dict[str, FileLock]:
    """Locks of `count` GPUs; none where so many are not free."""
    held: dict[str, FileLock] = {}
    for slot in range(slots):
        for name in names:
            if name in held or len(held) == count:
                continue
            lock = FileLock(folder / f"{name.replace('/', '_')}-{slot}.lock", timeout=0)
            with contextlib.suppress(Timeout):
                lock.acquire()
                held[name] = lock
    if len(held) < count:
        for lock in held.values():
            lock.release()
        return {}
    return held
