"""The one line that a training prints when no memory is left."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from restore.callback.ema import EMA
from restore.callback.power_ema import PowerEMA
from restore.errors import is_lack
from restore.evaluation.memory import total
from restore.evaluation.record import peak_memory
from restore.training.run import Run
from restore.types import RunError

Consumers = dict[str, int]  # bytes by what takes them


def known(run: Run, error: Exception) -> Exception:
    """A RunError that tells of refused memory; any other error is itself."""
    return RunError(told(run, error)) if is_lack(error) else error


def told(run: Run, error: BaseException) -> str:
    """What was too large, what takes most, and what to lower."""
    data, task, trainer = run.data, run.task, run.trainer
    device = trainer.strategy.root_device
    shape = run.sample["target"].shape
    size = data.train_framing.size
    height, width = (size, size) if size else shape[-2:]
    batch = f"data.batch_size={data.batch_size} of {shape[1]}x{height}x{width}"
    precision = run.config["trainer"]["precision"]
    place = f"GPU {device.index or 0}" if device.type == "cuda" else "this machine"
    if "DataLoader worker" in str(error):
        return (
            f"out of memory in a worker of the data, at update {task.updates}: {batch}, "
            f"data.num_workers={data.num_workers}; lower data.num_workers or data.cache_gb, or "
            "give the container more shared memory (--shm-size)"
        )
    parts = consumers(run, device)
    name, most = max(parts.items(), key=lambda one: one[1])
    return (
        f"out of memory on {place} ({_gib(total(device))}) at update {task.updates}: {batch}, "
        f"trainer.precision={precision}; most is taken by {name} ({_gib(most)}). Lower "
        f"{_remedy(run, name)}"
    )


def consumers(run: Run, device: torch.device) -> Consumers:
    """Bytes by what takes them; what no list has is that of a batch on its way."""
    task: Any = run.task
    states = [state for one in run.trainer.optimizers for state in one.state.values()]
    parts = {
        "weights": _bytes([*task.parameters(), *task.buffers()]),
        "gradients": _bytes(one.grad for one in task.parameters() if one.grad is not None),
        "optimizer states": _bytes(
            value for state in states for value in state.values() if isinstance(value, Tensor)
        ),
        "averages of weights": _bytes(
            value for one in run.callbacks.values() for value in _averages(one)
        ),
    }
    parts["activations of a batch"] = max(0, peak_memory(device.type) - sum(parts.values()))
    return parts


def _averages(callback: Any) -> Iterable[Tensor]:
    if isinstance(callback, EMA):
        return callback.average.values()
    several = callback.averages if isinstance(callback, PowerEMA) else []
    return (value for average in several for value in average.values())


def _bytes(tensors: Iterable[Tensor | nn.Parameter]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors)


def _remedy(run: Run, largest: str) -> str:
    """Settings that help, the best first."""
    cheap = run.config["trainer"]["precision"] in ("bf16-mixed", "16-mixed")
    less = "" if cheap else ", or take trainer.precision=bf16-mixed"
    if largest != "activations of a batch":
        return f"task.network's width or depth{less}"
    half = max(1, run.data.batch_size // 2)
    more = 2 * run.task.accumulate
    first = f"data.batch_size={half} with task.accumulate={more} gives the same updates"
    if run.data.batch_size == 1:
        first = "data.train_framing.size"
    return f"the batch: {first}; or a smaller data.train_framing.size{less}"


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**27 else f"{count / 2**20:.1f} MiB"
