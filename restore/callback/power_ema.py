"""Snapshots from which an average of any length is rebuilt after training."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from restore.callback.power_average import combination, decay, exponent
from restore.folder import write_whole
from restore.types import InputError

FOLDER = "averages"


class PowerEMA(Callback):
    """Keeps power-function averages of `task.network` (see power_average) of the lengths `stds`.

    Beside callback.ema, whose length is fixed before training. Every `every` updates, and at the
    end, one file an average: averages/<updates>_<std>.safetensors in float16. max_bytes: of all
    files together; where the next ones would exceed it, every second time is taken away and
    `every` doubles. The averages themselves, float32, are in the checkpoints: resuming goes on.
    A file that the disk refuses costs a warning, and is one snapshot less to rebuild from.
    """

    def __init__(
        self, stds: Sequence[float] = (0.05, 0.1), every: int = 200, max_bytes: int = 2**28
    ) -> None:
        if len(set(stds)) < 2 or not all(0 < std <= 0.28 for std in stds):
            raise InputError(
                f"callback.power_ema.stds={list(stds)}: use two or more, above 0 and at most 0.28"
            )
        if min(every, max_bytes) < 1:
            raise InputError(f"callback.power_ema: {every=} and {max_bytes=} must be 1 or more")
        self.stds, self.every, self.max_bytes = tuple(stds), every, max_bytes
        self.first_every = every  # before it was doubled
        self.powers = [exponent(std) for std in self.stds]
        self.updates = 0
        self.averages: list[dict[str, Tensor]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        live = dict(pl_module.network.named_parameters())
        start = self.averages or [live for _ in self.stds]
        self.averages = [
            {k: average[k].detach().to(live[k].device, torch.float32, copy=True) for k in live}
            for average in start
        ]
        needed = 2 * self._bytes()  # the files of one time, and room for those of the next
        if needed > self.max_bytes:
            raise InputError(
                f"callback.power_ema.max_bytes={self.max_bytes} holds no two snapshots of this "
                f"network: use {needed} or more"
            )
        if trainer.is_global_zero:
            for updates, _, path in snapshots(_folder(trainer)):
                if updates > self.updates:  # of a run that went further, and goes on from here
                    path.unlink()

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.updates == self.updates:
            return
        self.updates = int(pl_module.updates)
        live = [p.detach().float() for p in pl_module.network.parameters()]
        for average, power in zip(self.averages, self.powers, strict=True):
            weight = 1 - decay(power, self.updates)
            torch._foreach_lerp_(list(average.values()), live, weight)
        if self.updates % self.every == 0:
            self._write(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        if self.updates % self.every:
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        folder = _folder(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        while (len({t for t, _, _ in snapshots(folder)}) + 1) * self._bytes() > self.max_bytes:
            self.every *= 2
            for updates, _, path in snapshots(folder):
                if updates % self.every:
                    path.unlink()
        for std, average in zip(self.stds, self.averages, strict=True):
            path = folder / f"{self.updates:08d}_{std}.safetensors"
            half = {name: value.half().cpu().contiguous() for name, value in average.items()}
            try:
                write_whole(path, save(half))
            except OSError as error:
                rank_zero_warn(f"{path} was not written: {error}; training goes on")

    def _bytes(self) -> int:
        """Bytes of the files of one time, without their headers."""
        return sum(2 * value.numel() for average in self.averages for value in average.values())

    def state_dict(self) -> dict[str, Any]:
        own = {"updates": self.updates, "every": self.every, "stds": list(self.stds)}
        own["first_every"] = self.first_every
        return {**own, "averages": self.averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before = state_dict.get("stds", list(self.stds))
        if before != list(self.stds):
            raise InputError(
                f"callback.power_ema.stds={list(self.stds)}: the run keeps averages of {before} "
                "since its start, and others cannot begin amid it; leave it out"
            )
        self.updates = state_dict["updates"]
        if state_dict.get("first_every", self.first_every) == self.first_every:
            self.every = state_dict["every"]
        self.averages = state_dict["averages"]


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / FOLDER


def snapshots(folder: Path) -> Iterator[tuple[int, float, Path]]:
    """(updates, std, file) of every snapshot there, by time."""
    for path in sorted(folder.glob("*_*.safetensors")):
        updates, _, std = path.stem.partition("_")
        yield int(updates), float(std), path


def rebuild(folder: Path, std: float) -> dict[str, Tensor]:
    """The average of that length at the end of a run, float32, from its folder of snapshots.

    Raises InputError where there are none, one is damaged, or no average has that length.
    """
    found = list(snapshots(folder))
    if not found:
        raise InputError(
            f"{folder} holds no snapshots of averages: they are kept with callback=power_ema"
        )
    if not 0 < std <= 0.28:
        raise InputError(f"std={std}: an average's length is above 0 and at most 0.28")
    kept = [(exponent(own), updates) for updates, own, _ in found]
    shortest = min(own for _, own, _ in found)
    if std < shortest / 2:
        raise InputError(
            f"std={std} is less than half of {shortest:g}, the shortest average that the run kept: "
            "of its float16 files nothing but rounding would be left"
        )
    weights = combination(kept, (exponent(std), found[-1][0]))
    total: dict[str, Tensor] = {}
    for weight, (_, _, path) in zip(weights.tolist(), found, strict=True):
        try:
            for name, value in load_file(path).items():
                total[name] = total.get(name, 0) + weight * value.float()
        except SafetensorError as error:
            raise InputError(f"{path} is damaged: {error}") from None
    return total
