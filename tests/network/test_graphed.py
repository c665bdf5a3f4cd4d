"""Replayed calls are those of the network itself."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from on_gpu import OnGPU
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from restore.network.graphed import Graphed
from restore.network.unet import UNet


def unet(device: str) -> UNet:
    torch.manual_seed(0)
    made = UNet(3, 3, width=32, multipliers=(1, 2), num_blocks=1, attention=(2,)).to(device).eval()
    for weight in made.parameters():  # the last layer begins at 0
        nn.init.normal_(weight, std=0.05)
    return made


def inputs(seed: int, device: str, count: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, 16, 16, generator=generator)
    return x.to(device), torch.rand(count, generator=generator).to(device)


@pytest.mark.parametrize("grad", [False, True])
def test_without_a_gpu_each_call_is_the_networks_own(grad: bool) -> None:
    network = unet("cpu")
    graphed = Graphed(network)
    with torch.set_grad_enabled(grad):
        for seed in range(3):
            given = inputs(seed, "cpu")
            assert torch.equal(graphed(*given), network(*given))


class Doubling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.labels: list[Any] = []

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        self.labels.append(label)
        return 2 * x


def test_a_network_may_be_told_no_class_and_each_replay_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A recorder that records nothing stands in for the GPU's."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, **_: nullcontext())
    network, calls = Doubling(), list[int]()
    network.register_forward_pre_hook(lambda module, given: calls.append(len(given)))
    x, t = (given.as_subclass(OnGPU) for given in inputs(0, "cpu"))
    graphed = Graphed(network)
    with torch.no_grad():
        for _ in range(4):
            assert torch.equal(graphed(x, t, None).cpu(), 2 * x.cpu())
    assert network.labels == [None, None]  # the third and the fourth call are replays
    assert calls == [3, 3, 3, 3]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are recorded on a GPU alone")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_replay_is_the_call_and_earlier_outputs_stay(dtype: torch.dtype) -> None:
    """Six calls of two shapes in turn, of which the later ones are replays; weights move, too."""
    network = unet("cuda")
    graphed = Graphed(network)
    made, wanted = [], []
    with torch.inference_mode(), torch.autocast("cuda", dtype, dtype != torch.float32):
        for seed in range(6):
            for count in (2, 5):
                given = inputs(seed, "cuda", count)
                made.append(graphed(*given))
                wanted.append(network(*given))
            for weight in network.parameters():
                weight.mul_(0.99)
            torch.clear_autocast_cache()
    for ours, theirs in zip(made, wanted, strict=True):
        torch.testing.assert_close(
            ours, theirs, rtol=0, atol=2e-2 if dtype != torch.float32 else 1e-5
        )
    assert all(one is not None for one in graphed._recorded.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are recorded on a GPU alone")
def test_gradients_are_never_replayed() -> None:
    network = unet("cuda")
    graphed = Graphed(network)
    for seed in range(3):
        x, t = inputs(seed, "cuda")
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(graphed(x, t).sum(), x)
        assert gradient.abs().sum() > 0
    assert not graphed._recorded


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are recorded on a GPU alone")
def test_operations_are_counted_at_every_call() -> None:
    graphed, counts = Graphed(unet("cuda")), []
    with torch.no_grad():
        for seed in range(4):
            with FlopCounterMode(display=False) as counter:
                graphed(*inputs(seed, "cuda"))
            counts.append(counter.get_total_flops())
    assert counts[0] > 0 and len(set(counts)) == 1
