"""Checkpoints to go on from after a kill or a preemption, apart from the best ones."""

import re
import signal
import time
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from restore.callback.ema import take_back
from restore.checkpoint import SUFFIX, TEMPORARY, DurableIO, write
from restore.recovery import position, preemption
from restore.recovery.desk import Desk
from restore.recovery.lock import check_there, is_there
from restore.run_files import CHECKPOINTS
from restore.types import InputError, NonFiniteError

KEPT = 2
LOOK_EVERY = 1.0  # seconds


class Recovery(Callback):
    """checkpoints/recovery-<updates>.ckpt, the newest two; and what makes a resumed run exact.

    Written right before the batch that follows an update, when `every_minutes` or, where given,
    `every_n_updates` have passed; when a signal asks the run to stop: then every process ends
    behind the same batch; and when an exception ends it, as it stood before the batch that failed.
    A disk that refuses costs one warning. Every checkpoint of the run, of whatever callback, gets
    the run's position.

    Raises NonFiniteError in the place of a checkpoint with weights that are not finite, and
    RunError where the run folder was taken away.
    """

    def __init__(self, every_minutes: float = 10.0, every_n_updates: int | None = None) -> None:
        if every_minutes <= 0 or (every_n_updates is not None and every_n_updates < 1):
            raise InputError(
                "callback.recovery: every_minutes must be positive and every_n_updates at least "
                f"1, or null, got {every_minutes} and {every_n_updates}"
            )
        self.every_minutes, self.every_n_updates = every_minutes, every_n_updates
        self.history: list[dict[str, Any]] = []  # one entry for every time the run was resumed
        self.retunes = False  # whether optimizer settings differ from the checkpoint's
        self._fingerprint: dict[str, Any] = {}
        self._loaded: position.Position | None = None
        self._validating = False
        self._validated: int | None = None  # updates at the end of the last validation
        self._before: position.Before | None = None  # the batch that runs
        # Random states by rank, for a process that cannot ask the others any more.
        self._random: list[dict[str, Any]] | None = None
        self._signals: preemption.Signals | None = None
        self._desk = Desk()
        self._looked = 0.0  # when the folder was last seen to be there
        self._warned = False
        self._written = 0.0  # when the last checkpoint was written
        self._updates: int | None = None  # of the task, when the previous batch began
        # Batches of a validation that every process has: only between these may they talk.
        self._shared_batches = 0

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        DurableIO.of(trainer)
        if trainer.is_global_zero and stage == "fit":
            for stale in self.folder(trainer).glob(f"*{TEMPORARY}"):
                stale.unlink(missing_ok=True)

    def folder(self, trainer: Trainer) -> Path:
        return Path(trainer.default_root_dir) / CHECKPOINTS

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if hasattr(trainer.datamodule, "fingerprint"):
            self._fingerprint = trainer.datamodule.fingerprint()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        broken = position.non_finite(pl_module.named_parameters())
        if broken is not None:
            raise NonFiniteError(f"weights {broken} are not finite at update {pl_module.updates}")
        checkpoint["position"] = {
            **position.capture(trainer, pl_module, self._validating, self._random, self._loaded),
            "validated": self._validated,
        }
        checkpoint["fingerprint"] = self._fingerprint
        checkpoint["resumed"] = self.history

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: Any) -> None:
        self._loaded = checkpoint["position"]
        self._validated = self._loaded.get("validated")
        if self.retunes:
            position.forget(checkpoint["optimizer_states"], pl_module)
        position.go_to(checkpoint["position"], trainer, checkpoint["loops"]["fit_loop"])

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._signals = preemption.Signals(trainer, patient=True)
        self._desk.open(trainer, pl_module)
        self._written = time.monotonic()
        if self._loaded is None:
            return
        if self.retunes:
            position.retune(trainer, pl_module, self._loaded)
        # Where a run was killed after its training, the last validation is its result.
        if self._loaded["validation_due"] or trainer.should_stop:
            self._validate_again(trainer, logged=self._validated == pl_module.updates)
        if self._loaded["epoch_end_due"]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of schedulers: the optimizer stepped elsewhere
                pl_module.on_train_epoch_end()
            self._loaded = {**self._loaded, "epoch_end_due": False}

    def _validate_again(self, trainer: Trainer, logged: bool) -> None:
        """logged: whether what it finds is in metrics.csv already."""
        loggers = trainer.loggers
        if logged:
            trainer.loggers = []
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True
        trainer.loggers = loggers

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._loaded is not None:
            position.take_up(self._loaded, trainer, pl_module)
            self._loaded = None
        updated = self._updates is not None and pl_module.updates != self._updates
        self._updates = int(pl_module.updates)
        wishes = self._desk.look(trainer, pl_module)
        late = "save" in wishes or time.monotonic() - self._written >= 60 * self.every_minutes
        received = self._received or (signal.SIGTERM if "stop" in wishes else 0)
        stop, late_at_rank_0 = preemption.largest(
            trainer, received, late and trainer.is_global_zero
        )
        due = self.every_n_updates is not None and pl_module.updates % self.every_n_updates == 0
        self._check_folder(trainer)
        if stop or (updated and (late_at_rank_0 or due)):
            self.save(trainer, pl_module)
        if stop:
            raise preemption.Preempted(trainer, stop)
        self._before = position.Before(trainer, pl_module)

    def on_train_batch_end(self, *arguments: Any, **named: Any) -> None:
        self._before = None

    @property
    def _received(self) -> int:
        return 0 if self._signals is None else self._signals.received

    def _check_folder(self, trainer: Trainer) -> None:
        if time.monotonic() - self._looked > LOOK_EVERY and trainer.is_global_zero:
            self._looked = time.monotonic()
            check_there(Path(trainer.default_root_dir))

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.sanity_checking:
            return
        self._validating = True
        own = sum(int(count) for count in trainer.num_val_batches)
        self._shared_batches = -preemption.largest(trainer, -own)[0]

    def on_validation_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self._validating or batch_idx >= self._shared_batches:
            return
        self._desk.look(trainer, pl_module, validating=True)
        stop = preemption.largest(trainer, self._received)[0]
        if stop:
            take_back(trainer, pl_module)
            self.save(trainer, pl_module)
            raise preemption.Preempted(trainer, stop)

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:  # what it has found is logged now, and not before
            self._validating, self._validated = False, int(pl_module.updates)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._desk.close(trainer, f"the training ended at update {pl_module.updates}")

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """A signal that came behind the last batch: all is saved, and no evaluation begins."""
        stop = preemption.largest(trainer, self._received)[0]
        if stop:
            raise preemption.Preempted(trainer, stop)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self._desk.close(trainer, f"the run ended: {type(exception).__name__}")
        if isinstance(exception, preemption.Preempted):
            preemption.wait_for_children(trainer)
        elif isinstance(exception, Exception) and self._signals is not None:
            try:
                self._keep(trainer, pl_module)
            except Exception as error:  # what ended the run is what the user must see
                rank_zero_warn(f"no checkpoint of update {pl_module.updates} was kept: {error}")

    def _keep(self, trainer: Trainer, pl_module: Any) -> None:
        """Rank 0 alone writes how the run stood before the batch that failed: the other processes
        may be gone, or wait for what will not come."""
        before, updates = self._before, int(pl_module.updates)
        new = self._loaded is None and updates > 0
        if not (new and trainer.is_global_zero and is_there(Path(trainer.default_root_dir))):
            return
        if before is not None and not before.can_go_back(pl_module):
            return
        take_back(trainer, pl_module)
        exact = before is None or before.is_exact(trainer)
        self._random = [position.random_state(trainer) if before is None else before.random]
        if before is not None:
            before.go_back(trainer, pl_module)
        path = self.folder(trainer) / f"recovery-{updates}{SUFFIX}"
        write(trainer._checkpoint_connector.dump_checkpoint(), path)
        remove_old(path.parent, updates)
        note = "" if exact else ", one of its players a step ahead"
        print(f"kept: {path.name}, as the run stood before the batch that failed{note}", flush=True)

    def save(self, trainer: Trainer, pl_module: Any) -> None:
        """Writes recovery-<updates>.ckpt, then removes what it replaces."""
        folder, updates = self.folder(trainer), int(pl_module.updates)
        trainer.save_checkpoint(folder / f"recovery-{updates}{SUFFIX}")
        self._written = time.monotonic()
        error = DurableIO.of(trainer).error
        kept = {"update": updates, "checkpoint": str(folder / f"recovery-{updates}{SUFFIX}")}
        self._desk.settle({"save", "stop"}, kept if error is None else {"error": str(error)})
        if error is None:
            if trainer.is_global_zero:
                remove_old(folder, updates)
        elif not self._warned:
            self._warned = True
            rank_zero_warn(f"no recovery checkpoint at update {updates}: {error}; training goes on")


def remove_old(folder: Path, updates: int) -> None:
    """Keeps the newest recovery checkpoints up to `updates`, and the user's copies of any.

    Those of more updates were damaged, or the run would have gone on from them.
    """
    own = re.compile(rf"recovery-(\d+){re.escape(SUFFIX)}")
    found = {int(name[1]): path for path in folder.iterdir() if (name := own.fullmatch(path.name))}
    newest = sorted(count for count in found if count <= updates)[-KEPT:]
    for count in found.keys() - set(newest):
        found[count].unlink(missing_ok=True)
