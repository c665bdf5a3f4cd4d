"""Signals as a request: a scheduler or a user stops a run, which goes on later.

Lightning's own handler broadcasts inside the signal handler: where only one process gets the
signal, all of them hang. Here a handler sets a flag, and the processes agree between batches.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer

from restore.errors import FAILED
from restore.types import InputError, RunError

# Exit codes: 128 + the signal; SIGUSR1 is another way to say SIGTERM.
CODES = {
    signal.SIGTERM: 143,
    signal.SIGUSR1: 143,
    signal.SIGINT: 130,
    signal.SIGHUP: 129,
}


class Preempted(SystemExit):
    """Ends a process that was asked to stop by the signal of that number, and has saved.

    Lightning's launcher kills rank 0 as soon as one of its children fails, so that these end with
    0 and rank 0 alone tells.
    """

    def __init__(self, trainer: Trainer, number: int = signal.SIGTERM) -> None:
        super().__init__(0 if is_launched(trainer) else CODES[signal.Signals(number)])


class Signals:
    """Remembers the first signal; the second one, or any while nothing can be saved, ends at once.

    patient: whether the first one is only remembered. received: its number; 0 for none. What the
    parent has told this process to ignore, as nohup does, stays ignored.
    """

    def __init__(self, trainer: Trainer, patient: bool) -> None:
        self.trainer, self.patient = trainer, patient
        self.received = 0
        if threading.current_thread() is not threading.main_thread():
            return  # Python allows handlers there alone
        for number in CODES:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.patient and self.trainer.is_global_zero:
            name = signal.Signals(number).name
            os.write(2, f"\nended by {name}: what was measured is not recorded\n".encode())
        if not self.patient or self.received:
            end_at_once(self.trainer, number)
        self.received = number
        if number == signal.SIGINT and self.trainer.is_global_zero:
            # Not by print, which a signal may have interrupted.
            os.write(2, b"\nsaving behind this batch; a second Ctrl-C ends at once\n")


_UNDO: list[Callable[[], None]] = []  # what `end_at_once` has to do before it ends the process


@contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """Calls `undo` where a signal ends the process inside of this: no `finally` is run there."""
    _UNDO.append(undo)
    try:
        yield
    finally:
        _UNDO.remove(undo)


class Interrupted(BaseException):
    """Ctrl-C in a program of the user's. At a KeyboardInterrupt Lightning ends the program, and
    leaves Ctrl-C ignored."""


class EndOnSignal(Callback):
    """Ends an evaluation at the first signal: there is nothing to save.

    is_called: by a program of the user's, such as a notebook: Ctrl-C raises Interrupted there.
    """

    def __init__(self, is_called: bool = False) -> None:
        self.is_called = is_called

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.is_called:
            Signals(trainer, patient=False)
        elif threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, _interrupt)  # until Lightning puts back what it met


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted


def is_launched(trainer: Trainer) -> bool:
    """Whether Lightning's rank 0 started this process."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return isinstance(environment, LightningEnvironment) and not trainer.is_global_zero


def children(trainer: Trainer) -> list[int]:
    """Process ids of the ranks that Lightning started from this one and that still run."""
    started = getattr(trainer.strategy.launcher, "procs", None) or []
    return [process.pid for process in started if process.poll() is None]


def end_at_once(trainer: Trainer, number: int = signal.SIGTERM) -> NoReturn:
    """Takes the other processes of this run along."""
    if is_launched(trainer):
        os.kill(os.getppid(), number)
    for worker in multiprocessing.active_children():
        worker.kill()
    for pid in children(trainer):
        os.kill(pid, signal.SIGKILL)
    for undo in _UNDO:
        undo()
    os._exit(0 if is_launched(trainer) else CODES[signal.Signals(number)])


def largest(trainer: Trainer, *values: int) -> list[int]:
    """The largest of each value over all processes, which must ask at the same points."""
    if trainer.world_size == 1:
        return list(values)
    tensor = torch.tensor(values, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
    return [int(value) for value in tensor.tolist()]


def wait_for_children(trainer: Trainer) -> None:
    """Until the ranks that Lightning started from this process have ended; 5 s at most."""
    deadline = time.monotonic() + 5
    while children(trainer) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in children(trainer):
        os.kill(pid, signal.SIGKILL)


def settle(trainer: Trainer, error: BaseException) -> int | None:
    """Called where `error` ends a training: the exit code of the rank that failed first, if it is
    one that Lightning started from this process; None where the error is this process's own.

    Lightning would kill this process within five seconds of a failed rank, and a rank whose peers
    are gone reports that, and not the cause. Ranks that still run are killed.
    """
    launcher: Any = trainer.strategy.launcher
    started = list(getattr(launcher, "procs", None) or [])
    if not started:
        return None
    launcher.procs.clear()  # Lightning's observer looks at this list
    deadline = time.monotonic() + (0 if isinstance(error, InputError | RunError) else 5)
    failed = next((one.returncode for one in started if one.poll()), None)
    while failed is None and time.monotonic() < deadline:
        time.sleep(0.05)
        failed = next((one.returncode for one in started if one.poll()), None)
    for process in started:
        if process.poll() is None:
            process.kill()
    return None if failed is None else (failed if failed > 0 else FAILED)
