"""`restore ema`: lengths of averages after training, through the command line."""

import csv
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from entry import Command
from hydra.core.override_parser.overrides_parser import OverridesParser

from restore import averaging, checkpoint, cli
from restore.callback.power_ema import FOLDER, rebuild
from restore.evaluation.load import method
from restore.sweep.show import ranking
from restore.training import average, resume


def test_the_next_command_names_averages_in_a_folder_of_any_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path("my sweep/lr=0.1,seed=0")
    monkeypatch.setattr(average, "checkpoints", lambda run, stds: [run / f"{s}.ckpt" for s in stds])
    averaging.show(run, [0.05, 0.2])
    said = shlex.split(capsys.readouterr().out)[-2]
    named = OverridesParser.create().parse_override(said).value()
    assert named == [str(run / "0.05.ckpt"), str(run / "0.2.ckpt")]


@pytest.mark.slow
@pytest.mark.ci
def test_rebuilt_checkpoints_restore_with_their_average(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ema(run: Path, std: str, *more: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["restore", "ema", str(run), "--std", std, *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    run = tmp_path / "run"
    settings = ("callback=power_ema", "callback.power_ema.every=1", "task.network.width=4")
    settings += ("scheduler=constant", "task.optimizer.lr=0.05")  # two updates that both count
    plain = ("+trainer.enable_progress_bar=false", "~callback.progress", "benchmark=[]")
    trained = command("debug=smoke", *settings, *plain, f"hydra.run.dir={run}")
    assert trained.code == 0, trained.err

    code, out, err = ema(run, "0.05,0.2")
    assert code == 0, err
    last = checkpoint.read(run / "checkpoints" / "last.ckpt")
    for length in (0.05, 0.2):
        path = run / "checkpoints" / f"ema_{length}.ckpt"
        assert str(path) in out
        made, wanted = checkpoint.read(path)["ema"]["weights"], rebuild(run / FOLDER, length)
        assert made.keys() == last["ema"]["weights"].keys() == wanted.keys()
        assert all(torch.equal(made[name], wanted[name]) for name in wanted)
        assert method(path, {}).name == last["experiment"]

    for folder, std, message in (
        (run, "much", "--std=much"),
        (run, "0.05,0.5", "std=0.5"),
        (tmp_path, "0.05", "callback=power_ema"),
    ):
        code, _, err = ema(folder, std)
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1
    assert not (run / "checkpoints" / "ema_0.5.ckpt").exists()

    few = ("benchmark.digits_half.data.limit=2", "benchmark.digits_half.num_samples=2")
    quick = ("sampler=ddim", "sampler.num_steps=2", "guidance=replacement", *few)
    by = ("--benchmark", "digits_half", "--by", "hole_psnr", "--with", *quick)
    for std, given, message in (
        ("0.05", (*by[:2], "--by", "fid"), "--by fid: digits_half measures original_label_share"),
        ("0.05", by[2:4], "add --benchmark"),
        ("0.05", ("--benchmark", "nothing"), "nothing"),
        ("0.05", ("--benchmark", "[digits_half,mnist_half]"), "one benchmark says what is best"),
        ("0.05", ("--benchmark", "digits_half,mnist_half"), "one benchmark says what is best"),
        ("0.05", (*by[:2], "--with", "baseline=mean_fill", *quick), "--with baseline=...: av"),
        ("0.05", (*by[:2], "--with", "checkpoint=other", *quick), "--with checkpoint=...: av"),
    ):
        code, out, err = ema(run, std, *given)
        assert code == 2 and message in err and not out, err
    check_choice(run, lambda *given: ema(run, *given), by)


def check_choice(run: Path, ema: Callable[..., tuple[int, str, str]], by: Sequence[str]) -> None:
    """The better of two averages becomes best.ckpt in place of spoilt weights, and stays then."""
    folder = run / "checkpoints"
    best = checkpoint.read(folder / "best.ckpt")
    spoilt = {name: torch.zeros_like(value) for name, value in best["ema"]["weights"].items()}
    checkpoint.write({**best, "ema": {**best["ema"], "weights": spoilt}}, folder / "best.ckpt")

    code, out, err = ema("0.05,0.2", *by)
    assert code == 0, err
    rows = list(csv.DictReader((run / "lengths" / "results.csv").open()))
    measured = {Path(row["checkpoint"]).name: float(row["hole_psnr"]) for row in rows}
    lines = [line.split() for line in out.splitlines() if " hole_psnr " in f" {line} "]
    said = {line[0]: float(line[2]) for line in lines if len(line) == 3}
    winner = max(said, key=lambda name: said[name])
    assert winner != "best" and len(set(said.values())) == 3
    assert sorted(said.values()) == pytest.approx(sorted(measured.values()), rel=1e-5)
    now, before = (
        checkpoint.read(folder / f"{name}.ckpt")["ema"]["weights"]
        for name in ("best", "best-before")
    )
    wanted = rebuild(run / FOLDER, float(winner.removeprefix("ema_")))
    assert all(torch.equal(now[name], wanted[name]) for name in wanted)
    assert all(torch.equal(before[name], spoilt[name]) for name in spoilt)
    assert f"is {winner}.ckpt now" in out

    code, out, err = ema("0.05,0.2", *by)
    assert code == 0 and "best.ckpt stays" in out, err
    for other in ("ema_0.05", "ema_0.2"):  # of which one is the best already
        average.instate(folder / f"{other}.ckpt", folder / "best.ckpt")
    again = checkpoint.read(folder / "best-before.ckpt")["ema"]["weights"]
    assert all(torch.equal(again[name], spoilt[name]) for name in spoilt)
    goes_on = resume.load(run, {"max_updates": 9}, allow_inexact=False)
    assert "rebuilt" not in goes_on.content  # another average would change the training
    (run / "run.json").unlink()
    assert resume.own_id(run) == goes_on.id


def test_of_equals_what_was_best_stays() -> None:
    assert ranking([2.0, 3.0, 3.0], high=True)[0] == 1
    assert ranking([2.0, 1.0, 1.0], high=False)[0] == 1
