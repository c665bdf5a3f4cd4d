"""Every restoration experiment, shortened, must learn more than a trivial baseline knows."""

import csv
import json
from pathlib import Path

import pytest
from entry import Command

pytestmark = pytest.mark.slow
SHORT = (
    "data.num_workers=0",
    "task.optimizer.lr=1e-3",
    "trainer.val_check_interval=100",
    "trainer.limit_val_batches=2",
    "+trainer.enable_progress_bar=false",
    "~callback.progress",
)


def learned(command: Command, folder: Path, experiment: str, *settings: str) -> dict[str, float]:
    arguments = (f"experiment={experiment}", f"hydra.run.dir={folder}", *SHORT, *settings)
    ended = command(*arguments)
    assert ended.code == 0, ended.err
    (measured,) = json.loads((folder / "result.json").read_text())["evaluation"]
    metrics: dict[str, float] = measured["metrics"]
    return metrics


def known(
    command: Command, folder: Path, baseline: str, benchmark: str, *settings: str
) -> dict[str, str]:
    arguments = (f"baseline={baseline}", f"benchmark={benchmark}", *settings)
    ended = command(*arguments, f"hydra.run.dir={folder}", script="evaluate")
    assert ended.code == 0, ended.err
    with (folder / "results.csv").open() as file:
        (row,) = csv.DictReader(file)
    return row


@pytest.mark.parametrize("suffix", ["", "_regression"])
def test_inpainting_beats_a_mean_fill(command: Command, tmp_path: Path, suffix: str) -> None:
    """The published generator, from an empty hole: what starts from a fill has nothing to prove."""
    settings = ("max_updates=800", "network=inpainting", "task.network.width=8")
    ours = learned(command, tmp_path / "run", f"inpaint_photos{suffix}", *settings)
    beaten = known(command, tmp_path / "beaten", "mean_fill", "photos_masks")
    assert ours["hole_psnr"] > float(beaten["hole_psnr"])
    assert ours["known_error"] == 0


def test_correcting_a_fill_beats_it(command: Command, tmp_path: Path) -> None:
    settings = ("network=inpainting_unet", "loss=hole_l1", "task.network.widths=[24,32,48]")
    settings += ("max_updates=500", "optimizer=adamw", "scheduler=one_cycle")
    ours = learned(command, tmp_path / "run", "inpaint_photos_regression", *settings)
    beaten = known(command, tmp_path / "beaten", "push_pull", "photos_masks")
    assert ours["hole_l1"] < 0.98 * float(beaten["hole_l1"])  # what it minimises


@pytest.mark.parametrize("suffix", ["", "_regression"])
def test_denoising_beats_its_input_by_2_db(command: Command, tmp_path: Path, suffix: str) -> None:
    settings = ("max_updates=300", "task.network.widths=[16,32,64]")
    ours = learned(command, tmp_path / "run", f"denoise_photos{suffix}", *settings)
    beaten = known(command, tmp_path / "beaten", "identity", "photos_sigma25")
    assert ours["psnr"] > float(beaten["psnr"]) + 2


@pytest.mark.data
@pytest.mark.parametrize("suffix", ["", "_regression"])
def test_colorization_beats_grey(command: Command, tmp_path: Path, suffix: str) -> None:
    """On flowers: seven embedded photos do not tell the colours of an eighth."""
    settings = ("max_updates=300", "task.network.widths=[16,32,64,64]", "init.path=null")
    settings += ("benchmark.flowers_gray.data.limit=100",)
    ours = learned(command, tmp_path / "run", f"colorize_flowers{suffix}", *settings)
    arguments = ("grey", "flowers_gray", "benchmark.flowers_gray.data.limit=100")
    beaten = known(command, tmp_path / "beaten", *arguments)
    assert ours["psnr"] > float(beaten["psnr"])
