"""What validation measures is what evaluate.py measures on the same images."""

import functools
import math
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from players import Generator
from test_diffusion_task import DDIM
from test_diffusion_task import build as diffusion
from torch import nn
from torch.utils.data import DataLoader

from restore.callback.monitor import best_is_high
from restore.callback.samples import Samples
from restore.data.framing import CenterSquare
from restore.data.module import DataModule
from restore.data.order import EvalOrder
from restore.data.photos import Photos
from restore.data.split import collate
from restore.degradation.mask import Box, Mask
from restore.degradation.noise import Gaussian
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.method import NO_SAMPLING, from_task
from restore.evaluation.runner import evaluate
from restore.image import to_unit
from restore.loss.content import NegativePSNR, Pixels
from restore.metric.base import measure_all
from restore.metric.psnr import PSNR, HolePSNR
from restore.metric.ssim import SSIM
from restore.recovery.best import Checkpoint
from restore.task import validation
from restore.task.denoising import Denoiser
from restore.task.diffusion import Diffusion
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
    mean, count = validation.compare(target + 0.2, given)["hole_psnr"]
    # both are 8-bit: 0.5 is 128 and 0.6 is 153 of 255
    assert count == 2 and mean.item() == pytest.approx(-20 * math.log10(25 / 255))
    found = validation.compare(torch.full_like(target, 1e9), given)["psnr"][0]
    assert found.item() == pytest.approx(-20 * math.log10(127 / 255))  # as white
    assert math.isnan(validation.compare(target * torch.nan, given)["psnr"][0])


def test_ssim_is_measured_from_its_window_on() -> None:
    for side, measured in ((10, False), (11, True)):
        made = Batch(target=torch.zeros(1, 3, side, 40), input=torch.zeros(1, 3, side, 40),
                     index=torch.arange(1), name=[""])  # fmt: skip
        assert ("ssim" in {metric.name for metric in validation.metrics_for(made)}) == measured


def test_a_diverged_batch_counts_with_all_of_its_images() -> None:
    """Else the mean over the validation would be that of the others, as if nothing had happened."""
    target = torch.zeros(3, 3, 16, 16)
    made = Batch(target=target, input=target, index=torch.arange(3), name=[""] * 3)
    said = validation.compare(torch.full_like(target, torch.nan), made)
    assert {*said} == {"psnr", "ssim"}
    for mean, count in said.values():
        assert math.isnan(mean) and count == 3


def test_what_validation_will_log_is_known_before_the_first_update() -> None:
    task = Denoiser(RGB, Generator, {"pixels": Pixels()}, optimizer=SGD)
    names = logged_in_validation(task, data(Gaussian(sigma=25)).first("val"))
    assert {"val/loss", "val/psnr", "val/ssim"} <= {*names}
    assert task.training and not isinstance(vars(task).get("log"), nn.Module)
    assert "log" not in vars(task) and "weight" not in vars(task)


class CalledAsAMetric:
    """The PSNR loss of somebody who named it after the metric."""

    def __call__(self, stages: Any, target: Any, hole: Any) -> dict[str, Any]:
        return {"psnr": (stages[-1] - target).square().flatten(1).mean(1)}


def test_a_term_of_the_loss_is_not_called_as_a_metric() -> None:
    """Both would be logged as val/psnr, which would be the mean of the two."""
    sample = data(Gaussian(sigma=25)).first("val")
    named = Denoiser(RGB, Generator, {"x": CalledAsAMetric()}, optimizer=SGD)
    with pytest.raises(InputError, match="a term called psnr, as a metric of the validation is"):
        logged_in_validation(named, sample)
    own = Denoiser(RGB, Generator, {"x": NegativePSNR()}, optimizer=SGD)
    names = logged_in_validation(own, sample)
    assert names is not None and len({*names}) == len(names)
    full = {"target": torch.zeros(1, 3, 16, 16), "input": torch.zeros(1, 1, 16, 16)}
    full["hole"] = torch.zeros(1, 1, 16, 16)
    assert {one.name for one in validation.metrics_for(cast(Batch, full))} == validation.NAMES


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


PRIOR = Facts(image_channels=3, input_channels=3, image_size=32, num_classes=None, has_hole=True)


def prior(**settings: Any) -> Diffusion:
    return diffusion(facts=PRIOR, **settings)


def test_a_sampler_restores_the_first_images_of_validation() -> None:
    """As by hand: alone, in another batch, by sampler and weights of the task."""
    task, given = prior(val_images=2), data(Mask(Box(size=9)))
    (logged,) = quiet().validate(task, datamodule=given, verbose=False)
    given.setup("test")
    samples = given.samples("test")
    first = given.to_batch(collate([samples[(k, k)] for k in (1, 0)]))
    with torch.no_grad():
        restored = to_unit(task.eval().restore(first)).clamp(0, 1)
    target = to_unit(first["target"])
    for metric in (PSNR(), SSIM(), HolePSNR()):
        values = measure_all([metric], restored, target, first)[metric.name]
        assert logged[f"val/{metric.name}"] == pytest.approx(values.mean().item(), rel=1e-6)
    assert "val/denoising" in logged
    (logged,) = quiet().validate(prior(val_images=0), datamodule=given, verbose=False)
    assert "val/denoising" in logged and "val/psnr" not in logged


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_chosen_image_is_counted_once(world: int) -> None:
    chosen = []
    for rank in range(world):
        order = [index for index, _ in EvalOrder(20, 0, rank=rank, world=world)]
        for start in range(0, len(order), 4):
            index = torch.tensor(order[start : start + 4])
            places = validation.places(index, num_calls=210, images=8)
            assert places is not None  # every batch logs, of no image too
            chosen += index[places].tolist()
    assert sorted(chosen) == [*range(8)]


def test_a_validation_makes_a_bounded_number_of_calls() -> None:
    index = torch.arange(16)
    for num_calls in (2, 20, 250, 251, 910, 2000):
        places = validation.places(index, num_calls, images=8)
        assert places is not None and 1 <= len(places) <= 8
        assert len(places) * num_calls <= validation.CALLS
        assert len(places) == 8 or (len(places) + 1) * num_calls > validation.CALLS
    assert validation.places(index, 2410, images=8) is None
    assert validation.places(index, 20, images=0) is None
    assert validation.places(index, 1, images=0) == [*range(16)]


def test_what_a_sampler_restores_moves_no_weight() -> None:
    """The same bits after training, with validations of 8 images or of none."""
    weights = []
    for val_images in (0, 8):
        task, degradation = prior(val_images=val_images), Mask(Box(size=9))
        torch.manual_seed(1)
        trainer = quiet(max_epochs=2, num_sanity_val_steps=0)
        trainer.fit(task, datamodule=data(degradation))
        assert ("val/psnr" in trainer.callback_metrics) == bool(val_images)
        weights.append([one.detach().clone() for one in task.parameters()])
        weights[-1].append(torch.rand(1))  # the global generator stands where it stood
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_no_sample_is_drawn_to_know_what_will_be_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    task, sample = prior(), data(Mask(Box(size=9))).first("val")

    def drawn(*given: Any, **settings: Any) -> Any:
        raise AssertionError("a sample was drawn")

    monkeypatch.setattr(type(task.sampler), "__call__", drawn)
    names = logged_in_validation(task, sample)
    assert names is not None and {"val/denoising", "val/psnr", "val/hole_psnr"} <= {*names}
    assert "restore" not in vars(task)


def test_a_prior_that_nothing_leads_has_nothing_to_restore() -> None:
    task, given = prior(sampler=DDIM), data(Mask(Box(size=9)))
    assert logged_in_validation(task, given.first("val")) == ["val/denoising", "val/loss"]
    (logged,) = quiet().validate(task, datamodule=given, verbose=False)
    assert "val/psnr" not in logged
