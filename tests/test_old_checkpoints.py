"""Checkpoints of before the classes moved load, resume and give the numbers that they gave then."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import Command

from restore.build import restored
from restore.checkpoint import is_whole, read
from restore.content import MOVED

OLD = Path(__file__).parent / "old"
NAMES = ("ddpm", "denoise")


def numbers(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((OLD / "numbers.json").read_text())[name]
    return found


def test_they_name_old_classes() -> None:
    """Else the tests below would prove nothing."""
    text = "".join((OLD / f"{name}.checkpoint").read_bytes().decode("latin1") for name in NAMES)
    assert all(old in text for old in MOVED)


@pytest.mark.parametrize("name", NAMES)
def test_old_checkpoint_gives_the_same_numbers(name: str) -> None:
    path = OLD / f"{name}.checkpoint"
    assert is_whole(path) and path.stat().st_size < 150_000
    content, known = read(path), numbers(name)
    assert content["progress"]["updates"] == known["updates"] and "run" not in content
    task = restored(content)
    ramp = torch.linspace(-1, 1, 128).view(2, 1, 8, 8)
    with torch.no_grad():
        given = (ramp, torch.tensor([0.3, 0.8])) if name == "ddpm" else (ramp,)
        output = task.network(*given).double().flatten()[::9]
        # Sums of float32 depend on the number of threads in their last bits.
        close = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(output, torch.tensor(known["output"]).double(), **close)
        if "restored" in known:
            made = task.restore({"input": ramp, "index": torch.arange(2)}, 1)
            wanted = torch.tensor(known["restored"]).double()
            torch.testing.assert_close(made.double().flatten()[::9], wanted, **close)


@pytest.mark.parametrize(
    "name", [pytest.param("ddpm", marks=[pytest.mark.slow, pytest.mark.ci]), "denoise"]
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
    assert result["training"]["updates"] == updates and result["id"] is None
    content = read(folder / "checkpoints" / "last.ckpt")
    assert content["format"] == 2 and content["progress"]["updates"] == updates
    assert not [old for old in MOVED if old in repr(content["config"])]
