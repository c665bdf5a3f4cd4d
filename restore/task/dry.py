"""What a task's validation logs, known from one sample before the first update."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from restore.task.base import Task
from restore.types import Batch


def logged_in_validation(task: Task, sample: Batch) -> list[str]:
    """Names that `validation_step` logs for a batch [1, ...], as `val/loss`; the task is as before.

    Lightning's `log` needs a trainer; here it is stood in for.
    """
    names: list[str] = []

    def log(name: str, value: Any, **settings: Any) -> None:
        names.append(name)

    def log_dict(values: Mapping[str, Any], **settings: Any) -> None:
        names.extend(values)

    stand_ins = {"log": log, "log_dict": log_dict, "weight": lambda batch: 1}
    training, inner = task.training, vars(task)
    inner.update(stand_ins)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            task.eval()
            task.validation_step(sample, 0)
    finally:
        for name in stand_ins:
            del inner[name]
        task.train(training)
    return [name for name in names if name.startswith("val/")]
