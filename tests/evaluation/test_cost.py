"""Costs of methods, against counts by hand."""

import mmap
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restore.evaluation import cost
from restore.evaluation.cost import CostMeter, total
from restore.evaluation.method import Method
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
