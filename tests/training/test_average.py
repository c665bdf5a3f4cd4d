"""`restore ema`: lengths of averages after training, through the command line."""

import sys
from pathlib import Path

import pytest
import torch
from entry import Command

from restore import checkpoint, cli
from restore.callback.power_ema import FOLDER, rebuild
from restore.evaluation.load import method


def test_rebuilt_checkpoints_restore_with_their_average(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ema(run: Path, std: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["restore", "ema", str(run), "--std", std])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    run = tmp_path / "run"
    settings = ("callback=power_ema", "callback.power_ema.every=1", "task.network.width=4")
    plain = ("+trainer.enable_progress_bar=false", "~callback.progress", "benchmark=[]")
    trained = command("debug=smoke", *settings, *plain, f"hydra.run.dir={run}")
    assert trained.code == 0, trained.err

    code, out, err = ema(run, "0.05,0.2")
    assert code == 0, err
    last = checkpoint.read(run / "checkpoints" / "last.ckpt")
    for std in (0.05, 0.2):
        path = run / "checkpoints" / f"ema_{std}.ckpt"
        assert str(path) in out
        made, wanted = checkpoint.read(path)["ema"]["weights"], rebuild(run / FOLDER, std)
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
