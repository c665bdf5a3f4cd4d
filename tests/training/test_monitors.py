"""What nothing logs is no monitor: found before the first update, by one validation sample."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchmetrics
from lightning.pytorch.callbacks import EarlyStopping
from line import Line

from restore.callback.samples import Samples
from restore.recovery.best import Checkpoint
from restore.task.dry import logged_in_training, logged_in_validation
from restore.training.monitors import check_callbacks
from restore.types import Batch, InputError

KNOWN = "val/loss, val/score, val/square"


@pytest.fixture
def sample() -> Batch:
    image = torch.zeros(1, 1, 2, 2)
    return {"target": image, "input": image, "index": torch.tensor([0]), "name": ["a"]}


@pytest.mark.parametrize(
    ("callback", "says"),
    [
        (EarlyStopping("val_loss"), f"callback.one.monitor=val_loss is not logged: .* {KNOWN}$"),
        (EarlyStopping("train/lss"), "choose from train/loss, train/square$"),
        (Checkpoint("best", "val/ssim"), KNOWN),
        (Samples("val/lose"), KNOWN),
        (Samples("train/loss"), KNOWN),
    ],
)
def test_a_monitor_that_nothing_logs_is_refused(callback: Any, says: str, sample: Batch) -> None:
    with pytest.raises(InputError, match=says):
        check_callbacks({"one": callback}, Line(), sample)


def test_what_is_logged_is_a_monitor(sample: Batch) -> None:
    callbacks = {
        "stops": EarlyStopping("val/score"),
        "follows": EarlyStopping("train/loss"),
        "best": Checkpoint("best", "val/score"),
        "last": Checkpoint("last"),
        "samples": Samples("val/square"),
        "indulgent": EarlyStopping("val_loss", strict=False),
        "other": SimpleNamespace(),
    }
    check_callbacks(callbacks, Line(), sample)


def test_more_of_a_metric_is_not_taken_for_worse(
    sample: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EarlyStopping follows its monitor downwards unless it is told: a PSNR that rises ends it."""
    monkeypatch.setattr("restore.training.monitors.logged_in_validation", lambda *_: ["val/psnr"])
    with pytest.raises(
        InputError, match=r"callback\.one\.mode=min .*: set \+callback.one.mode=max"
    ):
        check_callbacks({"one": EarlyStopping("val/psnr")}, Line(), sample)
    check_callbacks({"one": EarlyStopping("val/psnr", mode="max")}, Line(), sample)


class Measuring(Line):
    """Has a metric of its own, draws random numbers and asks its trainer, all in validation."""

    def __init__(self, asks: bool = False) -> None:
        super().__init__()
        self.mean = torchmetrics.MeanMetric()
        self.asks = asks

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.mean.update(torch.rand(1))
        self.log("val/mean", self.mean)
        if self.asks:
            assert self.trainer.world_size == 1


def test_the_task_and_the_random_numbers_are_as_before(sample: Batch) -> None:
    task = Measuring()
    before, attributes = torch.get_rng_state(), set(vars(task))
    assert logged_in_validation(task, sample) == ["val/mean"]
    assert logged_in_training(task, sample) == ["train/square", "train/loss"]
    assert torch.equal(torch.get_rng_state(), before)
    assert task.training and set(vars(task)) == attributes
    assert task.mean.update_count == 0


def test_what_a_network_measures_of_its_training_is_as_before(sample: Batch) -> None:
    """A batch norm would learn its means from a sample that no update has seen."""
    task = Line()
    norm = task.network.norm = torch.nn.BatchNorm2d(1)
    task.losses = lambda batch, epoch: {"one": norm(batch["target"] + 3).sum()}  # type: ignore
    assert logged_in_training(task, sample) == ["train/one", "train/loss"]
    assert norm.running_mean is not None and norm.running_mean.item() == 0 and norm.training


def test_a_step_that_asks_for_its_trainer_is_left_to_validation(sample: Batch) -> None:
    task = Measuring(asks=True)
    assert logged_in_validation(task, sample) is None
    check_callbacks({"stops": EarlyStopping("val/nothing")}, task, sample)
    assert task.training and task.mean.update_count == 0
