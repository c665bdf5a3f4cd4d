"""Where two runs part: planted differences, real runs, and a resumed one."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from entry import Command
from small_models import DENOISER
from stopping import EXPERIMENTS, SMALL, Here

from restore import checkpoint, cli, parting
from restore.types import InputError

ROWS = "step,images_per_second,train/loss,val/psnr\n9,{0},0.5,\n19,{0},{1},\n20,,,25.5\n"


def content(updates: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(updates)
    weights = {name: torch.randn(4, 3, generator=generator) for name in ("first", "second")}
    return {
        "experiment": "x",
        "config": {"task": DENOISER, "data": {"batch_size": 4}, "seed": 0},
        "facts": {"image_channels": 1, "input_channels": 1, "image_size": 8, "num_classes": None},
        "state_dict": weights,
        "progress": {"updates": updates, "batches": updates},
        "ema": {"updates": updates, "weights": {k: v.clone() for k, v in weights.items()}},
        "fingerprint": {"train": 7, "val": 1, "digest": "ab"},
    }


def write(
    folder: Path, lr: float = 1e-3, loss: float = 0.25, speed: int = 10, **of: dict[str, Any]
) -> Path:
    """A run with checkpoints of updates 10 and 20; of: contents by the file's stem."""
    folder.mkdir()
    config = {"task": {"optimizer": {"lr": lr}}, "seed": 0, "benchmark": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.csv").write_text(ROWS.format(speed, loss))
    record = {"commit": "a1", "device": "d", "python": "3.11", "versions": {"torch": "2.13"}}
    (folder / "result.json").write_text(json.dumps(record))
    for stem, updates in (("best", 10), ("last", 20)):
        checkpoint.write(of.get(stem) or content(updates), folder / "checkpoints" / f"{stem}.ckpt")
    return folder


def lines(a: Path, b: Path) -> list[tuple[str, str]]:
    return list(parting.differences(a, b))


def test_equal_runs_differ_in_times_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a"), write(tmp_path / "b", speed=99)
    assert parting.show(a, b) == 0
    assert capsys.readouterr().out == "no difference in 3 logged updates and 2 checkpoints\n"


def test_causes_come_before_effects(tmp_path: Path) -> None:
    changed = content(20)
    changed["state_dict"]["second"][1, 2] += 0.5
    changed["state_dict"]["first"][0, 0] += 1.5
    a = write(tmp_path / "a")
    b = write(tmp_path / "b", lr=2e-3, loss=0.26, last=changed)
    (b / "result.json").write_text(json.dumps({"commit": "b2", "versions": {"torch": "2.14"}}))
    found = lines(a, b)
    order = [what for what, _ in found]
    assert order[0] == "config" and order[-2:] == ["metrics", "weights"]
    text = dict(found)
    assert text["config"] == "task.optimizer.lr: 0.001 in A, 0.002 in B"
    assert ("versions", "versions.torch: '2.13' in A, '2.14' in B") in found
    assert text["metrics"] == "first at step 19: train/loss 0.25 in A, 0.26 in B"
    assert text["weights"] == (
        "first at update 20 (last.ckpt), of the network: first: 1 of 12 values, by 1.5 at most"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["ema"]["weights"]["first"].mul_(2), "of their average: first: 12 of 12"),
        (lambda c: c.update(optimizer_states=[{"step": 3}]), "of the optimizer: 0.step in B alone"),
        (lambda c: c["state_dict"].pop("first"), "of the network: first in A alone"),
        (lambda c: c["state_dict"].update(first=torch.zeros(2)), "torch.float32 [2] in B"),
        (
            lambda c: c["state_dict"].update(first=c["state_dict"]["first"].double()),
            "float64 [4, 3]",
        ),
        (lambda c: c["fingerprint"].update(train=8), "train: 7 in A, 8 in B"),
    ],
)
def test_the_first_tensor_that_differs(tmp_path: Path, change: Any, message: str) -> None:
    changed = content(10)
    change(changed)
    a, b = write(tmp_path / "a"), write(tmp_path / "b", best=changed)
    [(what, how)] = lines(a, b)
    assert message in how and what == ("data" if "train" in message else "weights")
    assert what == "data" or how.startswith("first at update 10 (best.ckpt)")


def test_a_section_that_one_run_has_alone_is_a_line() -> None:
    a = {"data.root": 1, "benchmark.half.data.size": 8, "benchmark.half.name": "h", "x": None}
    b = {"data.root": 1, "benchmark.gray.name": "g", "x.y": 2, "x.z": 3, "task.new.lr": 4}
    assert list(parting._between(a, b)) == [
        "benchmark.half: in A alone, with 2 keys",
        "x: None in A alone",
        "benchmark.gray.name: 'g' in B alone",
        "x.y: 2 in B alone",
        "x.z: 3 in B alone",
        "task.new.lr: 4 in B alone",
    ]


def test_runs_that_have_nothing_in_common_say_so(tmp_path: Path) -> None:
    a = write(tmp_path / "a")
    b = write(tmp_path / "b", best=content(11), last=content(21))
    (b / "metrics.csv").write_text("step,train/loss\n5,0.5\n")
    text = dict(lines(a, b))
    assert text["metrics"] == "no update that both have logged (3 in A, 1 in B)"
    assert text["weights"].startswith("no checkpoint of the same update")


def test_the_first_of_several_updates_that_differ_is_named(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    for folder, losses in ((a, (1, 2, 3)), (b, (1, 4, 5))):
        text = "".join(f"{10 * k},{loss}\n" for k, loss in enumerate(losses))
        (folder / "metrics.csv").write_text(f"step,train/loss\n{text}")
    assert dict(lines(a, b))["metrics"] == "first at step 10: train/loss 2 in A, 4 in B"


def test_numbers_have_as_many_digits_as_tell_them_apart(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", loss=0.15600626170), write(tmp_path / "b", loss=0.15600626171)
    [(what, how)] = lines(a, b)
    assert (what, how) == (
        "metrics", "first at step 19: train/loss 0.1560062617 in A, 0.15600626171 in B"
    )  # fmt: skip


def test_runs_that_diverged_alike_are_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = content(20)
    broken["state_dict"]["first"][0] = torch.nan
    a, b = (write(tmp_path / name, last=copy.deepcopy(broken)) for name in "ab")
    assert parting.show(a, b) == 0
    (b / "checkpoints" / "best.ckpt").unlink()
    (b / "metrics.csv").write_text("step,train/loss\n9,0.5\n")
    capsys.readouterr()
    assert parting.show(a, b) == 0
    assert capsys.readouterr().out == "no difference in 1 logged update and 1 checkpoint\n"


def test_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    a = write(tmp_path / "a")
    with pytest.raises(InputError, match=r"nowhere holds no config\.yaml"):
        lines(a, tmp_path / "nowhere")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.yaml").write_text("a: [")
    with pytest.raises(InputError, match="cannot be read"):
        lines(a, tmp_path / "b")


def test_the_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a"), write(tmp_path / "b", lr=0.5)
    monkeypatch.setattr(sys, "argv", ["restore", "compare", str(a), str(b)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out = capsys.readouterr().out
    assert ended.value.code == 1 and out == "config    task.optimizer.lr: 0.001 in A, 0.5 in B\n"


def test_a_run_that_has_not_ended_has_no_other_versions(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    (b / "result.json").unlink()
    assert lines(a, b) == []


def test_rows_of_one_update_are_one(tmp_path: Path) -> None:
    """A training logs a loss and what a validation found apart, and at one step at times."""
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    (a / "metrics.csv").write_text("step,train/loss,val/psnr\n9,1,\n9,,25\n")
    (b / "metrics.csv").write_text("step,train/loss,val/psnr\n9,2,\n9,,25\n")
    assert dict(lines(a, b))["metrics"] == "first at step 9: train/loss 1 in A, 2 in B"


def test_of_two_checkpoints_of_one_update_the_last_is_compared(tmp_path: Path) -> None:
    """`restore ema` may make another average the best; what is no checkpoint is none."""
    best = content(20)
    best["ema"]["weights"]["first"] += 1
    a, b = write(tmp_path / "a"), write(tmp_path / "b", best=best)
    assert lines(a, b) == []
    (b / "checkpoints" / "other.ckpt").write_bytes(b"x")
    assert lines(a, b) == []


def test_the_earliest_checkpoint_that_differs_is_named(tmp_path: Path) -> None:
    of = {"best": content(9), "last": content(16)}
    changed = copy.deepcopy(of)
    for one in changed.values():
        one["state_dict"]["first"] += 1
    [(_, how)] = lines(write(tmp_path / "a", **of), write(tmp_path / "b", **changed))
    assert how.startswith("first at update 9 (best.ckpt)")


def test_lists_are_compared_item_by_item() -> None:
    node = {"a": [1, {"b": []}], "c": {}}
    other = copy.deepcopy(node)
    assert parting.flat(node) == {"a.0": 1, "a.1.b": [], "c": {}} == parting.flat(other)


@pytest.mark.slow
def test_a_copy_with_another_learning_rate_and_a_resumed_pair(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = Here(command, monkeypatch)
    settings = ("experiment=ddpm_digits", *SMALL, *EXPERIMENTS["ddpm_digits"], "max_updates=6")
    whole, faster, parts = (tmp_path / name for name in ("whole", "faster", "parts"))
    assert here(*settings, f"hydra.run.dir={whole}").code == 0
    ended = here(*settings, "task.optimizer.lr=3e-3", f"hydra.run.dir={faster}")
    assert ended.code == 0, ended.err
    assert here(*settings, f"hydra.run.dir={parts}", stop={"updates": 3}).code == 143
    assert here(f"resume.path={parts}").code == 0
    # a commit may be made while the tests run
    assert [how for _, how in lines(whole, parts) if not how.startswith("commit")] == []
    found = lines(whole, faster)
    assert [how for what, how in found if what == "config"] == [
        "task.optimizer.lr: 0.001 in A, 0.003 in B",
        "task.scheduler.max_lr: 0.001 in A, 0.003 in B",
    ]
    assert {"metrics", "weights"} <= {what for what, _ in found}


def test_a_cell_that_one_run_lacks_is_a_difference(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    (a / "metrics.csv").write_text("step,train/l1,train/d,own\n3,1,5,1\n4,2,6,1\n")
    (b / "metrics.csv").write_text("step,train/l1,train/d\n3,1,\n4,2,6\n")
    assert dict(lines(a, b))["metrics"] == "first at step 3: train/d 5 in A, – in B"
