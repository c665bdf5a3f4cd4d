"""The settings of learning that every task takes."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, NotRequired, TypedDict

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from restore.types import InputError

OptimizerFactory = Callable[..., Optimizer]
SchedulerFactory = Callable[..., LRScheduler]


def make_optimizer(factory: OptimizerFactory, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer that `factory` makes, fused where PyTorch can and the config says nothing.

    Fused, one pass over the weights does it all: a CPU is four times as fast.
    """
    chosen, said = factory, {}
    if isinstance(factory, partial):
        chosen, said = factory.func, factory.keywords
    can = "fused" in inspect.signature(chosen).parameters
    says = {"fused", "foreach", "differentiable", "capturable"} & said.keys()
    return factory(parameters, fused=True) if can and not says else factory(parameters)


class OneCycle(OneCycleLR):
    """A rise to max_lr in the first `pct_start` of the updates, then a fall: Smith and Topin 2018.

    The rise may be one update, at which torch's own class divides 0 by 0: that one has max_lr.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.05,
        cycle_momentum: bool = False,
    ) -> None:
        if pct_start * total_steps == 1:
            pct_start *= 1 - 1e-9
        super().__init__(
            optimizer, max_lr, total_steps, pct_start=pct_start, cycle_momentum=cycle_momentum
        )


class Learning(TypedDict):
    """The settings that every task shares, as `restore.task.base.Task` takes them."""

    optimizer: OptimizerFactory
    scheduler: NotRequired[SchedulerFactory | None]
    clip_norm: NotRequired[float | None]
    accumulate: NotRequired[int]
    scheduler_interval: NotRequired[Literal["update", "epoch"]]


@contextmanager
def in_words() -> Iterator[None]:
    """Raises InputError for what optimizers and schedulers raise where they are made or moved."""
    try:
        yield
    except InputError:
        raise
    except ZeroDivisionError as error:  # of one cycle, where its warm-up is a single update
        raise InputError(
            "task.scheduler divides by zero with these settings: change max_updates, or use "
            "scheduler=constant"
        ) from error
    except (TypeError, ValueError, IndexError) as error:
        raise InputError(f"task.optimizer or task.scheduler: {error}") from error


def moved(scheduler: LRScheduler | None) -> None:
    """Takes a first step, which some schedules cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a schedule that moves before its optimizer
        if scheduler is not None:
            scheduler.step()
