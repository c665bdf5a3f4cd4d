"""A process that a launcher started ends when its launcher does, whatever ends that one.

Importing this module must stay instant.
"""

import ctypes
import os
import signal
import sys
import threading
import time

from restore import launch

PARENT = "RESTORE_PARENT"


def die_with_launcher() -> None:
    """Called by every process of a training: does nothing in one that a user started.

    torchrun's ranks, and those that Lightning starts, would train on to their end.
    """
    if launch.here().launcher in ("torchrun", "lightning"):
        die_with_parent()


def die_with_parent() -> None:
    """Called by a job, and by every rank that it starts: ends this process when its parent does."""
    parent = int(os.environ.get(PARENT, os.getppid()))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)
    os.environ[PARENT] = str(os.getpid())


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
