"""The settings of learning that every task takes."""

from collections.abc import Callable
from typing import Literal, NotRequired, TypedDict

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

OptimizerFactory = Callable[..., Optimizer]
SchedulerFactory = Callable[..., LRScheduler]


class Learning(TypedDict):
    """The settings that every task shares, as `restore.task.base.Task` takes them."""

    optimizer: OptimizerFactory
    scheduler: NotRequired[SchedulerFactory | None]
    clip_norm: NotRequired[float | None]
    accumulate: NotRequired[int]
    scheduler_interval: NotRequired[Literal["update", "epoch"]]
