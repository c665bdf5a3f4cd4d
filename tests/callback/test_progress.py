import contextlib
import io
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from line import Line, fit
from rich.console import Console

from restore.callback import meter, progress
from restore.callback.meter import Meter, duration
from restore.callback.monitor import best_is_high
from restore.callback.progress import MaxUpdates, Progress, Throughput
from restore.metric.colorfulness import Colorfulness
from restore.metric.psnr import PSNR, HolePSNR
from restore.metric.ssim import SSIM

LINE = re.compile(
    r"update: (\d+) of 12, loss [\d.e+-]+, val/loss [\d.e+-]+(, \d+ images/s)?(, \d+ s left)?"
)


def test_a_pipe_gets_a_line_at_every_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(
        tmp_path,
        Line(),
        MaxUpdates(12),
        Throughput(),
        Progress(),
        every=4,
        enable_progress_bar=True,
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("update")]
    found = [LINE.fullmatch(line) for line in lines]
    assert [one and one[1] for one in found] == ["4", "8", "12"], lines
    assert "left" in lines[0] and "left" not in lines[2]


@pytest.mark.parametrize("limit", [{}, {"max_epochs": 1}])
def test_a_run_ends_with_a_validation_whatever_epoch_it_ends_in(
    tmp_path: Path, limit: dict[str, int]
) -> None:
    """Lightning validates in every third epoch alone, also where a callback stops the training."""
    task = Line()
    settings = {"every": 1.0, "check_val_every_n_epoch": 3, **limit}
    fit(tmp_path, task, MaxUpdates(8 if limit else 5), **settings)
    assert len(task.validated) == 1
    assert torch.equal(task.validated[0], task.network.weight)


def test_a_run_that_its_time_ends_has_a_validation_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer is called behind all callbacks of ours; by this clock each batch takes a second."""
    task = Line()
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: float(task.updates))
    settings = {"every": 1.0, "check_val_every_n_epoch": 3, "max_time": {"seconds": 5}}
    fit(tmp_path, task, MaxUpdates(100), **settings)
    assert task.updates == 5 and len(task.validated) == 1


def test_a_pipe_gets_a_line_after_the_given_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, Line(), MaxUpdates(4), Progress(every_seconds=1e-9), enable_progress_bar=True)
    counts = re.findall(r"^update: (\d+) of 4", capsys.readouterr().out, re.M)
    assert counts == ["1", "2", "3", "4", "4"]  # the last is the validation's own


class TestWaiting:
    """A batch is worked on for a second and waited for three, but for the first of each pass."""

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [100.0]
        monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
        monkeypatch.setattr(progress.torch, "get_num_threads", lambda: 4)
        return now

    def ran(self, clock: list[float], wait: float, workers: int = 2) -> tuple[Throughput, str]:
        out = io.StringIO()
        made, data = Throughput(), SimpleNamespace(num_workers=workers)
        trainer: Any = SimpleNamespace(world_size=1, datamodule=data, is_global_zero=True)
        task: Any = SimpleNamespace(batches=1, device=torch.device("cpu"))
        batch = {"index": torch.arange(2)}
        for _ in range(2):
            for number in range(4):
                clock[0] += wait
                made.on_train_batch_start(trainer, task, batch, number)
                clock[0] += 1.0
                made.on_train_batch_end(trainer, task, None, batch, number)
            clock[0] += 50.0  # of validation
            made.on_validation_end(trainer, task)
        with contextlib.redirect_stdout(out):
            made.on_train_end(trainer, task)
        return made, out.getvalue()

    def test_the_wait_is_told_from_the_work(self, clock: list[float]) -> None:
        made, said = self.ran(clock, wait=3.0)
        assert (made.images, made.seconds, made.waited) == (16, 2 * (1 + 3 * 4), 2 * 3 * 3)
        again = Throughput()
        again.load_state_dict(made.state_dict())
        assert again.waiting == made.waiting == pytest.approx(18 / 26)
        assert said == (
            "data: 69% of the training waited for photos: raise data.num_workers, which is 2, "
            "on 8 cores\n"
        )

    def test_nothing_is_said_where_it_would_not_help(self, clock: list[float]) -> None:
        assert self.ran(clock, wait=0.1)[1] == ""
        assert self.ran(clock, wait=3.0, workers=4)[1] == ""  # four threads and four workers

    def test_a_state_of_before_counts_from_none(self) -> None:
        made = Throughput()
        made.load_state_dict({"images": 3, "seconds": 2.0})
        assert (made.images, made.waited) == (3, 0.0)


def test_every_process_of_a_training_counts_its_images() -> None:
    made = Throughput()
    trainer: Any = SimpleNamespace(world_size=3)
    task: Any = SimpleNamespace(batches=1)
    made.on_train_batch_start(trainer, task, None, 0)
    made.on_train_batch_end(trainer, task, None, {"index": torch.arange(4)}, 0)
    assert made.images == 12


def test_what_validation_measures_is_best_where_its_metric_says() -> None:
    for metric in (PSNR(), SSIM(), HolePSNR(), Colorfulness()):
        assert best_is_high(f"val/{metric.name}") == metric.higher_is_better
    assert not best_is_high("val/loss") and not best_is_high("train/loss")


class TestMeter:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [100.0]
        monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
        return now

    def test_time_left_is_of_the_pace_of_this_process(
        self, clock: list[float], capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = Meter("update", total=1000, done=400, every=60.0)  # 400 were done before a resume
        clock[0] += 59
        made.update(430)
        assert capsys.readouterr().out == ""
        clock[0] += 1
        made.update(430)
        # 30 updates took 60 s, 570 are left: 1140 s
        assert capsys.readouterr().out == "update: 430 of 1000, 19 min left\n"

    def test_words_are_asked_for_only_when_something_is_written(self, clock: list[float]) -> None:
        asked: list[int] = []

        def words() -> str:
            asked.append(1)
            return "loss 1"

        made = Meter("update", 10, words)
        made.update(1)
        assert not asked
        made.update(2, line=True)
        assert asked == [1]

    def test_a_terminal_gets_a_bar_of_the_same_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=120)
        monkeypatch.setattr(meter, "Console", lambda: console)
        made = Meter("update", 9000, lambda: "loss 0.5")
        made.update(200, line=True)
        made.close()
        assert "200 of 9000, loss 0.5, " in screen.getvalue()
        assert not [one for one in made.said() if ord(one) > 127]


@pytest.mark.parametrize(
    ("interval", "planned", "accumulate", "told"),
    [
        ("update", 40, 1, "after 16 of the 40 updates"),
        ("update", 16, 1, None),
        ("update", 40, 2, "after 8 of the 40 updates"),
        ("epoch", 40, 1, None),
    ],
)
def test_a_schedule_that_epochs_cut_off_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    interval: Any,
    planned: int,
    accumulate: int,
    told: str | None,
) -> None:
    """Two epochs of eight batches; the rate would end at a tenth of where it should."""
    task = Line(accumulate)
    task.scheduler_interval = interval
    task.scheduler = lambda one: torch.optim.lr_scheduler.CosineAnnealingLR(one, planned)
    fit(tmp_path, task, MaxUpdates(planned), every=8, max_epochs=2)
    out = capsys.readouterr().out
    assert ("schedule: " in out) == (told is not None) and (told or "") in out


def test_a_cut_schedule_is_told_in_updates_of_the_generator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A discriminator of four turns leaves two updates to eight batches, and not eight."""
    task = Line()
    task.scheduler = lambda one: torch.optim.lr_scheduler.CosineAnnealingLR(one, 8)
    task.updates_in = lambda batches: batches // 4  # type: ignore[method-assign]
    fit(tmp_path, task, MaxUpdates(8), every=8, max_epochs=1)
    assert "after 2 of the 8 updates that its" in capsys.readouterr().out


def test_durations_are_read_at_a_glance() -> None:
    spoken = [duration(seconds) for seconds in (42, 99.4, 170, 720, 5940, 11_100)]
    assert spoken == ["42 s", "99 s", "3 min", "12 min", "99 min", "3 h 05 min"]
