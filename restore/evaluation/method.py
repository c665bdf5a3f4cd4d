"""What can be measured: a checkpoint or a baseline, behind one call."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from restore.task.base import RestorationTask
from restore.types import Batch, Facts


@dataclass
class Method:
    """`restore(batch, num_samples)` gives [B, num_samples, C, H, W] in [-1, 1], and who made it."""

    name: str
    kind: Literal["model", "baseline", "published"]
    restore: Callable[[Batch, int], Tensor]
    checkpoint: str = ""
    module: nn.Module = field(default_factory=nn.Identity)  # moved to the device of the run
    facts: Facts | None = None
    num_calls: int = 0
    seed: int | None = None
    batch_size: int | None = None  # the largest that it was trained with

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


def from_task(
    task: RestorationTask, name: str, checkpoint: str, seed: int, batch_size: int
) -> Method:
    return Method(
        name=name,
        kind="model",
        restore=task.restore,
        checkpoint=checkpoint,
        module=task,
        facts=task.facts,
        num_calls=task.num_calls,
        seed=seed,
        batch_size=batch_size,
    )


def from_baseline(name: str, baseline: Callable[[Batch], Tensor]) -> Method:
    """A baseline is deterministic: its one result [B, C, H, W] stands for every sample."""

    def restore(batch: Batch, num_samples: int) -> Tensor:
        return baseline(batch)[:, None].repeat_interleave(num_samples, dim=1)

    return Method(name=name, kind="baseline", restore=restore)


def floor(batch: Batch) -> str:
    """Name of the baseline that any method for such batches must beat."""
    if "hole" in batch:
        return "mean_fill"
    return "identity" if batch["input"].shape == batch["target"].shape else "grey"
