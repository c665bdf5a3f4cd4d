"""Checkpoints with the names of before load, resume and give the numbers that they gave then."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import Command

from restore.build import restored
from restore.checkpoint import is_whole, read
from restore.content import MOVED, RENAMED

OLD = Path(__file__).parent / "old"
NAMES = ("ddpm", "denoise", "inpaint", "linear")
WITH_ID = ("inpaint", "linear")  # from when runs had one


def numbers(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((OLD / "numbers.json").read_text())[name]
    return found


def test_they_name_old_classes() -> None:
    """Else the tests below would prove nothing."""
    text = "".join((OLD / f"{name}.checkpoint").read_bytes().decode("latin1") for name in NAMES)
    names = {name for renamed in RENAMED.values() for name in renamed}
    assert all(old in text for old in {*MOVED, *names})


@pytest.mark.parametrize("name", NAMES)
def test_old_checkpoint_gives_the_same_numbers(name: str) -> None:
    path = OLD / f"{name}.checkpoint"
    assert is_whole(path) and path.stat().st_size < 150_000
    content, known = read(path), numbers(name)
    assert content["progress"]["updates"] == known["updates"]
    assert ("run" in content) == (name in WITH_ID)
    task = restored(content)
    ramp = torch.linspace(-1, 1, 128).view(2, 1, 8, 8)
    hole = torch.zeros_like(ramp)
    hole[..., 2:6, 3:] = 1
    given: dict[str, tuple[torch.Tensor, ...]] = {
        "ddpm": (ramp, torch.tensor([0.3, 0.8])),
        "linear": (ramp, torch.tensor([0.3, 0.8])),
        "denoise": (ramp,),
        "inpaint": (ramp * (1 - hole), hole),
    }
    with torch.no_grad():
        stages = task.network(*given[name])
        output = (stages[-1] if name == "inpaint" else stages).double().flatten()[::9]
        # Sums of float32 depend on the number of threads in their last bits.
        close = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(output, torch.tensor(known["output"]).double(), **close)
        if "restored" in known:
            seen = {"input": given[name][0], "index": torch.arange(2)}
            made = task.restore(seen if name == "denoise" else {**seen, "hole": hole}, 1)
            wanted = torch.tensor(known["restored"]).double()
            torch.testing.assert_close(made.double().flatten()[::9], wanted, **close)


@pytest.mark.parametrize(
    "name",
    [pytest.param("ddpm", marks=[pytest.mark.slow, pytest.mark.ci]), "denoise", "inpaint"],
)
def test_old_run_goes_on(
    command: Command, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder, updates = tmp_path / "run", numbers(name)["updates"] + 2
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(OLD / f"{name}.checkpoint", folder / "checkpoints" / "last.ckpt")
    ended = command(f"resume.path={folder}", f"max_updates={updates}")
    assert ended.code == 0, ended.err
    result = json.loads((folder / "result.json").read_text())
    assert result["training"]["updates"] == updates
    assert (result["id"] is None) == (name not in WITH_ID)
    content = read(folder / "checkpoints" / "last.ckpt")
    assert content["format"] == 2 and content["progress"]["updates"] == updates
    today = repr(content["config"])
    assert not [old for old in MOVED if f"{old}'" in today]
    assert "'prediction'" not in today
