"""Where a run stands, beyond weights and optimizers: what a checkpoint must hold to go on exactly.

Order and corruptions of the samples are functions of counters, so that counters are enough. They
are written into Lightning's own form when a checkpoint is loaded: as it saves them they depend on
the hook that saved, and lead back to the first sample of the epoch.
"""

import random
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from restore.fellows import gather
from restore.recovery.rows import Rows
from restore.types import InputError

Position = dict[str, Any]
# Switches of how an optimizer computes, which change nothing of what it keeps.
_HOW = {"foreach", "fused", "capturable", "differentiable", "maximize", "nesterov"}


class Before:
    """How a run stood right before a batch that may fail."""

    def __init__(self, trainer: Trainer, pl_module: Any) -> None:
        self.random = random_state(trainer)
        self.updates, self.batches = int(pl_module.updates), int(pl_module.batches)
        self.steps = trainer.global_step  # of all optimizers
        self.gradients = self._versions(pl_module)

    def _versions(self, pl_module: Any) -> dict[str, int] | None:
        """What changes with every write to a gradient; None where no window is open."""
        if self.batches % pl_module.accumulate == 0:
            return None
        named = pl_module.named_parameters()
        return {name: one.grad._version for name, one in named if one.grad is not None}

    def can_go_back(self, pl_module: Any) -> bool:
        """Whether no update was made since, and an open window has the gradients that it had."""
        unmoved = int(pl_module.updates) == self.updates
        return unmoved and self._versions(pl_module) == self.gradients

    def is_exact(self, trainer: Trainer) -> bool:
        """Whether no optimizer has stepped since: one of two players may have."""
        return trainer.global_step == self.steps

    def go_back(self, trainer: Any, pl_module: Any) -> None:
        pl_module.batches = self.batches
        batches = trainer.fit_loop.epoch_loop.batch_progress
        for count in (batches.current, batches.total):
            count.processed = count.completed
        if self.gradients is None:
            pl_module.zero_grad()


def capture(
    trainer: Any,
    pl_module: LightningModule,
    validation_due: bool,
    random: list[dict[str, Any]] | None = None,
    loaded: Position | None = None,
) -> Position:
    """The position between two batches: epoch, batches, random states, an open window's gradients.

    Right in every hook, since callbacks of users save where they like. Called by every process,
    unless `random` is given, the states by rank; only what rank 0 returns is complete. loaded:
    where a resumed run stands until its first batch has taken that up.
    """
    if loaded is not None:
        # Loggers are taken off while what is in metrics.csv already is validated again.
        rows = saved_rows(trainer) if trainer.loggers else loaded["rows"]
        return {**loaded, "validation_due": validation_due, "rows": rows}
    loop = trainer.fit_loop.epoch_loop
    batches = loop.batch_progress.total
    # Behind a batch, callbacks are called before what it said is logged and a validation begins.
    is_open = batches.processed > batches.completed
    return {
        **_place(trainer, pl_module),
        "batches": batches.processed,
        "batch_size": getattr(trainer.datamodule, "batch_size", 1),
        "world_size": trainer.world_size,
        "validation_due": validation_due
        or (is_open and loop._should_check_val_fx(trainer.fit_loop._data_fetcher)),
        "random": random or gather(random_state(trainer), trainer.world_size),
        "gradients": {
            name: p.grad for name, p in pl_module.named_parameters() if p.grad is not None
        },
        "rows": saved_rows(trainer) + (is_open and trainer._logger_connector.should_update_logs),
    }


def _place(trainer: Any, pl_module: Any) -> Position:
    """The epoch, its batches so far, and whether its schedules have still to be told of its end.

    From the end of an epoch to the start of the next one, Lightning has counted the epoch already,
    also one that the end of the training has cut off.
    """
    loop = trainer.fit_loop
    epochs, batch = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current.processed
    epoch = epochs.processed - (batch > 0 and epochs.started == epochs.processed)
    if batch < trainer.num_training_batches:
        return {"epoch": epoch, "batch": batch, "epoch_end_due": False}
    return {"epoch": epoch + 1, "batch": 0, "epoch_end_due": pl_module.ended_epochs <= epoch}


def go_to(position: Position, trainer: Any, loops: dict[str, Any]) -> None:
    """Makes Lightning's loops and the data module start behind the position's last batch.

    With another batch size or number of processes at the next border of a batch behind it.
    """
    data = trainer.datamodule
    size = getattr(data, "batch_size", 1)
    seen = position["batch"] * position["batch_size"] * position["world_size"]
    batch = -(-seen // (size * trainer.world_size))
    if hasattr(data, "go_to"):
        data.go_to(position["epoch"], batch * size)
    epoch, begun = position["epoch"], position["epoch"] + (batch > 0)
    loops["epoch_progress"] = _progress(epoch, epoch)
    for part in loops["epoch_progress"].values():
        part["ready"] = part["started"] = begun
    loops["epoch_loop.batch_progress"] = _progress(position["batches"], batch)
    loops["epoch_loop.val_loop.batch_progress"] = _progress(0, 0)
    for name in ("epoch_loop.batch_progress", "epoch_loop.val_loop.batch_progress"):
        loops[name]["is_last_batch"] = False


def _progress(total: int, current: int) -> dict[str, Any]:
    names = ("ready", "started", "processed", "completed")
    return {"total": dict.fromkeys(names, total), "current": dict.fromkeys(names, current)}


def take_up(position: Position, trainer: Trainer, pl_module: LightningModule) -> None:
    """Right before the first batch: gradients, random states and Lightning's count of steps."""
    for name, parameter in pl_module.named_parameters():
        if name in position["gradients"]:
            parameter.grad = position["gradients"][name].to(parameter.device, copy=True)
    states = position["random"]
    if trainer.global_rank < len(states):
        set_random_state(states[trainer.global_rank], trainer)
    trainer.fit_loop.epoch_loop._batches_that_stepped = position["batches"]


def retune(trainer: Trainer, pl_module: Any, position: Position) -> None:
    """Puts the configured settings of optimizers and schedulers in the place of the loaded ones.

    Moments are kept; a schedule, also one that the run had not, goes on where it would be after as
    many updates or epochs. Raises InputError for one that ends before.
    """
    ended = position["epoch"] - position["epoch_end_due"]
    steps = pl_module.updates if pl_module.scheduler_interval == "update" else ended
    optimizers, schedulers = _made(pl_module)
    loaded = [one.scheduler for one in trainer.lr_scheduler_configs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of schedulers that step before their optimizers
        for scheduler, old in zip(schedulers, loaded, strict=True):
            try:
                for _ in range(steps):
                    scheduler.step()
            except ValueError as error:
                raise InputError(f"task.scheduler ends before step {steps}: {error}") from error
            old.load_state_dict(scheduler.state_dict())
    for optimizer, own in zip(optimizers, trainer.optimizers, strict=True):
        for fresh, group in zip(optimizer.param_groups, own.param_groups, strict=True):
            group.update({key: value for key, value in fresh.items() if key != "params"})


def forget(states: Sequence[dict[str, Any]], pl_module: LightningModule) -> None:
    """Drops saved moments that are not those of the configured optimizers: another class has
    others, and so may have the same one by a switch such as amsgrad. Such an optimizer begins anew.
    """
    for optimizer, state in zip(_made(pl_module)[0], states, strict=True):
        for fresh, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
            if any(_is_other(key, fresh, saved) for key in optimizer.defaults):
                state["state"] = {}


def _is_other(key: str, fresh: dict[str, Any], saved: dict[str, Any]) -> bool:
    switched = isinstance(fresh[key], bool) and key not in _HOW
    return key not in saved or (switched and fresh[key] != saved[key])


def _made(pl_module: LightningModule) -> tuple[list[torch.optim.Optimizer], list[Any]]:
    """New optimizers and schedulers, by the settings of now."""
    made: Any = pl_module.configure_optimizers()
    return made if isinstance(made, tuple) else ([made], [])


def random_state(trainer: Trainer) -> dict[str, Any]:
    """The random state of this process, in types that a checkpoint may hold."""
    kind, keys, place, has_gauss, gauss = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), torch.from_numpy(np.int64(keys)), place, has_gauss, gauss],
        "python": random.getstate(),
    }
    if trainer.strategy.root_device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(trainer.strategy.root_device)
    return state


def set_random_state(state: dict[str, Any], trainer: Trainer) -> None:
    torch.set_rng_state(state["torch"].cpu())
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
    if "cuda" in state and trainer.strategy.root_device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), trainer.strategy.root_device)


def saved_rows(trainer: Trainer) -> int:
    """Rows of metrics.csv, once all that was logged is written."""
    found = [logger for logger in trainer.loggers if isinstance(logger, Rows)]
    for logger in found:
        logger.save()
    return sum(logger.count for logger in found)


def non_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The first name whose tensor holds NaN or an infinity."""
    return next((name for name, one in tensors if not torch.isfinite(one).all()), None)
