"""Runs that are stopped and go on, in this process and in new ones, and how to compare them."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import ROOT, Command
from interrupted import instrument

# Of every experiment: nothing but the training, on few and small batches.
SMALL = (
    "~callback.progress",
    "+trainer.enable_progress_bar=false",
    "trainer.val_check_interval=3",
    "trainer.log_every_n_steps=2",
    "++trainer.limit_val_batches=3",
    "++data.limit=12",
    "data.batch_size=4",
)
DIGITS = (
    "task.network.width=4",
    "task.network.attention=[]",
    "sampler.num_steps=4",
    "sampler.jump_length=2",
    "sampler.jump_count=1",
    "++callback.samples.num_images=2",
    "~benchmark.digits_half",
)
EXPERIMENTS: dict[str, tuple[str, ...]] = {
    "ddpm_digits": (*DIGITS, "task.network.dropout=0.1"),
    "inpaint_photos": ("task.network.width=4", "~benchmark.photos_masks"),
    "colorize_photos": ("task.network.widths=[8,8,8]", "~benchmark.photos_gray"),
    "denoise_photos": ("task.network.widths=[8,8,8]", "~benchmark.photos_sigma25"),
}
WITHIN, BORDER = "+trainer.limit_train_batches=5", "+trainer.limit_train_batches=3"


def everything(folder: Path) -> dict[str, Any]:
    """What two equal runs have in common."""
    found: dict[str, Any] = {}
    for name in ("best", "last"):
        content = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "ema", "progress"):
            found[f"{name}.{key}"] = content[key]
        found[f"{name}.random"] = content["position"]["random"]
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file)]
    found["metrics"] = [
        {key: value for key, value in row.items() if key != "images_per_second"} for row in rows
    ]
    result = json.loads((folder / "result.json").read_text())
    found["validation"], found["images"] = result["validation"], result["training"]["images"]
    return found


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    if isinstance(a, torch.Tensor):
        return [] if torch.equal(a, b) else [path]
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        return [one for key in a for one in differences(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{path}: {len(a)} and {len(b)} entries"]
        return [
            one
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for one in differences(x, y, f"{path}.{i}")
        ]
    return [] if a == b else [f"{path}: {a} and {b}"]


def started(
    folder: Path, environment: dict[str, str], *arguments: str, **settings: Any
) -> subprocess.Popen[str]:
    """`train.py ARGUMENTS` in a session of its own, with $STOP, $SEEN and $HIT."""
    named = {name.upper(): value for name, value in settings.items()}
    given = {k: v if isinstance(v, str | Path) else json.dumps(v) for k, v in named.items()}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "interrupted.py"), *arguments],
        cwd=folder,
        env={**environment, **{name: str(value) for name, value in given.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def strays(session: int, seconds: float = 5) -> list[str]:
    """Command lines of what still runs in a session, when it had time to go."""
    end = time.time() + seconds
    while (found := running(session)) and time.time() < end:
        time.sleep(0.05)
    return found


def running(session: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, own = (path / "stat").read_text().rpartition(") ")[2].split()[:4]
            if int(own) == session and state != "Z":
                found.append((path / "cmdline").read_text().replace("\0", " "))
    return found


def there(
    folder: Path, environment: dict[str, str], *arguments: str, **settings: Any
) -> tuple[int, str]:
    """Runs train.py in a new process: exit code and what it wrote."""
    process = started(folder, environment, *arguments, **settings)
    try:
        out, err = process.communicate(timeout=300)
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    ended = time.time()
    assert strays(process.pid) == []
    if "hit" in settings and process.returncode == 143:
        # Schedulers kill 30 s after their signal at the earliest.
        assert ended - settings["hit"].stat().st_mtime < 30
    return process.returncode, out + err


class Here:
    """Runs train.py in this process."""

    def __init__(self, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        self.command, self.monkeypatch = command, monkeypatch
        instrument(monkeypatch.setattr)

    def __call__(self, *arguments: str, stop: dict[str, Any] | None = None, **files: Path) -> Any:
        self.monkeypatch.setenv("STOP", json.dumps(stop or {}))
        for name, path in files.items():
            self.monkeypatch.setenv(name.upper(), str(path))
        return self.command(*arguments)
