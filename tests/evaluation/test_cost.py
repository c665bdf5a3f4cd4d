"""Costs of methods, against counts by hand."""

import mmap
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from restore.evaluation import cost
from restore.evaluation.cost import CostMeter, Products, total
from restore.evaluation.method import Method, from_baseline
from restore.types import Batch, Observation


def batch(size: tuple[int, ...] = (2, 3, 8, 10)) -> Batch:
    image = torch.zeros(size)
    return Batch(target=image, input=image, index=torch.arange(size[0]), name=["a"] * size[0])


def method(restore: Any, module: nn.Module | None = None, kind: Any = "published") -> Method:
    return Method("m", kind, restore, module=module or nn.Identity())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_macs_are_those_of_one_sample_of_one_image(mode: Any) -> None:
    """A 3x3 convolution of 3 channels to 5: 9 * 3 * 5 products a pixel; a product 5 x 3: 15."""
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 1))

    def restore(observation: Observation, num_samples: int) -> Tensor:
        drawn = [network(observation["input"]) for _ in range(num_samples)]
        return torch.stack(drawn, dim=1)

    measured = method(restore, network)
    meter = CostMeter(measured)
    with mode():
        restored = meter.restore(batch(), 2)
        assert torch.equal(restored, meter.restore(batch(), 2))
    found = total(measured, [meter.part])
    assert found.macs == 8 * 10 * (9 * 3 * 5 + 5 * 3)
    assert found.size == "2x3x8x10"
    assert found.seconds is not None and found.seconds > 0


def test_one_result_that_stands_for_every_sample_costs_what_it_costs() -> None:
    network = nn.Conv2d(3, 3, 3, padding=1)
    alone = replace(from_baseline("a", lambda given: network(given["input"])), module=network)
    for num_samples in (1, 4):
        meter = CostMeter(alone)
        with torch.no_grad():
            meter.restore(batch(), num_samples)
        assert total(alone, [meter.part]).macs == 8 * 10 * (9 * 3 * 3)


class Everything(nn.Module):
    """Both convolutions, group norm, a linear layer, attention of matrix products and as a call."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(4, 16)
        self.mixed = nn.Linear(16, 48)
        self.up = nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm(self.down(x)))
        tokens = self.mixed(y.flatten(2).transpose(1, 2))
        query, key, value = (one[:, None] for one in tokens.chunk(3, dim=-1))
        weight = torch.einsum("bhnc,bhmc->bhnm", query, key).softmax(dim=-1)
        called = F.scaled_dot_product_attention(query.double(), key.double(), value.double())
        mixed = (weight @ value + called.float())[:, 0]
        out: Tensor = self.up(mixed.transpose(1, 2).reshape(y.shape))
        return out


def doubled(network: nn.Module, x: Tensor) -> Tensor:
    """Classifier-free guidance calls on two sizes of batch."""
    both: Tensor = network(torch.cat([x, x])) + network(x).repeat(2, 1, 1, 1)
    return both


def guided(network: nn.Module, x: Tensor) -> Tensor:
    """DPS takes the gradient of an error by the input, whatever the mode around it."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.clone().requires_grad_()
        [slope] = torch.autograd.grad(network(2 * leaf).square().sum(), leaf)
    return doubled(network, slope)


def branched(network: nn.Module, x: Tensor) -> Tensor:
    """An operator of a higher order."""
    large = x.sum() > 0
    [out] = torch.ops.higher_order.cond(large, lambda y: (network(y),), lambda y: (y + 0,), (x,))
    return torch.as_tensor(out)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("draw", [doubled, guided, branched])
def test_products_are_those_that_torch_counts(draw: Callable[..., Tensor], mode: Any) -> None:
    network, x = Everything(), torch.randn(2, 3, 8, 8)
    with mode(), FlopCounterMode(display=False) as theirs:
        expected = [draw(network, x * step) for step in (0.5, 1.0, 1.5)]
    with mode(), Products() as ours:
        results = [draw(network, x * step) for step in (0.5, 1.0, 1.5)]
    assert ours.flops == theirs.get_total_flops() > 0
    torch.testing.assert_close(results, expected)  # a mode changes the last bits of gradients


@pytest.mark.parametrize("draw", [doubled, guided])
def test_torch_counts_an_operator_once_however_often_it_is_called(
    draw: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes Python time, and a sampler calls its network a thousand times."""
    network, x = Everything(), torch.randn(2, 3, 8, 8)
    asked = []
    for calls in (1, 5):
        counter = Mock(wraps=FlopCounterMode)
        monkeypatch.setattr(cost, "FlopCounterMode", counter)
        with torch.inference_mode(), Products():
            for step in range(calls):
                draw(network, x * (step + 0.5))
        asked.append(counter.call_count)
    assert asked[0] == asked[1] > 0


def test_arguments_count_alike_where_only_values_in_tensors_differ() -> None:
    """Torch chooses among kernels of attention by layout and type, and counts them unlike."""
    x = torch.zeros(2, 4, 4)
    others = [x[:1], x.mT, x.double(), x.to("meta"), x.clone().requires_grad_(), nn.Parameter(x)]
    forms = [cost._form((one, [2, 1], None)) for one in (x, *others)]
    assert len(set(forms)) == len(forms)
    assert cost._form((x + 1, [2, 1], None)) == forms[0] != cost._form((x, [1, 1], None))
    ragged = torch.nested.nested_tensor([x[0], x[0, :2]])
    assert cost._form(ragged) != cost._form(ragged)  # it has no shape to know it by


def test_a_formula_that_reads_offsets_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's of ragged attention, which runs on a GPU alone: here of an operator of ours."""

    def formula(x: Tensor, dim: int, offsets: Tensor, **rest: Any) -> int:
        return int(offsets.diff().square().sum())

    monkeypatch.setitem(flop_registry, torch.ops.aten.index_select, formula)
    with torch.inference_mode(), Products() as products:
        for offsets in ([0, 2, 5], [0, 1, 5]):
            torch.ones(6).index_select(0, torch.tensor(offsets))
    assert products.flops == (4 + 9) + (1 + 16)


def test_a_method_without_products_has_no_macs() -> None:
    measured = method(lambda batch, n: batch["input"][:, None])
    meter = CostMeter(measured)
    meter.restore(batch(), 1)
    assert total(measured, [meter.part]).macs is None


def test_memory_is_the_peak_beyond_what_was_held_and_the_weights() -> None:
    if cost.begin(torch.device("cpu")) is None:
        pytest.skip("this system does not let a process reset its peak")
    needed = 48 * 2**20

    def restore(observation: Observation, num_samples: int) -> Tensor:
        with mmap.mmap(-1, needed) as area:  # goes back to the system at once, unlike malloc's
            area.write(b"x" * (needed // 2))
            area.write(b"x" * (needed // 2))
        return observation["input"][:, None]

    held = bytearray(80 * 2**20)  # of the process before: not the method's
    weights = nn.Linear(1024, 1024, bias=False)
    measured = method(restore, weights)
    meter = CostMeter(measured)
    for _ in range(2):
        meter.restore(batch(), 1)
    found = total(measured, [meter.part]).memory
    assert found is not None and len(held)
    extra = found - 4 * 2**20
    assert needed - 2**20 < extra < 2 * needed  # Linux counts pages in lots


def test_the_first_batch_warms_up_and_processes_are_put_together() -> None:
    first, second, third = (cost._Spent(2, seconds, memory) for seconds, memory in
                            ((9.0, 900), (1.0, 100), (2.0, 300)))  # fmt: skip
    measured = method(lambda batch, n: batch["input"][:, None])
    one, other = CostMeter(measured), CostMeter(measured)
    one._spent, other._spent = [first, second], [third]
    found = total(measured, [one.part, other.part])
    assert found.seconds == pytest.approx(3.0 / 4) and found.memory == 300


def test_outputs_cost_nothing_that_is_known() -> None:
    measured = method(lambda batch, n: batch["input"][:, None], kind="outputs")
    meter = CostMeter(measured)
    meter.restore(batch(), 1)
    assert total(measured, [meter.part]) == cost.Cost()
