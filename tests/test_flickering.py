"""Flicker by hand, and of frames on a disk."""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from entry import ROOT
from PIL import Image
from predicting import runner
from small_models import write_model

from restore import cli
from restore.flickering import measure, show
from restore.metric.flicker import flicker
from restore.types import InputError

README = (ROOT / "README.md").read_text()
HOLE = (slice(2, 5), slice(3, 6))


def test_flicker_by_hand() -> None:
    """Three frames of two pixels: the first is known throughout, the second is not in the last."""
    reference = torch.tensor([[10.0, 0.0], [12.0, 5.0], [15.0, 5.0]]).view(3, 1, 1, 2)
    restored = torch.tensor([[20.0, 0.0], [26.0, 1.0], [26.0, 9.0]]).view(3, 1, 1, 2)
    known = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]).view(3, 1, 1, 2)
    # |6 - 2| and |1 - 5|; then |0 - 3| alone
    assert flicker(restored, reference, known).tolist() == [4.0, 3.0]
    backwards = flicker(restored.flip(0), reference.flip(0), known.flip(0))
    assert backwards.tolist() == [3.0, 4.0]  # a pixel that becomes known does not count, either
    assert math.isnan(flicker(restored, reference, 0 * known)[0])
    steady = reference + torch.tensor([7.0, -3.0]).view(1, 1, 1, 2)  # wrong, and equally so
    assert flicker(steady, reference, known).tolist() == [0.0, 0.0]


def write(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:05}.png")
    return folder


@pytest.fixture
def video(tmp_path: Path) -> dict[str, Any]:
    """A square that moves over a gradient, 4 frames; a hole; and two ways to fill it."""
    frames = np.tile(np.arange(0, 160, 10, dtype=np.uint8)[None, :, None], (4, 16, 1, 3))
    for number in range(4):
        frames[number, 8:12, 2 * number : 2 * number + 4] = 255
    filled = frames.copy()
    for number in range(4):
        filled[(number, *HOLE)] = 30 * (number % 2)
    hole = np.zeros((16, 16), dtype=np.uint8)
    hole[HOLE] = 255
    Image.fromarray(hole).save(tmp_path / "mask.png")
    return {
        "frames": write(tmp_path / "frames", frames),
        "filled": write(tmp_path / "filled", filled),
        "mask": tmp_path / "mask.png",
    }


def test_frames_of_folders(video: dict[str, Any], monkeypatch: Any, capsys: Any) -> None:
    given = [str(video["filled"]), str(video["frames"]), "--mask", str(video["mask"])]
    monkeypatch.setattr(sys, "argv", ["restore", "flicker", *given])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    # nothing moves in the hole of the reference; 0, 30, 0, 30 does
    assert json.loads(capsys.readouterr().out) == {"pairs": 3, "known": 0.0, "filled": 30.0}
    assert measure(video["frames"], video["frames"], None, False) == {"pairs": 3, "known": 0.0}
    whole = measure(video["filled"], video["frames"], None, False)
    assert whole["known"] == pytest.approx(30 * 9 / 256)


def test_frames_come_in_the_order_of_their_numbers(video: dict[str, Any]) -> None:
    """As 1, 10, 2, 20 the frames would jump, and the hole blink once and not three times."""
    for folder in (video["filled"], video["frames"]):
        for number, name in enumerate((1, 2, 10, 20)):
            (folder / f"{number:05}.png").rename(folder / f"{name}.png")
    found = measure(video["filled"], video["frames"], video["mask"], False)
    assert found == {"pairs": 3, "known": 0.0, "filled": 30.0}


def test_the_documented_commands_fill_a_video(
    video: dict[str, Any], tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """README's lines, with frames that are made here and the released model."""
    run = runner(tmp_path, monkeypatch, capsys)
    documented = "restore predict inpaint frames -o filled --mask scratch.png"
    assert documented in " ".join(README.split())
    (tmp_path / "mask.png").rename(tmp_path / "scratch.png")
    shutil.rmtree(video["filled"])
    assert run(*documented.split()[2:]).code == 0
    assert "restore flicker filled frames --mask scratch.png" in README
    found = measure(Path("filled"), Path("frames"), Path("scratch.png"), False)
    assert found["known"] == 0.0 and found["filled"] < 30.0  # steadier than a fill that blinks


def test_a_sampler_draws_equal_noise_in_every_frame(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """Where nothing moves, what is drawn does not move either."""
    run, prior = runner(tmp_path, monkeypatch, capsys), str(write_model("prior", tmp_path))
    still = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    write(tmp_path / "frames", np.repeat(still, 3, axis=0))
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[HOLE] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for seed in ("1", "2"):
        assert run(prior, "frames", "-o", seed, "--mask", "mask.png", "--seed", seed).code == 0
        found = measure(Path(seed), Path("frames"), Path("mask.png"), False)
        assert found == {"pairs": 2, "known": 0.0, "filled": 0.0}
    drawn = [(tmp_path / seed / "00000.png").read_bytes() for seed in ("1", "2")]
    assert drawn[0] != drawn[1]


def test_other_videos_are_refused(video: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--invert-mask is of a mask: give --mask"):
        show(video["filled"], video["frames"], None, invert=True)
    shutil.copy(video["filled"] / "00002.png", video["filled"] / "extra.png")
    with pytest.raises(InputError, match=r"has no frame for .*extra.png: give the same names"):
        measure(video["filled"], video["frames"], None, False)
    (video["filled"] / "extra.png").unlink()
    (video["filled"] / "00002.png").unlink()
    with pytest.raises(InputError, match=r"has no frame for .*00002.png: give two folders"):
        measure(video["filled"], video["frames"], None, False)
    small = write(tmp_path / "small", np.zeros((4, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="differ in size"):
        measure(small, video["frames"], None, False)
    shutil.copy(small / "00003.png", video["frames"] / "00003.png")
    with pytest.raises(InputError, match="images of several sizes: give the frames of one video"):
        measure(video["frames"], video["frames"], None, False)
    one = write(tmp_path / "one", np.zeros((1, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="has 1 frame"):
        measure(one, one, None, False)
