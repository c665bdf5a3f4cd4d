import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from line import Line, fit
from PIL import Image

from restore.callback.progress import MaxUpdates
from restore.callback.samples import Samples, _validated
from restore.picture import SMALL, Spread, grid, panel, titles
from restore.types import Batch, InputError


def test_grid_places_every_image() -> None:
    rows = torch.linspace(-1, 0.5, 2 * 3 * 2 * 2).view(2, 3, 1, 2, 2)
    picture = grid(rows)
    assert picture.shape == (1, 2 + 2 * 4, 2 + 3 * 4)
    frame = torch.ones_like(picture, dtype=torch.bool)
    for r in range(2):
        for n in range(3):
            place = (0, slice(2 + 4 * r, 4 + 4 * r), slice(2 + 4 * n, 4 + 4 * n))
            assert torch.equal(picture[place], rows[r, n, 0])
            frame[place] = False
    assert (picture[frame] == 1).all()


def test_panel_is_input_results_target() -> None:
    target = torch.rand(2, 3, 4, 4)
    batch = Batch(target=target, input=-target[:, :1], index=torch.arange(2), name=["a", "b"])
    restored = torch.rand(2, 5, 3, 4, 4)
    rows = panel(batch, restored)
    assert rows.shape == (2, 7, 3, 4, 4)
    assert torch.equal(rows[:, 0], -target[:, :1].expand(-1, 3, -1, -1))
    assert torch.equal(rows[:, 1:6], restored) and torch.equal(rows[:, 6], target)
    assert titles(batch, 1) == ["input", "restored", "target"]


def test_a_hole_has_a_column_of_its_own() -> None:
    target, hole = torch.rand(2, 3, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    given = {"target": target, "input": target * (1 - hole), "hole": hole}
    batch = cast(Batch, given | {"index": torch.arange(2), "name": ["a", "b"]})
    rows = panel(batch, target[:, None])
    assert rows.shape == (2, 4, 3, 4, 4)
    assert torch.equal(rows[:, 0] == 1, hole.expand_as(target) == 1)  # white is to be filled
    assert torch.equal(rows[:, 0] == -1, hole.expand_as(target) == 0)
    assert torch.equal(rows[:, 1], batch["input"])
    assert titles(batch, 1) == ["mask", "incomplete", "filled", "target"]
    assert titles(batch, 2)[2:4] == ["filled 1", "filled 2"]


def test_samples_are_spread_over_all() -> None:
    spread, found = Spread(total=20, count=4), []
    for start in range(0, 20, 3):
        index = torch.arange(start, min(start + 3, 20))
        found += [int(index[place]) for place in spread.take(index)]
    assert found == [0, 5, 10, 15]
    odd = torch.arange(1, 20, 2)  # the share of one of two processes
    assert odd[Spread(total=20, count=4).take(odd)].tolist() == [1, 5, 11, 15]
    assert Spread(total=2, count=8).take(torch.arange(2)) == [0, 1]


def test_pictures_are_spread_over_what_all_processes_validate() -> None:
    """Three batches of 4 on each of 2 processes, unless there are fewer images."""
    for images, seen in ((100, 24), (20, 20)):
        loader = SimpleNamespace(batch_size=4, dataset=range(images))
        told = {"val_dataloaders": loader, "num_val_batches": [3], "world_size": 2}
        assert _validated(SimpleNamespace(**told)) == seen


def middle(path: Path) -> int:
    """A pixel of the second of three columns, near the bottom."""
    pixels = np.asarray(Image.open(path))
    assert pixels.shape[1] >= 3 * SMALL
    return int(pixels[-SMALL // 2, pixels.shape[1] // 2, 0])


@pytest.mark.parametrize("first", [0.5, math.nan])
def test_first_last_and_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: float) -> None:
    task, level = Line(scores=(first, 0.2, 0.9)), iter((-1.0, 0.0, 1.0))

    def restore(batch: Batch, num_samples: int) -> torch.Tensor:
        return torch.full((1, num_samples, 1, 2, 2), next(level))

    monkeypatch.setattr(task, "restore", restore)
    fit(tmp_path, task, Samples("val/score", num_images=1), MaxUpdates(12))
    shown = {path.name: middle(path) for path in (tmp_path / "samples").iterdir()}
    del shown["progress.png"]
    assert shown == {"first.png": 0, "best.png": 128, "last.png": 255}
    pixels = np.asarray(Image.open(tmp_path / "samples" / "progress.png"))
    columns = [pixels[-SMALL // 2, place * pixels.shape[1] // 8, 0] for place in (1, 3, 5, 7)]
    assert columns[1:3] == [0, 255]  # input | first | last | target
    given, target = pixels[-SMALL - 2 : -2, 2 : 2 + SMALL], pixels[-SMALL - 2 : -2, -SMALL - 2 : -2]
    assert np.array_equal(given, 255 - target)


def test_the_best_of_a_psnr_is_the_highest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, level = Line(scores=(20.0, 30.0, 25.0)), iter((-1.0, 0.0, 1.0))
    log = task.log
    monkeypatch.setattr(task, "log", lambda name, value, **said: log("val/psnr", value, **said))
    restored = lambda batch, count: torch.full((1, count, 1, 2, 2), next(level))  # noqa: E731
    monkeypatch.setattr(task, "restore", restored)
    fit(tmp_path, task, Samples("val/psnr", num_images=1), MaxUpdates(12))
    assert middle(tmp_path / "samples" / "best.png") == 128


@pytest.mark.parametrize("older", [False, True])
def test_a_resumed_run_remembers_its_first_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    """A checkpoint of an older restore says nothing of it: then there is no picture to trust."""
    level = iter((-1.0, 1.0))

    def restore(batch: Batch, num_samples: int) -> torch.Tensor:
        return torch.full((1, num_samples, 1, 2, 2), next(level))

    samples = Samples("val/score", num_images=1)
    for number in range(2):
        task = Line(scores=(0.5,))
        monkeypatch.setattr(task, "restore", restore)
        if number:
            state = samples.state_dict()
            samples = Samples("val/score", num_images=1)
            samples.load_state_dict({"best": 0.5} if older else state)
            (tmp_path / "samples" / "progress.png").unlink()
        fit(tmp_path, task, samples, MaxUpdates(4))
    path = tmp_path / "samples" / "progress.png"
    assert path.exists() != older
    if not older:
        pixels = np.asarray(Image.open(path))[-SMALL // 2, :, 0]
        width = len(pixels)
        assert (pixels[3 * width // 8], pixels[5 * width // 8]) == (0, 255)


def test_samples_are_drawn_in_the_precision_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = list[bool]()

    def restore(batch: Batch, num_samples: int) -> torch.Tensor:
        low.append(torch.is_autocast_enabled("cpu"))
        return torch.zeros(1, num_samples, 1, 2, 2)

    for precision in ("32-true", "bf16-mixed"):
        task = Line()
        monkeypatch.setattr(task, "restore", restore)
        samples = Samples("val/score", num_images=1)
        fit(tmp_path, task, samples, MaxUpdates(4), precision=precision)
    assert low == [False, True]


def test_of_equal_validations_the_first_is_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, level = Line(scores=(0.5, 0.5, 0.9)), iter((-1.0, 0.0, 1.0))
    restored = lambda batch, count: torch.full((1, count, 1, 2, 2), next(level))  # noqa: E731
    monkeypatch.setattr(task, "restore", restored)
    fit(tmp_path, task, Samples("val/score", num_images=1), MaxUpdates(12))
    assert middle(tmp_path / "samples" / "best.png") == 0


def test_eight_images_of_one_result_are_kept_unless_others_are_asked_for() -> None:
    target = torch.zeros(20, 1, 2, 2)
    batch = Batch(target=target, input=target, index=torch.arange(20), name=[""] * 20)
    loader = SimpleNamespace(batch_size=20, dataset=range(20))
    told: dict[str, Any] = {"val_dataloaders": loader, "num_val_batches": [1], "world_size": 1}
    samples, trainer = Samples(), SimpleNamespace(is_global_zero=True, **told)
    samples.on_validation_batch_end(cast(Any, trainer), None, None, batch, 0)
    assert sum(len(one["index"]) for one in samples._kept) == 8
    assert (samples.num_samples, samples.scale) == (1, 1)


def test_unknown_monitor_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"callback.samples.monitor=val/nothing is not logged"):
        fit(tmp_path, Line(), Samples("val/nothing"), MaxUpdates(4))


def test_impossible_numbers() -> None:
    with pytest.raises(InputError, match="must be at least 1, got 0, 1, 1"):
        Samples(num_images=0)


def test_another_number_of_images_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Samples("val/score", num_images=2)
    before.load_state_dict({"best": 0.1, "first": (3, torch.zeros(2, 1, 2, 2)), "monitor": "val/a"})
    assert before.best is None  # of another metric
    task, samples = Line(scores=(0.5,)), Samples("val/score", num_images=1)
    monkeypatch.setattr(task, "restore", lambda batch, number: batch["target"][:, None])
    samples.load_state_dict(before.state_dict())
    fit(tmp_path, task, samples, MaxUpdates(4))
    assert samples.first is not None
    assert samples.first[0] == 4 and samples.first[1].shape == (1, 1, 2, 2)
