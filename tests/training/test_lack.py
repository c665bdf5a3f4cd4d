"""No memory left: one line with what was too large, exit code 1, and a run that goes on smaller."""

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from entry import Command

from restore.callback.ema import EMA
from restore.callback.power_ema import PowerEMA
from restore.errors import explain, is_lack
from restore.recovery.preemption import Preempted
from restore.task.restoration import RestorationTask
from restore.training import fit, lack
from restore.types import RunError

SETTINGS = (
    "experiment=denoise_photos_regression",
    "debug=smoke",
    "task.network.widths=[8,8,8]",
    "data.batch_size=4",
    "trainer.precision=32-true",
    "++callback.recovery.every_n_updates=1",
    "benchmark=[]",
    "max_updates=4",
)


def refused_by_torch() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def refused_by_numpy() -> None:
    np.empty(2**60, np.uint8)


def refused_by_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore lines")


@pytest.mark.parametrize("refuse", [refused_by_torch, refused_by_numpy, refused_by_a_gpu])
def test_refusals_are_known(refuse: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        refuse()
    assert is_lack(caught.value)
    assert explain(caught.value) == 1  # of an evaluation, and whatever else has no words of its own
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_other_errors_are_none() -> None:
    for error in (RuntimeError("shapes differ"), ValueError("not enough memory"), OSError(28, "x")):
        assert not is_lack(error)
    killed = "DataLoader worker (pid 7) is killed by signal: Killed. "
    assert is_lack(RuntimeError(killed))


def test_one_line_and_the_run_goes_on_with_less(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = RestorationTask.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> None:
        if self.updates == 2 and len(batch["index"]) == 4:
            refused_by_torch()
        step(self, batch, batch_idx)

    monkeypatch.setattr(RestorationTask, "training_step", training_step)
    ended = command(*SETTINGS, "hydra.run.dir=run")
    assert ended.code == 1
    (line,) = [line for line in ended.err.splitlines() if "error" in line.lower()]
    for says in (
        "error: out of memory on this machine (",
        " at update 2: data.batch_size=4 of 3x64x64, trainer.precision=32-true; most is taken by ",
        "activations of a batch (",
        "data.batch_size=2 with task.accumulate=2 gives the same updates",
        "or take trainer.precision=bf16-mixed",
    ):
        assert says in line
    assert "Traceback" not in ended.err
    assert "to go on: python train.py resume.path=" in ended.out
    assert Path("run/checkpoints/recovery-2.ckpt").exists()
    assert not Path("run/result.json").exists()
    less = ("data.batch_size=2", "task.accumulate=2", "resume.allow_inexact=true")
    assert command("resume.path=run", *less).code == 0
    assert Path("run/result.json").exists()


def test_a_stopped_job_goes_on_with_its_sweep_and_with_less_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`restore sweep DIR --resume` takes no settings."""

    def stopped(error: BaseException, again: str | None = None) -> list[str]:
        def refused(*given: Any, **settings: Any) -> None:
            raise error

        trainer = SimpleNamespace(fit=refused, is_global_zero=True, precision="32-true")
        config = {"packages": ["mine", "ours"], "task": {}}
        job: Any = SimpleNamespace(
            folder=folder, config=config, resumed=None, trainer=trainer, task=None, data=None
        )
        with pytest.raises(type(error)):
            fit.fit(job, again)
        return shlex.split(capsys.readouterr().out.removeprefix("to go on: "))

    folder = tmp_path / "a sweep" / "0"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "recovery-1.ckpt").write_bytes(b"")
    preempted = Preempted.__new__(Preempted)
    monkeypatch.setattr("sys.argv", ["train.py"])
    monkeypatch.setattr(lack, "known", lambda run, error: RunError("less"))
    monkeypatch.setattr("restore.recovery.preemption.settle", lambda trainer, error: None)
    alone = ["python", "train.py", f"resume.path='{folder}'", "packages=[mine,ours]"]
    less = [*alone, "resume.allow_inexact=true", "KEY=LESS"]
    assert stopped(RunError("of torch")) == less
    assert stopped(preempted) == alone
    assert stopped(RunError("of torch"), "with its sweep") == less
    assert stopped(preempted, "with its sweep") == ["with", "its", "sweep"]


@pytest.mark.parametrize(("precision", "allowed"), [("32-true", False), ("bf16-mixed", True)])
def test_float32_is_all_of_float32_while_a_run_trains(precision: str, allowed: bool) -> None:
    seen = []

    def trains(*given: Any, **settings: Any) -> None:
        seen.append(torch.backends.cudnn.allow_tf32)
        raise Preempted.__new__(Preempted)

    trainer = SimpleNamespace(fit=trains, is_global_zero=False, precision=precision)
    job: Any = SimpleNamespace(resumed=None, trainer=trainer, task=None, data=None)
    with pytest.raises(Preempted):
        fit.fit(job)
    assert seen == [allowed] and torch.backends.cudnn.allow_tf32


def test_the_largest_consumer_is_named() -> None:
    """By sizes that are known: Adam keeps two numbers for a weight, EMA one, and PowerEMA one
    for each deviation."""
    network = torch.nn.Linear(1000, 1000, bias=False)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 1000)).sum().backward()
    optimizer.step()
    ema, power_ema = EMA(), PowerEMA((0.05, 0.1))
    ema.average = {"weight": torch.zeros(1000, 1000)}
    power_ema.averages = [{"weight": torch.zeros(1000, 1000)} for _ in range(2)]
    run: Any = SimpleNamespace(
        task=network,
        trainer=SimpleNamespace(optimizers=[optimizer]),
        callbacks={"ema": ema, "power_ema": power_ema, "other": None},
    )
    parts = lack.consumers(run, torch.device("cpu"))
    step = 4  # Adam's count, one float
    assert parts.pop("activations of a batch") > 0
    assert parts == {
        "weights": 4_000_000,
        "gradients": 4_000_000,
        "optimizer states": 8_000_000 + step,
        "averages of weights": 12_000_000,
    }


def test_the_same_update_is_asked_for_in_twice_as_many_batches() -> None:
    settings = {"config": {"trainer": {"precision": "32-true"}}}
    run: Any = SimpleNamespace(
        data=SimpleNamespace(batch_size=8), task=SimpleNamespace(accumulate=3), **settings
    )
    said = lack._remedy(run, "activations of a batch")
    assert "data.batch_size=4 with task.accumulate=6 gives the same updates" in said


def test_an_eighth_of_a_gibibyte_is_told_in_gibibytes() -> None:
    assert lack._gib(2**27) == "0.12 GiB" and lack._gib(2**26) == "64.0 MiB"
