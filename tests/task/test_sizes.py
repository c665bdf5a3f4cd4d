"""A network of the user's own is tried at the sizes of a benchmark before a training begins."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from line import Line
from PIL import Image
from torch import Tensor, nn

from restore.data.folder import Folder
from restore.data.framing import CenterSquare, Whole
from restore.data.module import DataModule
from restore.degradation.noise import Gaussian
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.method import NO_SAMPLING, from_task
from restore.loss.content import Pixels
from restore.metric.psnr import PSNR
from restore.network.dncnn import DnCNN
from restore.task import dry
from restore.task.denoising import Denoiser
from restore.types import Facts, InputError

SIZES = [(128, 192), (131, 192), (128, 128)]  # height and width


class Own(nn.Module):
    """Fails for sides that `factor` does not divide, or that are below `least`."""

    def __init__(self, factor: int = 1, least: int = 1, size: int | None = None) -> None:
        super().__init__()
        self.factor, self.least, self.size = factor, least, size
        self.seen: list[list[int]] = []
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        sides = [*noisy.shape[-2:]]
        self.seen.append(sides)
        if any(side % self.factor or side < self.least for side in sides):
            raise RuntimeError(f"no size for it: {sides}")
        if self.size is not None and set(sides) != {self.size}:
            raise RuntimeError(f"size {self.size} alone")
        return noisy * self.weight


def denoiser(network: nn.Module, image_size: int | None = None) -> Denoiser:
    facts = Facts(1, 1, image_size, None)
    optimizer = partial(torch.optim.SGD, lr=0.1)
    return Denoiser(
        facts, network=lambda **given: network, loss={"l1": Pixels()}, optimizer=optimizer
    )


@pytest.fixture
def photos(tmp_path: Path) -> Any:
    (tmp_path / "photos").mkdir()
    for number, size in enumerate(SIZES):
        pixels = np.full(size, number, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")

    def make(framing: Any = None) -> DataModule:
        source = partial(Folder, folder="photos", mode="gray", val_fraction=1.0)
        frame = framing or Whole()
        return DataModule(source, Gaussian(25.0), frame, frame, batch_size=1, root=str(tmp_path))

    return make


def check(task: Any, data: DataModule) -> None:
    made = from_task(task, "mine", "", 0, NO_SAMPLING)
    Benchmark("whole", data, {"psnr": PSNR()}, "", "").check_method(made)


def test_the_photo_that_can_be_halved_least_is_tried_in_small(photos: Any) -> None:
    network = Own(factor=1)
    check(denoiser(network), photos())
    assert network.seen == [[64 + 131 % 64, 64 + 192 % 64]]


@pytest.mark.parametrize("network", [Own(factor=2), Own(size=64)])
def test_a_size_that_an_own_network_does_not_take_is_one_line(photos: Any, network: Own) -> None:
    said = r"mine on benchmark whole: task\.network .*\.Own does not take images of 192x131 px"
    with pytest.raises(InputError, match=said):
        check(denoiser(network, image_size=64), photos())


def test_the_part_is_never_of_the_size_that_was_trained(photos: Any) -> None:
    network = Own(size=64)
    with pytest.raises(InputError, match="does not take images of 128x128 px"):
        check(denoiser(network, image_size=64), photos(CenterSquare(128)))
    network = Own(size=128)
    check(denoiser(network, image_size=128), photos(CenterSquare(128)))


def test_a_part_that_is_too_small_refuses_nothing(photos: Any) -> None:
    network = Own(least=100)
    check(denoiser(network), photos())
    assert network.seen[-1] == [131, 192]


def test_a_task_of_many_calls_is_tried_by_one(photos: Any) -> None:
    class Walk(Line):
        def restore(self, observation: Any, num_samples: int = 1, **given: Any) -> Tensor:
            for _ in range(self.num_calls):
                self.network(observation["input"])
            return super().restore(observation, num_samples)

    task = Walk()
    task.network = Own()
    check(task, photos())
    assert len(task.network.seen) == 1 and not task.network._forward_hooks
    task.network = Own(factor=2)
    with pytest.raises(InputError, match="does not take images of 192x131 px"):
        check(task, photos())


def test_our_own_networks_are_not_tried(photos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = denoiser(DnCNN(1))

    def called(*given: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(task, "restore", called)
    check(task, photos())


@pytest.mark.parametrize("module", ["restored.net", "torchvision.models"])
def test_a_package_of_a_similar_name_is_somebody_s_own(photos: Any, module: str) -> None:
    network = type("Alike", (Own,), {"__module__": module})()
    check(denoiser(network), photos())
    assert network.seen


def test_both_sides_count_and_only_where_all_are_known() -> None:
    class Asked:
        num_photos, repeat = 3, 2

        def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
            return key

    sizes = [("a", 128, 192), ("b", 131, 192), ("c", 130, 129)]
    data: Any = SimpleNamespace(samples=lambda split: Asked(), sizes=lambda split: sizes, seed=5)
    for known, number in ((3, 2), (2, 0)):
        del sizes[known:]
        found: Any = dry._least_halved(data)
        assert found == (number * 2, 5 * 2**32)


def test_the_result_of_one_call_is_looked_at_too(photos: Any) -> None:
    class Shrinking(Own):
        def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
            return super().forward(noisy)[..., :-3]

    with pytest.raises(InputError, match="makes 189x131 px of them"):
        check(denoiser(Shrinking()), photos())
