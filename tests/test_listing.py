"""`restore list`: what run folders say of themselves, without opening a checkpoint."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from entry import ROOT

from restore import listing
from restore.recovery import lock
from restore.released import folder, names, released
from restore.types import InputError

CONFIG = """
task: {_target_: restore.task.denoising.Denoiser}
data: {source: {_target_: restore.data.folder.Folder}}
callback: {best: {monitor: %s}}
max_updates: 40
"""
ROWS = "step,val/loss,val/psnr\n10,0.5,20\n20,0.25,25.5\n30,nan,24\n"
RECORD = {
    "training": {"updates": 40},
    "evaluation": [
        {"benchmark": "folder", "metrics": {"lpips": None, "psnr": 31.5, "ssim": 0.9}},
    ],
}


def begun(folder: Path, monitor: str = "val/loss", choices: str = "bsds") -> Path:
    """A run folder as a training leaves it that was cut off after update 30."""
    (folder / "checkpoints").mkdir(parents=True)
    lock.write_identity(folder, lock.new_id(), "denoise", [])
    (folder / "config.yaml").write_text(CONFIG % monitor)
    (folder / "metrics.csv").write_text(ROWS)
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  choices:\n    data: {choices}\n")
    return folder


def ended(folder: Path) -> Path:
    (folder / "result.json").write_text(json.dumps(RECORD))
    return folder


def test_a_run_that_was_cut_off(tmp_path: Path) -> None:
    row = listing.row(begun(tmp_path / "a"))
    assert (row.task, row.data, row.updates, row.of) == ("Denoiser", "bsds", 30, 40)
    assert (row.metric, row.value) == ("val/loss", 0.25)  # the best, and NaN is none
    assert row.state == listing.INTERRUPTED
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert row.size == sum(path.stat().st_size for path in files)


def test_a_run_that_has_saved_since_it_logged(tmp_path: Path) -> None:
    folder = begun(tmp_path / "a")
    for name in ("recovery-33.ckpt", "recovery-9.ckpt", "recovery-x.ckpt", "best.ckpt"):
        (folder / "checkpoints" / name).touch()
    assert listing.row(folder).updates == 33


def test_the_best_of_a_metric_is_its_highest(tmp_path: Path) -> None:
    assert listing.row(begun(tmp_path / "a", monitor="val/psnr")).value == 25.5


@pytest.mark.parametrize(("monitor", "best"), [("val/loss", 0.25), ("val/psnr", 25.5)])
def test_what_is_not_finite_is_never_the_best(tmp_path: Path, monitor: str, best: float) -> None:
    folder = begun(tmp_path / "a", monitor)
    head, *rest = ROWS.splitlines()
    (folder / "metrics.csv").write_text("\n".join([head, "1,nan,nan", "2,-inf,inf", *rest]))
    assert listing.row(folder).value == best


def test_the_oldest_comes_first_and_only_an_open_run_has_an_aim(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, year in (("b", 2021), ("a", 2023), ("c", 2022)):
        folder = begun(tmp_path / name)
        known = json.loads((folder / "run.json").read_text())
        said = {**known, "started": f"{year}-01-02T03:04:05+00:00"}
        (folder / "run.json").write_text(json.dumps(said))
    with (ended(tmp_path / "a") / "big").open("wb") as file:
        file.truncate(3 * 2**20)
    listing.show([tmp_path], as_json=False, state=None)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [Path(row[0]).name for row in rows] == ["b", "c", "a"]
    assert [row[3] for row in rows] == ["30/40", "30/40", "40"]
    assert rows[2][6:8] == ["3.0", "MiB"] and rows[2][8:10] == ["2023-01-02", "03:04"]


def test_a_run_that_has_its_record_and_is_still_at_work_is_running(tmp_path: Path) -> None:
    folder = ended(begun(tmp_path / "a"))
    lock.hold(folder)
    try:
        assert listing.row(folder).state == listing.RUNNING
    finally:
        lock.release()
    assert listing.row(folder).state == listing.FINISHED


def test_a_finished_run_and_one_that_goes_on_behind_its_record(tmp_path: Path) -> None:
    folder = ended(begun(tmp_path / "a"))
    row = listing.row(folder)
    assert (row.updates, row.metric, row.value, row.state) == (40, "folder/psnr", 31.5, "done")
    later = time.time() + 5  # a resumed run writes its config anew
    os.utime(folder / "config.yaml", (later, later))
    assert listing.row(folder).state == listing.INTERRUPTED


def test_a_living_run_is_told_from_a_killed_one(tmp_path: Path) -> None:
    folder = begun(tmp_path / "a")
    code = f"import sys, pathlib; sys.path.insert(0, {str(ROOT)!r})\n"
    code += "from restore.recovery import lock\n"
    code += f"lock.hold(pathlib.Path({str(folder)!r})); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline()
    assert listing.row(folder).state == listing.RUNNING
    assert f"process {holder.pid} on " in str(lock.holder(folder))
    with pytest.raises(InputError, match="is in use by"):
        lock.hold(folder)  # to look has taken nothing away
    holder.kill()
    holder.wait()
    assert listing.row(folder).state == listing.INTERRUPTED
    lock.hold(folder)  # and holds nothing
    assert str(os.getpid()) in str(lock.holder(folder))
    lock.holder(folder)
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode
    lock.release()
    assert lock.holder(folder) is None


def test_runs_are_found_at_any_depth_and_a_damaged_one_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    begun(Path("outputs/x/1"))
    begun(Path("outputs/x/1/checkpoints/inner"))
    ended(begun(Path("multirun/x/2/0")))
    damaged = begun(Path("outputs/y"))
    (damaged / "config.yaml").write_text("task: [")
    (begun(Path("outputs/z")) / "config.yaml").unlink()
    (begun(Path("outputs/emptied")) / "config.yaml").write_text("callback:\n")
    assert listing.show([], as_json=True, state=None) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    states = {line["name"]: line["state"] for line in lines if line["state"] != "released"}
    assert [line["name"] for line in lines if line["state"] == "released"] == names()
    assert states == {
        "outputs/x/1": "interrupted",
        "multirun/x/2/0": "done",
        "outputs/y": "damaged",
        "outputs/z": "damaged",
        "outputs/emptied": "damaged",
    }
    listing.show([], as_json=False, state=listing.INTERRUPTED)
    head, only = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["name", "task", "data", "updates"]
    assert only.split()[:4] == ["outputs/x/1", "Denoiser", "bsds", "30/40"]
    with pytest.raises(InputError, match="nowhere is no folder"):
        listing.show([Path("nowhere")], as_json=False, state=None)


def test_released_models_come_first_with_what_their_record_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listing.show([], as_json=True, state="released")
    rows = {one["name"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["ddpm_mnist_masked"]["data"] == "MNIST"  # a class, by its last name
    row = rows["inpaint_scenes_regression"]
    said = json.loads((folder() / "inpaint_scenes_regression" / "model.json").read_text())
    (measured,) = said["record"]["evaluation"]
    assert (row["task"], row["data"]) == ("InpaintingGAN", "scenes64")
    assert row["updates"] == said["progress"]["updates"] > 0
    assert row["metric"] == "scenes_masks/hole_psnr"
    assert row["value"] == measured["metrics"]["hole_psnr"]
    assert row["size"] > said["bytes"]
    # Its training measured nothing, and its export a sampler of one step, which is not its own.
    assert rows["ddpm_scenes"]["value"] is None


def test_a_released_model_that_no_training_measured_shows_what_its_export_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (model,) = (one for one in released() if one.name == "ddpm_scenes")
    with_settings = {"metric": "psnr", "value": 18.6, "with": ["sampler.num_steps=1"]}
    own = {"metric": "ssim", "value": 0.75}
    said = {**model.said, "check": {"scenes_sr4": with_settings, "unchanged": own}}
    monkeypatch.setattr(listing, "released", lambda: [replace(model, said=said)])
    listing.show([], as_json=True, state="released")
    row = json.loads(capsys.readouterr().out)
    assert (row["metric"], row["value"]) == ("unchanged/ssim", 0.75)
