import csv
import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from line import Line, fit

from restore import checkpoint
from restore.callback.ema import EMA
from restore.callback.progress import MaxUpdates, Throughput
from restore.checkpoint import DurableIO
from restore.recovery.best import Checkpoint, ConfigInCheckpoint
from restore.recovery.rows import Rows
from restore.types import InputError


def updates(folder: Path, name: str) -> int:
    content = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return int(content["progress"]["updates"])


def test_best_is_kept_and_last_is_the_newest(tmp_path: Path) -> None:
    task = Line(scores=(0.5, 0.2, 0.9))
    kept = Checkpoint("best", monitor="val/score"), Checkpoint("last")
    fit(tmp_path, task, EMA(), *kept, MaxUpdates(12))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    assert (updates(tmp_path, "best"), updates(tmp_path, "last")) == (8, 12)
    assert kept[0].path == tmp_path / "checkpoints" / "best.ckpt"


@pytest.mark.parametrize(
    ("mode", "best"), [("min", [0.5, 0.2, 0.2, 0.1]), ("max", [0.5, 0.5, 0.9, 0.9])]
)
def test_the_best_so_far_is_logged(tmp_path: Path, mode: Any, best: list[float]) -> None:
    scores = (0.5, 0.2, 0.9, 0.1)
    rows = Rows(str(tmp_path))
    kept = Checkpoint("best", "val/score", mode), Checkpoint("last")
    task = Line(scores=(0.0, *scores))  # the first is of the sanity check, which ranks nothing
    fit(tmp_path, task, *kept, MaxUpdates(16), logger=rows, num_sanity_val_steps=1)
    with rows.path.open() as file:
        found = [row for row in csv.DictReader(file) if row["best/score"]]
    assert [row["step"] for row in found] == ["4", "8", "12", "16"]
    assert [float(row["best/score"]) for row in found] == pytest.approx(best)


def test_the_worst_of_a_metric_is_not_kept() -> None:
    with pytest.raises(InputError, match=r"callback\.best\.mode=min keeps the worst val/psnr"):
        Checkpoint("best", "val/psnr", "min")
    for monitor, mode in (("val/psnr", "max"), ("val/loss", "min"), ("val/psnr", None)):
        made = Checkpoint("best", monitor, mode)  # type: ignore[arg-type]
        assert made.mode == (mode or "max")


def test_unknown_monitor_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"callback.best.monitor=val/nothing is not logged"):
        fit(tmp_path, Line(), Checkpoint("best", monitor="val/nothing"), MaxUpdates(4))


@pytest.mark.parametrize("name", ["", "a/b", "-b", "recovery", "recovery-4"])
def test_a_name_that_is_no_file_name_or_of_a_recovery_checkpoint(name: str) -> None:
    with pytest.raises(InputError, match="must be a plain file name such as best"):
        Checkpoint(name)


@pytest.mark.parametrize(("accumulate", "count"), [(1, 6), (3, 5)])
def test_exactly_max_updates_then_validation_and_checkpoint(
    tmp_path: Path, accumulate: int, count: int
) -> None:
    task = Line(accumulate)
    throughput = Throughput()
    fit(tmp_path, task, MaxUpdates(count), throughput, Checkpoint("last"), every=7)
    assert (task.updates, len(task.history)) == (count, accumulate * count)
    assert throughput.images == accumulate * count and throughput.seconds > 0
    assert torch.equal(task.validated[-1], task.history[-1])
    assert updates(tmp_path, "last") == count


@pytest.mark.parametrize("count", [0, -1])
def test_impossible_max_updates(count: int) -> None:
    with pytest.raises(InputError, match=f"max_updates={count}"):
        MaxUpdates(count)


def test_config_travels_in_plain_types_and_without_the_root(tmp_path: Path) -> None:
    config = {"data": {"root": "/of/this/machine", "batch_size": 1}, "task": {"widths": [1, 2]}}
    facts = {"image_channels": 1}
    stored = ConfigInCheckpoint("x", config, facts, "7a", {"path": "other"})
    fit(tmp_path, Line(), MaxUpdates(1), stored, Checkpoint("last"))
    content = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert (content["run"], content["init"], content["foreign"]) == ("7a", {"path": "other"}, {})
    assert content["config"] == {
        "data": {"root": None, "batch_size": 1},
        "task": {"widths": [1, 2]},
    }
    assert (content["experiment"], content["facts"]) == ("x", facts)
    assert config["data"]["root"] == "/of/this/machine"


@pytest.mark.parametrize(("scores", "best"), [((0.3,), 8), ((0.3, 0.1), 12)])
def test_the_best_of_a_resumed_run_is_that_of_both_parts(
    tmp_path: Path, scores: tuple[float, ...], best: int
) -> None:
    first = Checkpoint("best", monitor="val/score")
    fit(tmp_path, Line(scores=(0.5, 0.2, 0.9)), first, Checkpoint("last"), MaxUpdates(12))
    second = Checkpoint("best", monitor="val/score")
    trainer = Trainer(default_root_dir=tmp_path, logger=False)
    second.setup(trainer, Line(), "fit")
    assert isinstance(trainer.strategy.checkpoint_io, DurableIO)  # before anything is written
    second.load_state_dict(first.state_dict())
    task = Line(scores=scores)
    task.updates, end = 4, 4 + 4 * len(scores)
    fit(tmp_path, task, second, Checkpoint("last"), MaxUpdates(end))
    assert (updates(tmp_path, "best"), updates(tmp_path, "last")) == (best, end)
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize("other", [False, True])
def test_the_score_of_another_metric_ranks_nothing(tmp_path: Path, other: bool) -> None:
    """A run that goes on by SSIM must not compare with the PSNR that it was kept by before."""
    first = Checkpoint("best", monitor="val/score", mode="max")
    fit(tmp_path, Line(scores=(32.0,)), first, MaxUpdates(4))
    state = first.state_dict()
    if other:
        state["monitor"] = "val/psnr"
    second = Checkpoint("best", monitor="val/score", mode="max")
    second.setup(Trainer(default_root_dir=tmp_path, logger=False), Line(), "fit")
    second.load_state_dict(state)
    assert second.best_model_score == (None if other else torch.tensor(32.0))
    assert second.best_k_models == ({} if other else {str(second.path): torch.tensor(32.0)})


@pytest.mark.parametrize(
    ("scores", "refused", "best"), [((0.5, 0.2, 0.4), 8, 12), ((0.5, 0.6, 0.7), 4, 8)]
)
def test_the_best_is_that_of_the_file_where_a_disk_refused_a_better_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: tuple[float, ...],
    refused: int,
    best: int,
) -> None:
    """Else whatever lies between the two is never kept, in this process or in one that goes on."""
    write = checkpoint.write

    def refuse(content: dict[str, Any], path: Path) -> None:
        if path.name == "best.ckpt" and content["progress"]["updates"] == refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(content, path)

    monkeypatch.setattr(checkpoint, "write", refuse)
    kept = Checkpoint("best", monitor="val/score"), Checkpoint("last")
    with pytest.warns(UserWarning, match=r"best\.ckpt was not written"):
        fit(tmp_path, Line(scores=scores), *kept, MaxUpdates(12))
    assert updates(tmp_path, "best") == best
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    assert stored["Checkpoint.best"]["score"] == pytest.approx(scores[best // 4 - 1])


@pytest.mark.parametrize("is_there", [False, True])
def test_a_best_that_is_gone_or_damaged_is_written_anew(tmp_path: Path, is_there: bool) -> None:
    """Else a run that goes on with its last checkpoint alone has nothing to measure at its end."""
    first = Checkpoint("best", monitor="val/score")
    fit(tmp_path, Line(scores=(0.2,)), first, MaxUpdates(4))
    first.path.write_bytes(first.path.read_bytes()[:-1])
    if not is_there:
        first.path.unlink()
    second = Checkpoint("best", monitor="val/score")
    second.setup(Trainer(default_root_dir=tmp_path, logger=False), Line(), "fit")
    with pytest.warns(UserWarning, match=r"best\.ckpt is gone or damaged"):
        second.load_state_dict(first.state_dict())
    task = Line(scores=(0.9,))
    task.updates = 4
    fit(tmp_path, task, second, MaxUpdates(8))
    assert updates(tmp_path, "best") == 8
