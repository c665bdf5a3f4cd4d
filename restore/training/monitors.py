"""What callbacks choose by, and what they teach, checked before the first update."""

from collections.abc import Mapping
from typing import Any

from restore.callback.monitor import best_is_high, check_monitor
from restore.task.base import Task
from restore.task.dry import logged_in_training, logged_in_validation
from restore.task.teacher import Teacher
from restore.types import Batch, InputError

_OURS = "restore."


def check_callbacks(callbacks: Mapping[str, Any], task: Task, sample: Batch) -> None:
    """Raises InputError for a teacher that does not serve the task, and for a callback whose
    monitor is nothing that the task logs, or that takes its worst value for the best.

    sample: one of validation, [1, ...].
    """
    for one in callbacks.values():
        if isinstance(one, Teacher):
            one.check(task, sample)
    _check_monitors(callbacks, task, sample)


def _check_monitors(callbacks: Mapping[str, Any], task: Task, sample: Batch) -> None:
    """Raises InputError for a monitor that is not logged, or that takes its worst for the best.

    Lightning's callbacks may follow the losses of training, too. One that is told not to insist
    (`strict=false`) is left alone.
    """
    wanted = {name: one for name, one in callbacks.items() if _insists(one)}
    validated = logged_in_validation(task, sample) if wanted else None
    if validated is None:
        return
    for name, one in wanted.items():
        setting = f"callback.{name}"
        if type(one).__module__.startswith(_OURS) or not one.monitor.startswith("train/"):
            check_monitor(setting, one.monitor, validated)
        else:
            check_monitor(setting, one.monitor, logged_in_training(task, sample), ("train/",))
        if best_is_high(one.monitor) and getattr(one, "mode", None) == "min":  # Lightning's default
            raise InputError(
                f"{setting}.mode=min would take the lowest {one.monitor} for the best: set "
                f"+{setting}.mode=max"
            )


def _insists(callback: Any) -> bool:
    is_named = isinstance(getattr(callback, "monitor", None), str)
    return is_named and getattr(callback, "strict", True) is not False
