"""A network's calls on a GPU, recorded once and replayed."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

Inputs = tuple[Tensor | None, ...]
Key = tuple[tuple[torch.Size, torch.dtype] | None, ...]


class _Recorded(NamedTuple):
    """A CUDA graph, the tensors that it reads and the one that it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Inputs
    output: Tensor


class Graphed:
    """A frozen network whose hundreds of small kernels the processor launches too slowly.

    The first call of each shape runs as always and warms up, the second is recorded as a CUDA
    graph, and from then on one launch replays all kernels, with the same numbers; what the network
    calls before its forward, such as a counter, is called before a replay, too. Where gradients
    are wanted or operations are counted, and off a GPU, every call runs as always. Weights may
    change in place but not move: a Graphed lives as long as one walk of a sampler.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._recorded: dict[Key, _Recorded | None] = {}

    def __call__(self, x: Tensor, *others: Tensor | None) -> Tensor:
        """The network's output; inputs [B, ...] on one device, None for what it is not told."""
        inputs = x, *others
        if not x.is_cuda or torch.is_grad_enabled() or is_in_torch_dispatch_mode():
            return self._plain(inputs)
        key = tuple(None if one is None else (one.shape, one.dtype) for one in inputs)
        if key not in self._recorded:
            self._recorded[key] = None
            return self._plain(inputs)
        found = self._recorded[key]
        if found is None:
            found = self._recorded[key] = self._record(inputs)
        else:
            for hook in self._network._forward_pre_hooks.values():
                hook(self._network, inputs)
        for held, given in zip(found.inputs, inputs, strict=True):
            if held is not None and given is not None:
                held.copy_(given)
        found.graph.replay()
        return found.output.clone()

    def _plain(self, inputs: Inputs) -> Tensor:
        output: Tensor = self._network(*inputs)
        return output

    def _record(self, inputs: Inputs) -> _Recorded:
        held = tuple(None if one is None else one.clone() for one in inputs)
        graph = torch.cuda.CUDAGraph()
        dtype = torch.get_autocast_dtype("cuda")
        enabled = torch.is_autocast_enabled("cuda")
        # Autocast forgets its copies of the weights after the walk: the graph makes its own. A
        # loader pins memory in another thread, which a capture of all threads would not survive.
        low = torch.autocast("cuda", dtype, enabled, cache_enabled=False)
        with low, torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = self._plain(held)
        return _Recorded(graph, held, output)
