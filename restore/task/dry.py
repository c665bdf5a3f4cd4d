"""What a task logs, learns from and restores, known from one sample before the first update."""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torchmetrics import Metric

from restore.data.module import DataModule
from restore.data.split import Raw
from restore.network.size import at_any_size
from restore.task.base import Task
from restore.task.restoration import RestorationTask
from restore.types import Batch, InputError, Observation, path_of, shape_of

_NO_TRAINER = "not attached to a `Trainer`"  # Lightning's words
_TILE = 64  # images of equal remainders by it are alike to networks that halve up to six times


class _BackwardError(Exception):
    """Losses that derive something themselves, as a gradient penalty does."""


class _EnoughError(Exception):
    """A network has been called once."""


def check_learns(task: Task, sample: Batch) -> None:
    """Raises InputError unless the losses of a batch [1, ...] are scalars that lead to a weight."""
    said: list[Any] = []
    try:
        _tried(task, lambda: said.append(task.losses(sample, 0)), gradients=True)
    except _BackwardError:
        return
    except RuntimeError as error:
        if _NO_TRAINER in str(error):
            return
        raise
    kind, terms = f"the losses of {path_of(task)}", said[0]
    shapes = _shapes(terms)
    if not isinstance(terms, Mapping) or not terms or set(shapes.values()) != {"[]"}:
        found = shapes or type(terms).__name__
        raise InputError(
            f"{kind} are {found}: they must be a dict of names to scalars, as "
            "{'l2': error.square().mean()}"
        )
    if not any(term.requires_grad for term in terms.values()):
        raise InputError(
            f"{kind}, {', '.join(terms)}, lead to no weight of its network: leave out detach() and "
            "no_grad(), which cut them off"
        )


def _shapes(terms: Any) -> dict[str, str]:
    """Shapes of terms by their names, or what stands in place of a tensor."""
    named = terms if isinstance(terms, Mapping) else {}
    return {str(name): shape_of(one) for name, one in named.items()}


def check_sizes(task: RestorationTask, data: DataModule) -> None:
    """Raises InputError where code of somebody's own does not restore the test images of `data`.

    The network is called once, for the photo whose sides can be halved least, and for a part of it
    that has the same remainders; the whole is tried where it does not take the part, either.
    """
    named = [type(one).__module__ for one in (task, *task.network.modules())]
    if all(name.startswith(("restore.", "torch.")) for name in named):
        return
    raw = _least_halved(data)
    height, width = (_like(side, task.facts.image_size) for side in raw["image"].shape[-2:])
    part = raw["image"][..., :height, :width]
    if part.shape != raw["image"].shape:
        try:
            return _restored_once(task, data.to_batch({**raw, "image": part}))
        except Exception:  # it may be the part that is too small for a network, or for a hole
            pass
    _restored_once(task, data.to_batch(raw))


def _least_halved(data: DataModule) -> Raw:
    samples, sizes = data.samples("test"), [size for _, *size in data.sizes("test")]
    number = 0
    if len(sizes) == samples.num_photos:
        number = min(range(len(sizes)), key=lambda k: math.gcd(math.prod(sizes[k]), _TILE**2))
    return samples[number * samples.repeat, data.seed * 2**32]


def _like(side: int, known: int | None) -> int:
    """The least pixels, at least _TILE, that leave its remainder; never those it was trained on.

    They may be more than the side has.
    """
    least = _TILE + side % _TILE
    return least + _TILE if least == known else least


def _restored_once(task: RestorationTask, observation: Observation) -> None:
    def enough(*given: Any) -> None:
        raise _EnoughError

    def restore() -> Tensor:
        if task.num_calls <= 1:
            return task.restore(observation)
        hook = task.network.register_forward_hook(enough)
        try:
            return task.restore(observation)
        except _EnoughError:
            return observation["input"]
        finally:
            hook.remove()

    _tried(task, lambda: at_any_size(task.network, observation["input"], restore))


def logged_in_validation(task: Task, sample: Batch) -> list[str] | None:
    """Names that `validation_step` logs for a batch [1, ...], as `val/loss`; the task is as before.

    Lightning's `log` needs a trainer; here it is stood in for. None where the step of a task of
    somebody's own asks for the trainer itself, so that only a validation can tell.
    """
    names: list[str] = []

    def log(name: str, value: Any, **settings: Any) -> None:
        names.append(name)

    def log_dict(values: Mapping[str, Any], **settings: Any) -> None:
        names.extend(values)

    stand_ins: dict[str, Any] = {"log": log, "log_dict": log_dict, "weight": lambda batch: 1}
    if isinstance(task, RestorationTask) and task.num_calls > 1:  # a sampler is not asked to draw
        stand_ins["restore"] = lambda observation, *_, **__: observation["target"][:, None]
    inner = vars(task)
    inner.update(stand_ins)
    try:
        _tried(task, lambda: task.validation_step(sample, 0))
    except RuntimeError as error:
        if _NO_TRAINER in str(error):
            return None
        raise
    finally:
        for name in stand_ins:
            del inner[name]
    return [name for name in dict.fromkeys(names) if name.startswith("val/")]


def logged_in_training(task: Task, sample: Batch) -> list[str]:
    """Names of the loss terms that every update logs, as `train/loss`; the task is as before."""
    terms: list[str] = []
    _tried(task, lambda: terms.extend(task.losses(sample, 0)))
    return [f"train/{term}" for term in (*terms, "loss")]


def _not_kept(kept: None) -> Tensor:
    raise _BackwardError


def _tried(task: Task, call: Callable[[], object], gradients: bool = False) -> None:
    """Calls, with gradients or without, and leaves random numbers and metrics as they were."""
    training = task.training
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            task.eval()
            # Nothing is kept for a backward pass, which never comes: a photo may be large.
            with torch.set_grad_enabled(gradients), saved_tensors_hooks(lambda _: None, _not_kept):
                call()
    finally:
        task.train(training)
        for module in task.modules():
            if isinstance(module, Metric):
                module.reset()
