"""Methods of others on whole benchmarks: the numbers of the same methods by name and on paper."""

import csv
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import ROOT, Command
from torch.nn import functional as F

import restore
from restore.evaluation import assignment
from restore.network.ffdnet import FFDNet

FFDNET = Path(os.environ.get("RESTORE_WEIGHTS") or ".") / "ffdnet_color.pth"


def telea_script() -> str:
    """The program of README.md that fills a task."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(import sys\n.*?)```", readme, re.S)
    return str(lines)


def fill(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fill.py", str(folder)])
    exec(compile(telea_script(), "fill.py", "exec"), {})


def rows_by_method(path: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(path.read_text().splitlines()):
        found.setdefault(row.pop("method"), []).append(row)
    return found


def measured(command: Command, folder: Path, benchmark: str, *overrides: str) -> int:
    """Compares files with the baseline of that name; the number of images."""
    given = (f"benchmark={benchmark}", f"outputs={folder}", "baseline=telea", *overrides)
    ended = command(*given, f"hydra.run.dir={folder}/run", script="evaluate")
    assert ended.code == 0, ended.err
    rows = rows_by_method(folder / "run" / "per_image.csv")
    assert rows["telea"] == rows[folder.name]
    ours, theirs = csv.DictReader((folder / "run" / "results.csv").read_text().splitlines())
    others = {"method", "kind", "checkpoint", "seconds_per_image", "cost_size", "peak_memory_mib"}
    assert {key for key in ours if ours[key] != theirs[key]} <= others
    return len(rows["telea"])


def test_the_script_of_the_page_on_two_photos(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = "benchmark.photos_masks.data={limit:2,repeat:1}"
    assignment.write("photos_masks", tmp_path / "files", [small])
    fill(tmp_path / "files", monkeypatch)
    assert measured(command, tmp_path / "files", "photos_masks", small) == 2


@pytest.mark.slow
@pytest.mark.data
def test_files_of_opencv_are_the_baseline_on_all_flowers(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assignment.write("flowers_masks", tmp_path / "files")
    fill(tmp_path / "files", monkeypatch)
    assert measured(command, tmp_path / "files", "flowers_masks") == 368


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not FFDNET.is_file(), reason="RESTORE_WEIGHTS has no ffdnet_color.pth")
def test_ffdnet_as_a_function_has_the_psnr_of_its_paper(tmp_path: Path) -> None:
    network = FFDNet(3, width=96, depth=12)
    network.load_state_dict(torch.load(FFDNET, weights_only=True))

    def ffdnet(observation: Any) -> Any:
        noisy, sigma = (observation["input"] + 1) / 2, observation["sigma"] / 2
        height, width = noisy.shape[-2:]
        padded = F.pad(noisy, (0, width % 2, 0, height % 2), mode="replicate")
        return (network(padded, sigma)[..., :height, :width] * 2 - 1).clamp(-1, 1)

    found = restore.benchmark(ffdnet, "cbsd68_sigma25", module=network, folder=tmp_path / "run")
    assert len(found.rows) == 68
    assert found.summary["psnr"] == pytest.approx(31.21, abs=0.01)  # Zhang et al. 2018, table IV
    assert f"{found.summary['psnr']:.4f}" == "31.2198"  # published=ffdnet_color, to the last digit
