"""What can be measured: a checkpoint or a baseline, behind one call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from restore.ensemble import VIEWS
from restore.task.base import Task
from restore.task.restoration import RestorationTask
from restore.types import Batch, InputError, Observation


class SamplingRecord(NamedTuple):
    """How a diffusion prior draws its samples, as records spell it; all empty for other methods."""

    sampler: str = ""
    settings: str = ""  # `eta=0.0;num_steps=50`
    guidance: str = ""  # `Replacement()`

    def __str__(self) -> str:
        """`ddim(eta=0.0, num_steps=50), Replacement()`; "" where there is none."""
        if not self.sampler:
            return ""
        spelled = f"{self.sampler}({self.settings.replace(';', ', ')})"
        return f"{spelled}, {self.guidance}" if self.guidance else spelled


NO_SAMPLING = SamplingRecord()


@dataclass
class Method:
    """`restore(batch, num_samples)` gives [B, num_samples, C, H, W] in [-1, 1], and who made it."""

    name: str
    kind: Literal["model", "baseline", "published", "outputs", "function"]
    restore: Callable[[Observation, int], Tensor]
    check: Callable[[Observation], None] = lambda observation: None  # InputError if not served
    checkpoint: str = ""
    identity: str = ""  # of what was measured; by default that of the file when it is written down
    module: nn.Module = field(default_factory=nn.Identity)  # moved to the device of the run
    num_calls: int = 0  # at most
    draws: bool = True  # whether each sample is made by calls of its own
    calls: list[int] = field(default_factory=list)  # of each sample so far, where they vary
    seed: int | None = None
    sampling: SamplingRecord = NO_SAMPLING
    data: Mapping[str, Any] | None = None  # the config of what a model was trained on

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


class Drawing(NamedTuple):
    """How an evaluation wants results made. start: strength of the noise from which samples begin;
    None begins from noise alone. mean_of: so many samples are one result, their mean.
    self_ensemble: a result is the mean over eight views, where no sampler draws."""

    start: float | None = None
    mean_of: int = 1
    self_ensemble: bool = False


PLAIN = Drawing()
SELF_ENSEMBLE = SamplingRecord("self_ensemble", f"views={VIEWS}")


def sampling_of(task: Mapping[str, Any], drawing: Drawing = PLAIN) -> SamplingRecord:
    """What the config of a task says of its sampler and guidance, and how samples are drawn."""
    node, guidance = task.get("sampler"), task.get("guidance")
    if node is None:
        return SELF_ENSEMBLE if drawing.self_ensemble else NO_SAMPLING
    name, settings = _spelled(node)
    own = [] if drawing.start is None else [f"start={drawing.start}"]
    own += [] if drawing.mean_of == 1 else [f"mean_of={drawing.mean_of}"]
    settings = ";".join(filter(None, (settings, *own)))
    return SamplingRecord(
        name, settings, "" if guidance is None else "{}({})".format(*_spelled(guidance))
    )


def _spelled(node: Mapping[str, Any]) -> tuple[str, str]:
    """The name of a config's class or function, and its settings in the order of the alphabet."""
    name, settings = _named(node)
    parts = {
        key: "{}({})".format(*_spelled(value)) if _is_object(value) else value
        for key, value in sorted(settings.items())
    }
    return name, ";".join(f"{key}={value}" for key, value in parts.items())


def _named(node: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A sampler that is a loop around a `method` has the name and the settings of both."""
    settings = {key: value for key, value in node.items() if key not in ("_target_", "_partial_")}
    name = str(node["_target_"]).rpartition(".")[2]
    method = settings.pop("method", None)
    if isinstance(method, Mapping):
        name, inner = _named(method)
        settings |= inner
    return name, settings


def _is_object(node: Any) -> bool:
    return isinstance(node, Mapping) and "_target_" in node


def from_task(
    task: Task,
    name: str,
    checkpoint: str,
    seed: int,
    sampling: SamplingRecord,
    drawing: Drawing = PLAIN,
) -> Method:
    """Makes a method of a task.

    Raises InputError for a task that restores nothing, or cannot draw so.
    """
    if not isinstance(task, RestorationTask):
        raise InputError(
            f"{checkpoint or name}: {type(task).__name__} restores nothing that a benchmark "
            "could measure; choose another checkpoint, or no benchmark"
        )
    start, mean_of, self_ensemble = drawing
    if mean_of > 1 and not hasattr(task, "sampler"):
        raise InputError(f"mean_of={mean_of}: {type(task).__name__} draws no samples, leave it out")
    num_calls = task.calls_from(start) * mean_of
    restore: Any = task.restore
    check: Any = task.check_observation
    if self_ensemble:
        with task.ensembled():  # refused before work begins
            num_calls *= VIEWS
        restore = partial(ensembled, task)
    if start is not None:
        restore, check = partial(restore, start=start), partial(check, start=start)
    return Method(
        name=name,
        kind="model",
        restore=restore if mean_of == 1 else partial(averaged, restore, mean_of),
        check=check,
        checkpoint=checkpoint,
        module=task,
        draws=hasattr(task, "sampler"),
        num_calls=num_calls,
        seed=seed,
        sampling=sampling,
    )


def ensembled(task: RestorationTask, observation: Observation, num_samples: int) -> Tensor:
    """Restored images [B, num_samples, C, H, W], each the mean over eight views."""
    with task.ensembled():
        return task.restore(observation, num_samples)


def averaged(
    restore: Callable[[Observation, int], Tensor],
    mean_of: int,
    observation: Observation,
    num_samples: int,
) -> Tensor:
    """Draws [B, num_samples, C, H, W], each the mean of mean_of samples.

    Of all estimates the mean over the posterior has the least squared error, and no detail that
    samples disagree on. What they agree on bit for bit, such as known pixels, stays so.
    """
    drawn = restore(observation, num_samples * mean_of)
    parts = drawn.view(len(drawn), num_samples, mean_of, *drawn.shape[2:])
    first = parts[:, :, 0]
    agreed = (parts == parts[:, :, :1]).all(dim=2)
    return torch.where(agreed, first, parts.mean(dim=2))


def for_every_sample(
    restore: Callable[[Observation], Tensor],
) -> Callable[[Observation, int], Tensor]:
    """The `restore` of a method whose one result [B, C, H, W] stands for every sample."""
    return lambda observation, num_samples: restore(observation)[:, None].repeat_interleave(
        num_samples, dim=1
    )


def from_baseline(name: str, baseline: Callable[[Observation], Tensor]) -> Method:
    """Makes a method of a baseline."""
    return Method(name=name, kind="baseline", restore=for_every_sample(baseline), draws=False)


def baseline_to_beat(batch: Batch) -> str:
    """Name of the baseline that any method for such batches must beat."""
    if "hole" in batch:
        return "mean_fill"
    return "identity" if batch["input"].shape == batch["target"].shape else "grey"
