from pathlib import Path

import numpy as np
import pytest
import torch
from line import Line, fit
from PIL import Image

from restore.callback.progress import MaxUpdates
from restore.callback.samples import Samples, grid, panel
from restore.types import Batch, InputError


def test_grid_places_every_image() -> None:
    rows = torch.linspace(-1, 0.5, 2 * 3 * 2 * 2).view(2, 3, 1, 2, 2)
    picture = grid(rows, gap=2)
    assert picture.shape == (1, 2 + 2 * 4, 2 + 3 * 4)
    frame = torch.ones_like(picture, dtype=torch.bool)
    for r in range(2):
        for n in range(3):
            place = (0, slice(2 + 4 * r, 4 + 4 * r), slice(2 + 4 * n, 4 + 4 * n))
            assert torch.equal(picture[place], rows[r, n, 0])
            frame[place] = False
    assert (picture[frame] == 1).all()
    assert torch.equal(grid(rows, gap=2, scale=3)[:, ::3, ::3], picture)


def test_panel_is_input_results_target() -> None:
    target = torch.rand(2, 3, 4, 4)
    batch = Batch(target=target, input=-target[:, :1], index=torch.arange(2), name=["a", "b"])
    restored = torch.rand(2, 5, 3, 4, 4)
    rows = panel(batch, restored)
    assert rows.shape == (2, 7, 3, 4, 4)
    assert torch.equal(rows[:, 0], -target[:, :1].expand(-1, 3, -1, -1))
    assert torch.equal(rows[:, 1:6], restored) and torch.equal(rows[:, 6], target)


def test_first_last_and_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, level = Line(scores=(0.5, 0.2, 0.9)), iter((-1.0, 0.0, 1.0))

    def restore(batch: Batch, num_samples: int) -> torch.Tensor:
        return torch.full((1, num_samples, 1, 2, 2), next(level))

    monkeypatch.setattr(task, "restore", restore)
    fit(tmp_path, task, Samples("val/score", num_images=1), MaxUpdates(12))
    shown = {
        path.name: np.asarray(Image.open(path))[2, 6] for path in (tmp_path / "samples").iterdir()
    }
    assert shown == {"first.png": 0, "best.png": 128, "last.png": 255}


def test_unknown_monitor_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"callback.samples.monitor=val/nothing is not logged"):
        fit(tmp_path, Line(), Samples("val/nothing"), MaxUpdates(4))


def test_impossible_numbers() -> None:
    with pytest.raises(InputError, match="must be at least 1, got 0, 1, 1"):
        Samples(num_images=0)
