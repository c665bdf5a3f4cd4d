"""What a method costs: seconds, memory and multiply-accumulates, measured around its calls."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from restore.evaluation.method import Method
from restore.types import Batch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """None is what cannot be known: of outputs everything, elsewhere what the system does not tell.

    seconds: of an image with all its samples, without the first batch where there are others, which
    warms up. macs: multiply-accumulates of one sample of one image, in convolutions, matrix
    products and attention, other than by the fused kernel of a CPU, which torch counts as none;
    None where torch computes none of these. size: `BxCxHxW` of the batch in which they were
    counted. memory: bytes at the peak of a batch beyond what the process held before it, and the
    parameters.
    """

    seconds: float | None = None
    macs: int | None = None
    size: str = ""
    memory: int | None = None

    @property
    def memory_mib(self) -> float | None:
        return None if self.memory is None else self.memory / 2**20


@dataclass(frozen=True)
class _Spent:
    """What one batch took."""

    images: int
    seconds: float
    memory: int | None


Part = tuple[list[_Spent], int, str]  # batches, MACs of a sample, size of the batch


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts as FlopCounterMode does, which it asks once for each operator with its arguments.

    A sampler calls its network a thousand times on equal shapes, and FlopCounterMode takes several
    times as long as a small network itself. What it says of an operator follows from the shapes,
    types and numbers among its arguments. Only ragged attention counts by values in tensors, its
    offsets, which are integers: it is asked about each time.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self._without: set[Any] = set()  # operators that never multiply
        self._known: dict[Any, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._without:
            return func(*args, **kwargs)
        if not isinstance(func, torch._ops.OpOverload):  # of a higher order
            return self._ask(func, args, kwargs)[0]
        form = _form((func, *args, *kwargs.items()))
        flops = self._known.get(form)
        if flops is not None:
            self.flops += flops
            return func(*args, **kwargs)
        result, flops = self._ask(func, args, kwargs)
        if not _may_multiply(func):
            self._without.add(func)
        elif not _by_values(func, (*args, *kwargs.values())):
            self._known[form] = flops
        return result

    def _ask(self, func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, int]:
        with FlopCounterMode(display=False) as counter:
            result = func(*args, **kwargs)
        self.flops += counter.get_total_flops()
        return result, counter.get_total_flops()


def _form(value: Any) -> Any:
    """What tells arguments apart whose count may differ: all but the values in their tensors."""
    if isinstance(value, list | tuple):
        return tuple(map(_form, value))
    if not isinstance(value, Tensor):
        return value
    if value.is_nested:
        return object()  # has no shape, equals nothing
    at = value.device, value.requires_grad
    return type(value), value.shape, value.stride(), value.dtype, *at


def _may_multiply(operator: Any) -> bool:
    """Whether it has a formula, or is made of further operators."""
    parts = torch._C.DispatchKey.CompositeImplicitAutograd
    return operator.overloadpacket in flop_registry or operator.has_kernel_for_dispatch_key(parts)


def _by_values(operator: Any, args: Any) -> bool:
    """Whether its formula may read values in tensors."""
    return operator.overloadpacket in flop_registry and any(
        isinstance(one, Tensor) and not one.is_floating_point() for one in args
    )


class CostMeter:
    """Measures the calls of one process."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._spent: list[_Spent] = []
        self._macs, self._size = 0, ""

    def restore(self, batch: Batch, num_samples: int) -> Tensor:
        """What the method restores, [B, num_samples, C, H, W]."""
        if self._spent:
            return self._measured(batch, num_samples)
        with Products() as products:
            restored = self._measured(batch, num_samples)
        made = num_samples if self._method.draws else 1
        self._macs = products.flops // (2 * len(restored) * made)
        self._size = "x".join(map(str, batch["input"].shape))
        return restored

    def _measured(self, batch: Batch, num_samples: int) -> Tensor:
        device = batch["input"].device
        held, start = begin(device), time.perf_counter()
        restored = self._method.restore(batch, num_samples).float()
        if restored.is_cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        top = peak(device)
        memory = None if held is None or top is None else max(0, top - held)
        self._spent.append(_Spent(len(restored), seconds, memory))
        return restored

    @property
    def part(self) -> Part:
        """The cost of this process, without its first batch where there are others."""
        return self._spent[1:] or self._spent, self._macs, self._size


def total(method: Method, parts: Sequence[Part]) -> Cost:
    """The cost by the parts of all processes."""
    if method.kind == "outputs":
        return Cost()
    spent = [one for part in parts for one in part[0]]
    memory = [one.memory for one in spent if one.memory is not None]
    weights = sum(p.numel() * p.element_size() for p in method.module.parameters())
    return Cost(
        seconds=sum(one.seconds for one in spent) / max(1, sum(one.images for one in spent)),
        macs=next((macs for _, macs, _ in parts if macs), None),
        size=next((size for *_, size in parts if size), ""),
        memory=max(memory) + weights if memory else None,
    )


def begin(device: torch.device) -> int | None:
    """The bytes that are held now, from which the peak is counted."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        _RESET.write_text("5", encoding="ascii")  # Linux: the peak of the resident set starts anew
    except OSError:
        return None
    return _resident("VmRSS")


def peak(device: torch.device) -> int | None:
    """The largest number of bytes that were held since `begin`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _resident("VmHWM")


def _resident(key: str) -> int | None:
    """A line of this process's status in bytes; None where the system has no such file."""
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(found[0]) * 1024 if found else None
