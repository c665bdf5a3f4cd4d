"""SIGTERM and SIGUSR1 as a request: a scheduler takes the machine away, and the run goes on later.

Lightning's own handler broadcasts inside the signal handler: where only one process gets the
signal, all of them hang. Here a handler sets a flag, and the processes agree between batches.
"""

import multiprocessing
import os
import signal
import time
from types import FrameType

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer

PREEMPTED = 143  # exit code: 128 + SIGTERM
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preempted(SystemExit):
    """Ends a process that was asked to stop.

    Lightning's launcher kills rank 0 as soon as one of its children fails, so that these end with
    0 and rank 0 alone tells.
    """

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(0 if is_launched(trainer) else PREEMPTED)


class Signals:
    """Remembers the first signal; the second one, or any while nothing can be saved, ends at once.

    patient: whether the first one is only remembered.
    """

    def __init__(self, trainer: Trainer, patient: bool) -> None:
        self.trainer, self.patient = trainer, patient
        self.received = False
        for number in SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.patient and not self.received:
            self.received = True
            return
        end_at_once(self.trainer)


class EndOnSignal(Callback):
    """Ends an evaluation at the first signal: there is nothing to save."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Signals(trainer, patient=False)


def is_launched(trainer: Trainer) -> bool:
    """Whether Lightning's rank 0 started this process."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return isinstance(environment, LightningEnvironment) and not trainer.is_global_zero


def children(trainer: Trainer) -> list[int]:
    """Process ids of the ranks that Lightning started from this one and that still run."""
    started = getattr(trainer.strategy.launcher, "procs", None) or []
    return [process.pid for process in started if process.poll() is None]


def end_at_once(trainer: Trainer) -> None:
    """Takes the other processes of this run along."""
    if is_launched(trainer):
        os.kill(os.getppid(), signal.SIGTERM)
    for worker in multiprocessing.active_children():
        worker.kill()
    for pid in children(trainer):
        os.kill(pid, signal.SIGKILL)
    os._exit(0 if is_launched(trainer) else PREEMPTED)


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
