"""The class or function behind a dotted path, where it may be built."""

import difflib
import importlib
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any

from restore.config.trust import STRICT, Trust, root_of
from restore.types import InputError

ALLOWED = {
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.callbacks.LearningRateMonitor",
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.profilers.SimpleProfiler",
    "torch.optim.Adam",
    "torch.optim.AdamW",
    "torch.optim.SGD",
    "torch.optim.lr_scheduler.ConstantLR",
    "torch.optim.lr_scheduler.CosineAnnealingLR",
    "torch.optim.lr_scheduler.MultiStepLR",
    "torch.optim.lr_scheduler.OneCycleLR",
    "torch.optim.lr_scheduler.StepLR",
}
# What a config may name: classes of these packages, and functions of those modules alone, because
# others write files (a checkpoint's config may come from a stranger).
PACKAGES = (
    *("callback", "data", "degradation", "diffusion", "evaluation", "loss", "metric"),
    *("network", "recovery", "task", "tracking"),
)
FUNCTIONS = ("restore.diffusion.", "restore.loss.", "restore.metric.bucket.")
# What a class must be by where it stands: the last part of its path, or the section that holds it.
_KINDS = {
    "callback": "lightning.pytorch.Callback",
    "data": "restore.data.module.DataModule",
    "network": "torch.nn.Module",
    "optimizer": "torch.optim.Optimizer",
    "scheduler": "torch.optim.lr_scheduler.LRScheduler",
    "task": "restore.task.base.Task",
}


def resolve(target: str, path: str = "", trust: Trust = STRICT) -> Callable[..., Any]:
    """The class or function behind a dotted path that may be built, or InputError."""
    refusal = check_allowed(target, path, trust)
    place = f"{path}._target_={target}".strip(".")
    module, _, name = target.rpartition(".")
    allowed = target in ALLOWED
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{place} does not exist ({_near(name, module) or error})") from None
    if allowed:
        return typing.cast(Callable[..., Any], found)
    if not _is_buildable(found, target, trust):
        raise refusal
    return typing.cast(Callable[..., Any], found)


def _near(name: str, module: str) -> str | None:
    """A question for the nearest name of an imported module; None where none is near."""
    near = difflib.get_close_matches(name, dir(sys.modules.get(module)), n=1)
    return f"did you mean {near[0]}?" if near else None


def _is_buildable(found: Any, target: str, trust: Trust) -> bool:
    """Whether what lies behind a path is what the path promises, and not what a module imported."""
    home = getattr(found, "__module__", None) or ""
    is_class = inspect.isclass(found) and not issubclass(found, BaseException)
    is_function = inspect.isfunction(found)
    if _is_own(target.rpartition(".")[0]):
        return _is_own(home) and (is_class or (is_function and target.startswith(FUNCTIONS)))
    if trust.covers_all(target):
        return root_of(home) == root_of(target) and (is_class or is_function)
    return is_class and home.startswith("torch.") and issubclass(found, _inert())


def _inert() -> tuple[type, ...]:
    import torch

    return (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torch.nn.Module)


def check_allowed(target: str, path: str, trust: Trust) -> InputError:
    """Raises InputError unless the path may be built; returns what it would have raised."""
    place = f"{path}._target_={target}".strip(".")
    refusal = InputError(
        f"{place}: only restore's own classes can be built here, and those of packages that you "
        "name, as packages=[mylab]"
    )
    module, _, name = target.rpartition(".")
    allowed = _is_own(module) or trust.covers(target)
    if target not in ALLOWED and (not allowed or name.startswith("_")):
        raise refusal
    return refusal


def _is_own(module: str) -> bool:
    return f"{module}.".startswith(tuple(f"restore.{package}." for package in PACKAGES))


def check_kind(target: Callable[..., Any], path: str, spelled: str) -> None:
    """Raises InputError for a class that is not what others will call at its place."""
    above, _, name = path.rpartition(".")
    wanted = _KINDS.get(above if above == "callback" else name)
    if wanted is None or not inspect.isclass(target):
        return
    module, _, kind = wanted.rpartition(".")
    if not issubclass(target, getattr(importlib.import_module(module), kind)):
        raise InputError(f"{path}._target_={spelled} is refused: it is no {wanted}")
