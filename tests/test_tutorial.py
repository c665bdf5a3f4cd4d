"""The page of pictures: its inputs are drawn, its commands restore, its pictures are there."""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from entry import ROOT
from PIL import Image
from predicting import runner

FOLDER = ROOT / "experiments" / "tutorial"
PAGE = (FOLDER / "README.md").read_text()


@pytest.fixture(scope="module")
def make() -> Any:
    spec = importlib.util.spec_from_file_location("tutorial", FOLDER / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_is_of_a_command(make: Any) -> None:
    shown = re.findall(r"!\[[^]]*\]\((\w+)\.png\)", PAGE)
    assert shown[0] == "toy" and {*shown} == {*make.SHEETS, *make.ENLARGED}
    assert len(make.commands()) == len(shown)
    made = {path.stem for path in FOLDER.glob("*.png")}
    assert made == {*shown}


def test_the_first_command_fills_the_toy(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make.write_inputs(tmp_path)
    run = runner(tmp_path, monkeypatch, capsys)
    assert run(*shlex.split(make.commands()[0])[2:]).code == 0
    filled, target, hole = (
        np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int)
        for name in ("filled/toy", "toy_target", "toy_mask")
    )
    known = hole == 0
    assert np.array_equal(filled[known], target[known])
    assert np.abs(filled - target)[~known].mean() < np.abs(target)[~known].mean()
    assert filled[..., 2].max() < 64  # neither square has any blue


def test_all_that_the_commands_read_can_be_drawn(make: Any, tmp_path: Path) -> None:
    make.main(["--inputs", str(tmp_path / "new")])
    for command in make.commands():
        read = re.search(r"predict \S+ (\S+) .*?(?:--mask (\S+))?$", command)
        assert read is not None
        assert all((tmp_path / "new" / name).exists() for name in read.groups() if name), command
    with pytest.raises(SystemExit, match=r"make\.py PRIOR"):
        make.main([])


def test_inputs_fit_their_masks(make: Any) -> None:
    found = dict(make.inputs())
    assert found["page"].shape == found["scratches"].shape
    pairs = ("rocket", "mast"), ("pasted", "seam"), ("page", "scratches"), ("craters", "gaps")
    for photo, mask in pairs:
        assert found[photo].shape[:2] == found[mask].shape[:2]
        assert {*np.unique(found[mask])} == {0, 255}
    changed = (found["pasted"] != found["rocket"]).any(axis=2)
    rows, columns = np.nonzero(changed)
    border = found["seam"][..., 0] > 0
    assert border[rows.min(), columns.min()] and border[rows.max(), columns.max()]


def test_what_is_missing_in_a_picture_of_16_bits_is_under_its_mask(make: Any) -> None:
    found = dict(make.inputs())
    gaps = found["gaps"][..., 0] > 0
    assert found["craters"].dtype == found["craters_whole"].dtype == np.uint16
    assert np.array_equal(found["craters"][~gaps], found["craters_whole"][~gaps])
    assert not found["craters"][gaps].any() and 0.2 < gaps.mean() < 0.3


def test_16_bits_are_shown_as_8(make: Any, tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(make.shown(tmp_path / "grey.png")[..., 1].ravel(), np.arange(256))


def test_the_hair_lies_still_on_frames_that_move(make: Any) -> None:
    found = dict(make.inputs())
    hair = found["hair"][..., 0] > 0
    first, second = found["frames/1"], found["frames/2"]
    assert not first[hair].any() and not second[hair].any()
    seen = ~hair[:, 6:] & ~hair[:, :-6]
    assert np.array_equal(first[:, 6:][seen], second[:, :-6][seen])
