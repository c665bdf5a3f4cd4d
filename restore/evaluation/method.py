"""What can be measured: a checkpoint or a baseline, behind one call."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from restore.task.base import RestorationTask, Task
from restore.types import Batch, InputError, Observation


class Sampling(NamedTuple):
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


NO_SAMPLING = Sampling()


@dataclass
class Method:
    """`restore(batch, num_samples)` gives [B, num_samples, C, H, W] in [-1, 1], and who made it."""

    name: str
    kind: Literal["model", "baseline", "published", "outputs", "function"]
    restore: Callable[[Observation, int], Tensor]
    check: Callable[[Observation], None] = lambda observation: None  # InputError if not served
    checkpoint: str = ""
    identity: str = ""  # of what was measured, where no file of it can be named
    module: nn.Module = field(default_factory=nn.Identity)  # moved to the device of the run
    num_calls: int = 0  # at most
    calls: list[int] = field(default_factory=list)  # of each sample so far, where they vary
    seed: int | None = None
    sampling: Sampling = NO_SAMPLING

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


def sampling_of(task: Mapping[str, Any]) -> Sampling:
    """What the config of a task says of its sampler and guidance."""
    node, guidance = task.get("sampler"), task.get("guidance")
    if node is None:
        return NO_SAMPLING
    name, settings = _spelled(node)
    return Sampling(
        name, settings, "" if guidance is None else "{}({})".format(*_spelled(guidance))
    )


def _spelled(node: Mapping[str, Any]) -> tuple[str, str]:
    """The name of a config's class or function, and its settings in the order of the alphabet.

    A sampler that is a loop around a `method` has the name and the settings of both.
    """
    settings = {key: value for key, value in node.items() if key not in ("_target_", "_partial_")}
    name = str(node["_target_"]).rpartition(".")[2]
    method = settings.pop("method", None)
    if isinstance(method, Mapping):
        name, inner = _spelled(method)
        settings |= dict(pair.split("=", 1) for pair in inner.split(";") if pair)
    parts = {
        key: "{}({})".format(*_spelled(value)) if _is_object(value) else value
        for key, value in sorted(settings.items())
    }
    return name, ";".join(f"{key}={value}" for key, value in parts.items())


def _is_object(node: Any) -> bool:
    return isinstance(node, Mapping) and "_target_" in node


def from_task(task: Task, name: str, checkpoint: str, seed: int, sampling: Sampling) -> Method:
    """InputError for a task that restores nothing."""
    if not isinstance(task, RestorationTask):
        raise InputError(
            f"{checkpoint or name}: {type(task).__name__} restores nothing that a benchmark "
            "could measure; choose another checkpoint, or no benchmark"
        )
    return Method(
        name=name,
        kind="model",
        restore=task.restore,
        check=task.check_observation,
        checkpoint=checkpoint,
        module=task,
        num_calls=task.num_calls,
        seed=seed,
        sampling=sampling,
    )


def from_baseline(name: str, baseline: Callable[[Observation], Tensor]) -> Method:
    """A baseline is deterministic: its one result [B, C, H, W] stands for every sample."""

    def restore(observation: Observation, num_samples: int) -> Tensor:
        return baseline(observation)[:, None].repeat_interleave(num_samples, dim=1)

    return Method(name=name, kind="baseline", restore=restore)


def baseline_to_beat(batch: Batch) -> str:
    """Name of the baseline that any method for such batches must beat."""
    if "hole" in batch:
        return "mean_fill"
    return "identity" if batch["input"].shape == batch["target"].shape else "grey"
