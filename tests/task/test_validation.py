"""What validation measures is what evaluate.py measures on the same images."""

import functools
import math
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from players import Generator
from torch import nn
from torch.utils.data import DataLoader

from restore.callback.monitor import best_is_high
from restore.callback.samples import Samples
from restore.data.framing import CenterSquare
from restore.data.module import DataModule
from restore.data.photos import Photos
from restore.degradation.mask import Box, Mask
from restore.degradation.noise import Gaussian
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.method import NO_SAMPLING, from_task
from restore.evaluation.runner import evaluate
from restore.loss.content import Pixels
from restore.metric.psnr import PSNR, HolePSNR
from restore.metric.ssim import SSIM
from restore.recovery.best import Checkpoint
from restore.task import validation
from restore.task.denoising import Denoiser
from restore.task.dry import logged_in_validation
from restore.types import Batch, Facts, InputError

RGB = Facts(image_channels=3, input_channels=3, image_size=32, num_classes=None)
SGD = functools.partial(torch.optim.SGD, lr=0.1)


class OneSplit(DataModule):
    """Validates on the images of the test split."""

    def val_dataloader(self) -> DataLoader[Any]:
        return self.test_dataloader()


def data(degradation: Any) -> OneSplit:
    square = CenterSquare(32)
    settings = {"batch_size": 2, "repeat": 3, "limit": 1}  # the last batch has one image
    return OneSplit(functools.partial(Photos), degradation, square, square, **settings)


def quiet(**settings: Any) -> Trainer:
    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    own = {"accelerator": "cpu", "use_distributed_sampler": False, "enable_model_summary": False}
    return Trainer(**off, **own, **settings)


@pytest.mark.parametrize("degradation", [Gaussian(sigma=25), Mask(Box(size=9))])
def test_validation_agrees_with_the_evaluator(degradation: Any) -> None:
    torch.manual_seed(0)
    task = Denoiser(RGB, Generator, {"pixels": Pixels()}, optimizer=SGD)
    (logged,) = quiet().validate(task, datamodule=data(degradation), verbose=False)
    metrics: dict[str, Any] = {"psnr": PSNR(), "ssim": SSIM()}
    if isinstance(degradation, Mask):
        metrics["hole"] = HolePSNR()
    benchmark = Benchmark("b", data(degradation), metrics, "protocol", "reference")
    method = from_task(task.eval(), "mine", "", 0, NO_SAMPLING)
    summary = evaluate(quiet(), method, benchmark).summary
    for name, value in summary.items():
        assert logged[f"val/{name}"] == pytest.approx(value, rel=1e-6)
    assert ("val/hole_psnr" in logged) == isinstance(degradation, Mask)


def test_colours_are_measured_where_they_are_new() -> None:
    made = cast(Batch, {"target": torch.zeros(1, 3, 16, 16), "input": torch.zeros(1, 1, 16, 16)})
    assert [one.name for one in validation.metrics_for(made)] == ["psnr", "ssim", "colorfulness"]
    small = cast(Batch, {"target": torch.zeros(1, 1, 8, 8), "input": torch.zeros(1, 1, 8, 8)})
    assert [one.name for one in validation.metrics_for(small)] == ["psnr"]


def test_empty_holes_are_left_out_and_a_diverged_network_is_told() -> None:
    target = torch.zeros(3, 1, 8, 8)
    hole = torch.zeros(3, 1, 8, 8)
    hole[0, :, 0, 0] = hole[1, :, :2] = 1
    given = cast(Batch, {"target": target, "input": target, "hole": hole})
    mean, count = validation.measure(target + 0.2, given)["hole_psnr"]
    # both are 8-bit: 0.5 is 128 and 0.6 is 153 of 255
    assert count == 2 and mean.item() == pytest.approx(-20 * math.log10(25 / 255))
    found = validation.measure(torch.full_like(target, 1e9), given)["psnr"][0]
    assert found.item() == pytest.approx(-20 * math.log10(127 / 255))  # as white
    assert math.isnan(validation.measure(target * torch.nan, given)["psnr"][0])


def test_what_validation_will_log_is_known_before_the_first_update() -> None:
    task = Denoiser(RGB, Generator, {"pixels": Pixels()}, optimizer=SGD)
    names = logged_in_validation(task, data(Gaussian(sigma=25)).first("val"))
    assert {"val/loss", "val/psnr", "val/ssim"} <= {*names}
    assert task.training and not isinstance(vars(task).get("log"), nn.Module)
    assert "log" not in vars(task) and "weight" not in vars(task)


def test_the_best_of_a_metric_is_kept_by_its_own_direction() -> None:
    assert [best_is_high(f"val/{name}") for name in ("psnr", "ssim", "loss")] == [True, True, False]
    assert (
        Checkpoint("best", "val/psnr").mode == "max"
        and Checkpoint("best", "val/loss").mode == "min"
    )
    assert Checkpoint("best", "val/psnr", "max").mode == "max"
    with pytest.raises(InputError, match="keeps the worst val/psnr"):
        Checkpoint("best", "val/psnr", "min")
    assert Samples("val/psnr").monitor == "val/psnr"
