"""The folder of the photos vanishes while a run trains: one line, and what was trained is kept."""

from pathlib import Path

import numpy as np
import pytest
from entry import Command
from PIL import Image
from stopping import SMALL, Here, there

from restore import checkpoint


def settings(photos: Path, run: Path) -> tuple[str, ...]:
    return (
        *("experiment=denoise_photos_regression", "data=folder", f"data.root={photos}", *SMALL),
        *("task.network.widths=[8,8]", "data.train_framing.size=16", "data.cache_gb=0"),
        *("~benchmark.photos_sigma25", "data.source.val_fraction=0.25", "max_updates=9"),
        *("trainer.val_check_interval=100", f"hydra.run.dir={run}"),
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(16):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def check(code: int, err: str, run: Path, photos: Path) -> None:
    assert code == 2, err
    said = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "Traceback" not in err, err
    assert said[0].startswith(f"error: {photos}/") and "there is no such file" in said[0]
    (kept,) = (run / "checkpoints").glob("recovery-*.ckpt")
    content = checkpoint.read(kept)
    assert content["progress"]["updates"] == int(kept.stem.partition("-")[2]) >= 3


@pytest.mark.parametrize("workers", [0, 1])
def test_the_photos_vanish(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: Path, workers: int
) -> None:
    run = tmp_path / "run"
    arguments = (*settings(photos, run), f"data.num_workers={workers}")
    stop = {"updates": 3, "take": str(photos)}
    ended = Here(command, monkeypatch)(*arguments, stop=stop)
    check(ended.code, ended.err, run, photos)
    assert ended.err.count("\n") == 1
    assert "kept: recovery-" in ended.out


@pytest.mark.slow
def test_the_photos_of_two_processes_vanish(
    tmp_path: Path, environment: dict[str, str], photos: Path
) -> None:
    run = tmp_path / "run"
    arguments = (*settings(photos, run), "data.num_workers=0", "trainer=ddp_cpu")
    stop = {"updates": 3, "take": str(photos)}
    code, said = there(tmp_path, environment, *arguments, stop=stop)
    check(code, said, run, photos)
