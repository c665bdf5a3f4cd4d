"""A task of one number, small enough to follow by hand."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from restore.task.restoration import RestorationTask
from restore.trainer import EnteredFitLoop
from restore.types import Batch, Facts, Observation


class Restorer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.register_buffer("count", torch.tensor(0))


class Line(RestorationTask):
    """Pulls a weight towards 3; `scores` are the val/score of successive validations."""

    def __init__(self, accumulate: int = 1, scores: tuple[float, ...] = ()) -> None:
        super().__init__(
            Facts(1, 1, 2, None), lambda p: torch.optim.SGD(p, lr=0.1), accumulate=accumulate
        )
        self.network = Restorer()
        self.other = nn.Linear(1, 1)
        self.scores = list(scores)
        self.history: list[Tensor] = []
        self.validated: list[Tensor] = []
        self.fails = False

    @property
    def num_calls(self) -> int:
        return 2  # as a sampler: validation does not measure what it restores

    def restore(self, observation: Observation, num_samples: int = 1, **given: Any) -> Tensor:
        return observation["input"][:, None].repeat_interleave(num_samples, 1)

    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        if epoch is None:
            if self.fails:
                raise RuntimeError("validation broke")
            self.validated.append(self.network.weight.detach().clone())
            score = self.scores.pop(0) if self.scores else 0.0
            self.log("val/score", score, batch_size=1)
        else:
            self.network.count += 1
        return {"square": (self.network.weight - 3).square().sum()}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.history.append(self.network.weight.detach().clone())


def batches(count: int = 8) -> DataLoader[Any]:
    target = torch.linspace(-1, 1, 4).view(1, 1, 2, 2)
    samples = [{"target": target[0], "input": -target[0], "index": i} for i in range(count)]
    return DataLoader(samples, batch_size=1)


def fit(
    folder: Path, task: Line, *callbacks: Callback, every: float = 4, **settings: Any
) -> Trainer:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    quiet["num_sanity_val_steps"] = 0
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=list(callbacks),
        enable_checkpointing=any("Checkpoint" in type(one).__name__ for one in callbacks),
        val_check_interval=every,
        **{"check_val_every_n_epoch": None, "max_epochs": -1, "logger": False, **quiet, **settings},
    )
    EnteredFitLoop.put_into(trainer)
    trainer.fit(task, batches(), batches(1))
    return trainer
