"""Where a training answers what `restore ask` has left in its folder, without a change of course.

Rank 0 alone looks, and answers what needs no other process; what does (a checkpoint, the end), it
tells the others in the exchange that they have before every batch.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Trainer
from torch import nn

from restore.callback.ema import EMA
from restore.callback.progress import max_updates
from restore.callback.samples import Samples, joined
from restore.errors import one_line
from restore.picture import Spread, add_titles, panel, save, titles
from restore.recovery import request
from restore.recovery.best import Checkpoint
from restore.recovery.request import Request
from restore.types import InputError

_IMAGES = 8  # of a sample, where no callback says how many


class Desk:
    """The desk of the training in a run folder."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._begun: int | None = None  # updates when the training began or went on
        self._later: list[Request] = []  # for a checkpoint, or the end

    def open(self, trainer: Trainer, task: Any) -> None:
        """Before the first batch."""
        self._started, self._begun = time.monotonic(), int(task.updates)
        if trainer.is_global_zero:
            request.forget_old(Path(trainer.default_root_dir))

    def look(self, trainer: Trainer, task: Any, validating: bool = False) -> set[str]:
        """Answers what can be answered at once; which of save and stop are wished for.

        validating: only what disturbs no validation is answered, and the rest waits for the next
        update.
        """
        if not trainer.is_global_zero:
            return set()
        self._later = [one for one in self._later if one.path.exists()]  # the others: taken back
        known = {one.path for one in self._later}
        for one in request.waiting(Path(trainer.default_root_dir)):
            if one.path in known or (validating and one.word != "status"):
                continue
            if one.word in ("save", "stop"):
                self._later.append(one)
            else:
                request.answer(one, self._answer(one.word, trainer, task))
        return set() if validating else {one.word for one in self._later}

    def settle(self, words: set[str], content: dict[str, Any]) -> None:
        """Answers those who wished for a checkpoint or the end."""
        for one in [one for one in self._later if one.word in words]:
            self._later.remove(one)
            request.answer(one, content)

    def close(self, trainer: Trainer, why: str) -> None:
        """Answers all who wait when the training ends."""
        if trainer.is_global_zero and self._begun is not None:
            left = request.waiting(Path(trainer.default_root_dir))
            for path in {one.path for one in (*self._later, *left)}:
                request.answer(Request(path, ""), {"error": why})
            self._later = []

    def _answer(self, word: str, trainer: Trainer, task: Any) -> dict[str, Any]:
        try:
            if word == "status":
                return self._status(trainer, task)
            if word == "sample":
                return _sample(trainer, task)
            known = ", ".join(request.WORDS)
            raise InputError(f"{word or 'this'} is nothing to ask: choose from {known}")
        except Exception as error:  # a question must not end a training
            return {"error": one_line(error) or f"{type(error).__name__}: {error}"}

    def _status(self, trainer: Trainer, task: Any) -> dict[str, Any]:
        updates, total = int(task.updates), max_updates(trainer)
        seconds, steps = time.monotonic() - self._started, updates - (self._begun or 0)
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        said: dict[str, Any] = {"update": updates, "of": total, "epoch": trainer.current_epoch}
        said |= {name: logged[name] for name in sorted(logged) if name != "step"}
        if steps > 0:
            said["seconds_left"] = round(seconds / steps * max(0, total - updates), 1)
        for one in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(one, Checkpoint) and one.best_model_score is not None:
                said[f"{one.name} {one.monitor}"] = float(one.best_model_score)
        if torch.cuda.is_available():
            said["gpu_memory_mib"] = torch.cuda.max_memory_allocated() >> 20
        return said | {"processes": trainer.world_size, "process": os.getpid(),
                       "host": socket.gethostname()}  # fmt: skip


@torch.no_grad()
def _sample(trainer: Any, task: Any) -> dict[str, Any]:
    """Draws validation images by the averaged weights, where there are some, into samples/."""
    if not hasattr(task, "restore"):
        raise InputError(f"{type(task).__name__} restores no images: ask for its status")
    data, own = trainer.datamodule, _samples(trainer)
    samples = data.samples("val")
    places = Spread(len(samples), own.num_images if own else _IMAGES).wanted
    raw = [samples[place, data.seed * 2**32 + place] for place in places]
    device = trainer.strategy.root_device
    batches = [data.to_batch(move_data_to_device(one, device)) for one in raw]
    shape = batches[0]["target"].shape
    batch = joined([one for one in batches if one["target"].shape == shape])
    number = own.num_samples if own else 1
    computing = trainer.precision_plugin.forward_context()  # as validation does
    with _untouched(trainer, task), computing:
        restored = task.restore(batch, number).float()
    picture = add_titles(panel(batch, restored.clamp(-1, 1)), titles(batch, number), 1)
    path = Path(trainer.default_root_dir) / "samples" / f"asked-{task.updates}.png"
    path.parent.mkdir(exist_ok=True)
    save(picture, path)
    return {"update": int(task.updates), "sample": str(path)}


def _samples(trainer: Any) -> Samples | None:
    return next((one for one in trainer.callbacks if isinstance(one, Samples)), None)


@contextlib.contextmanager
def _untouched(trainer: Any, task: nn.Module) -> Iterator[None]:
    """Evaluation mode and averaged weights for a moment; random states and modes as they were."""
    averages = [one for one in trainer.callbacks if isinstance(one, EMA)]
    modes = {module: module.training for module in task.modules()}
    device = trainer.strategy.root_device
    with torch.random.fork_rng([device.index or 0] if device.type == "cuda" else []):
        try:
            for average in averages:
                average.lend(task)
            task.eval()
            yield
        finally:
            for average in averages:
                average.take_back(task)
            for module, training in modes.items():
                module.training = training
