"""Recovery checkpoints: when, how many, what they refuse, and that a window left open is kept."""

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from line import Line, batches
from torch import Tensor

from restore import checkpoint as durable
from restore.callback.ema import EMA
from restore.callback.progress import MaxUpdates, Throughput
from restore.checkpoint import newest_valid
from restore.recovery import points, preemption
from restore.recovery.best import Checkpoint
from restore.recovery.points import Recovery, remove_old
from restore.recovery.rows import Rows
from restore.trainer import EnteredFitLoop
from restore.types import InputError, NonFiniteError, RunError


def fit(
    folder: Path,
    task: Line,
    *callbacks: Callback,
    every: int = 100,
    path: Path | None = None,
    max_epochs: int = -1,
) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=any(isinstance(one, Checkpoint) for one in callbacks),
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=every,
        max_epochs=max_epochs,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    EnteredFitLoop.put_into(trainer)
    trainer.fit(task, batches(), batches(3), ckpt_path=path, weights_only=True)
    return trainer


class At(Callback):
    """Calls `act` after the batch of that number."""

    def __init__(self, batch: int, act: Callable[[Any], object]) -> None:
        self.batch, self.act = batch, act

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        if pl_module.batches == self.batch:
            self.act(pl_module)


def terminate(task: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def updates(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["progress"]["updates"])


def test_newest_two_are_kept_apart_from_the_best(tmp_path: Path) -> None:
    scores = (0.1, 0.1, 0.1, 0.5, 0.5, 0.5, 0.9, 0.9, 0.9)  # it gets worse and worse
    task = Line(scores=scores)
    kept = Checkpoint("best", monitor="val/score"), Checkpoint("last")
    fit(tmp_path, task, Recovery(every_n_updates=2), *kept, MaxUpdates(11), every=4)
    assert names(tmp_path) == ["best.ckpt", "last.ckpt", "recovery-10.ckpt", "recovery-8.ckpt"]
    assert updates(tmp_path / "checkpoints" / "best.ckpt") == 4
    assert updates(tmp_path / "checkpoints" / "recovery-10.ckpt") == 10
    path, _ = newest_valid(tmp_path / "checkpoints")
    assert path == tmp_path / "checkpoints" / "last.ckpt"


def test_cadence_by_time(tmp_path: Path) -> None:
    pause = At(5, lambda task: time.sleep(0.3))
    fit(tmp_path, Line(), pause, Recovery(every_minutes=0.25 / 60), MaxUpdates(7))
    assert "recovery-5.ckpt" in names(tmp_path)
    fit(tmp_path / "never", Line(), Recovery(), MaxUpdates(7))
    assert not (tmp_path / "never" / "checkpoints").exists()


def test_only_what_a_newer_one_replaces_is_removed(tmp_path: Path) -> None:
    for count in (3, 5, 9, 12):
        (tmp_path / f"recovery-{count}.ckpt").write_bytes(b"")
    others = ["last.ckpt", "recovery-3 (copy).ckpt", "recovery-3-keep.ckpt"]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    remove_old(tmp_path, 9)  # 12 was damaged, or the run would have gone on from it
    assert sorted(os.listdir(tmp_path)) == [*others, "recovery-5.ckpt", "recovery-9.ckpt"]


@pytest.mark.parametrize(
    ("first", "stage", "left"), [(True, "fit", 1), (True, "test", 2), (False, "fit", 2)]
)
def test_a_training_removes_what_a_killed_process_was_writing(
    tmp_path: Path, first: bool, stage: str, left: int
) -> None:
    for name in ("last.ckpt", "last.ckpt.tmp"):
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        (tmp_path / "checkpoints" / name).write_bytes(b"")
    strategy = SimpleNamespace(checkpoint_io=durable.DurableIO())
    trainer: Any = SimpleNamespace(
        strategy=strategy, is_global_zero=first, default_root_dir=str(tmp_path)
    )
    Recovery().setup(trainer, Line(), stage)
    assert len(names(tmp_path)) == left and names(tmp_path)[0] == "last.ckpt"


@pytest.mark.parametrize(
    "setting", [{"every_minutes": 0.0}, {"every_minutes": -1.0}, {"every_n_updates": 0}]
)
def test_impossible_cadence(setting: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"callback\.recovery"):
        Recovery(**setting)


def resumed(folder: Path, task: Line, *callbacks: Callback, every: int = 100) -> Line:
    path, _ = newest_valid(folder / "checkpoints")
    assert path is not None
    fit(folder, task, *callbacks, every=every, path=path)
    return task


@pytest.mark.parametrize("batch", [4, 5, 6, 8, 13])
def test_signal_within_an_accumulation_window(tmp_path: Path, batch: int) -> None:
    whole = Line(accumulate=3)
    fit(tmp_path / "whole", whole, MaxUpdates(6))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(preemption.Preempted) as ended:
        fit(tmp_path, Line(accumulate=3), At(batch, terminate), Recovery(), MaxUpdates(6))
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) == before
    task = resumed(tmp_path, Line(accumulate=3), Recovery(), MaxUpdates(6))
    assert (task.updates, task.batches) == (6, 18)
    assert torch.equal(task.network.weight, whole.network.weight)
    assert task.network.count == whole.network.count == 18


def test_validation_keeps_the_gradients_of_an_open_window(tmp_path: Path) -> None:
    quiet, validated = Line(accumulate=3), Line(accumulate=3)
    fit(tmp_path, quiet, MaxUpdates(4))
    fit(tmp_path, validated, MaxUpdates(4), every=5)
    assert torch.equal(quiet.network.weight, validated.network.weight)


class InValidation(Callback):
    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        if pl_module.updates == 4:
            os.kill(os.getpid(), signal.SIGUSR1)


def test_signal_during_validation(tmp_path: Path) -> None:
    def parts() -> list[Callback]:
        return [EMA(0.5), Checkpoint("best", "val/score"), Checkpoint("last"), MaxUpdates(10)]

    scores = (0.5, 0.5, 0.5, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9)
    whole = Line(scores=scores)
    fit(tmp_path / "whole", whole, *parts(), Recovery(), every=4)
    first = Line(scores=scores)
    with pytest.raises(preemption.Preempted):
        fit(tmp_path, first, InValidation(), *parts(), Recovery(), every=4)
    assert len(first.validated) == 1 and names(tmp_path) == ["recovery-4.ckpt"]
    content = torch.load(tmp_path / "checkpoints" / "recovery-4.ckpt", weights_only=True)
    assert torch.equal(content["state_dict"]["network.weight"], whole.history[3])  # not the average
    task = resumed(tmp_path, Line(scores=scores), *parts(), Recovery(), every=4)
    assert torch.equal(task.network.weight, whole.network.weight)
    assert [w.tolist() for w in task.validated] == [w.tolist() for w in whole.validated]
    for name in ("best", "last"):
        states = [
            torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
            for folder in (tmp_path, tmp_path / "whole")
        ]
        assert states[0]["progress"] == states[1]["progress"]
        assert all(
            torch.equal(states[0]["ema"]["weights"][key], one)
            for key, one in states[1]["ema"]["weights"].items()
        )


def test_what_is_kept_of_a_validation_that_breaks_are_the_weights(tmp_path: Path) -> None:
    """And not their averages, with which it computes, whichever callback hears of it first."""
    task = Line()
    task.fails = True
    with pytest.raises(RuntimeError, match="validation broke"):
        fit(tmp_path, task, Recovery(), EMA(0.5), MaxUpdates(10), every=4)
    content = torch.load(tmp_path / "checkpoints" / "recovery-4.ckpt", weights_only=True)
    assert torch.equal(content["state_dict"]["network.weight"], task.history[3])


class Upload(Callback):
    """Of a user, who sends what a validation has found to a server that is not there."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        raise ConnectionError("no server")


def test_a_validation_that_a_callback_breaks_off_is_made_again(tmp_path: Path) -> None:
    """Its values were not logged yet, and no checkpoint of it was written."""
    with pytest.raises(ConnectionError):
        fit(tmp_path, Line(), Recovery(), Upload(), MaxUpdates(6), every=4)
    kept = (Recovery(), Checkpoint("best", "val/score"), MaxUpdates(6))
    task = resumed(tmp_path, Line(scores=(0.1,) * 3 + (0.9,) * 3), *kept, every=4)
    assert len(task.validated) == 6  # behind the fourth update and the sixth, of three images
    assert updates(tmp_path / "checkpoints" / "best.ckpt") == 4


def test_processes_talk_between_the_batches_of_a_validation_that_all_of_them_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This one has three, another one two: it would wait for an answer that never comes."""
    asked: list[int] = []

    def largest(trainer: Any, *values: int) -> list[int]:
        asked.append(len(asked))
        return [-2] if len(asked) == 1 else [0]

    monkeypatch.setattr(preemption, "largest", largest)
    trainer = SimpleNamespace(sanity_checking=False, num_val_batches=[3], is_global_zero=False)
    recovery, task = Recovery(), Line()
    recovery.on_validation_start(trainer, task)  # type: ignore[arg-type]
    for batch in range(3):
        recovery.on_validation_batch_end(trainer, task, None, None, batch)
    assert len(asked) == 1 + 2


class AtEveryValidation(InValidation):
    """Asks to stop in the validation after the batch of that number, each time it is made."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        if pl_module.batches == self.batch:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_stopped_twice_in_one_validation(tmp_path: Path, accumulate: int) -> None:
    """Before its first batch a resumed run stands where its checkpoint says: gradients of an open
    window, and random states, are taken up by that batch alone."""
    whole = Line(accumulate)
    fit(tmp_path / "whole", whole, MaxUpdates(6), every=4)
    stops = AtEveryValidation(4)
    with pytest.raises(preemption.Preempted):
        fit(tmp_path, Line(accumulate), stops, Recovery(), MaxUpdates(6), every=4)
    path, _ = newest_valid(tmp_path / "checkpoints")
    assert path is not None
    first = torch.load(path, weights_only=True)["position"]
    with pytest.raises(preemption.Preempted):
        resumed(tmp_path, Line(accumulate), stops, Recovery(), MaxUpdates(6), every=4)
    second = torch.load(path, weights_only=True)["position"]
    assert torch.equal(first["random"][0]["torch"], second["random"][0]["torch"])
    assert first["gradients"].keys() == second["gradients"].keys()
    assert len(first["gradients"]) == (accumulate > 1)
    task = resumed(tmp_path, Line(accumulate), Recovery(), MaxUpdates(6), every=4)
    assert torch.equal(task.network.weight, whole.network.weight)


class InLastValidation(Callback):
    """Asks to stop where nothing but the end of the training is left."""

    def __init__(self, updates: int) -> None:
        self.updates = updates

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if pl_module.updates == self.updates:
            terminate(pl_module)


def test_a_signal_behind_the_last_batch_keeps_an_evaluation_from_beginning(tmp_path: Path) -> None:
    parts = [Recovery(), Checkpoint("last"), MaxUpdates(5)]
    with pytest.raises(preemption.Preempted) as ended:
        fit(tmp_path, Line(), InLastValidation(5), *parts)
    assert ended.value.code == 143 and names(tmp_path) == ["last.ckpt"]
    task = resumed(tmp_path, Line(), Recovery(), Checkpoint("last"), MaxUpdates(5))
    assert (task.updates, task.history) == (5, [])


def test_a_run_that_ended_by_epochs_validates_again_where_it_was_stopped(tmp_path: Path) -> None:
    """Lightning would not enter its loop, and the last validation would never be made."""

    def parts() -> list[Callback]:
        return [Checkpoint("last"), MaxUpdates(99), Recovery()]

    with pytest.raises(preemption.Preempted):
        fit(tmp_path, Line(), AtEveryValidation(16), Recovery(), every=8, max_epochs=2)
    path, _ = newest_valid(tmp_path / "checkpoints")
    task = Line(scores=(0.25,) * 3)
    trainer = fit(tmp_path, task, *parts(), every=8, max_epochs=2, path=path)
    assert (task.updates, task.history, len(task.validated)) == (16, [], 3)
    assert float(trainer.callback_metrics["val/score"]) == 0.25
    path = tmp_path / "checkpoints" / "last.ckpt"
    assert updates(path) == 16
    more = Line()  # and goes on from there with more epochs
    fit(tmp_path, more, *parts(), every=8, max_epochs=3, path=path)
    assert more.updates == 24 and len(more.history) == 8


def test_count_of_steps_that_decides_what_is_logged(tmp_path: Path) -> None:
    whole = Line()
    fit(tmp_path, whole, Recovery(every_n_updates=4), MaxUpdates(6), every=4)
    path = tmp_path / "checkpoints" / "recovery-4.ckpt"  # right behind a validation
    task = Line()
    fit(tmp_path, task, Recovery(), MaxUpdates(6), every=4, path=path)
    counts = [one.trainer.fit_loop.epoch_loop._batches_that_stepped for one in (whole, task)]
    assert counts == [6, 6] and len(task.history) == 2


def test_resumed_after_the_last_update_only_validates(tmp_path: Path) -> None:
    task = Line()
    fit(tmp_path, task, Recovery(), Checkpoint("last"), MaxUpdates(5))
    throughput = Throughput()
    again = resumed(tmp_path, Line(), throughput, MaxUpdates(5), Recovery(), Checkpoint("last"))
    assert (again.updates, again.history, len(again.validated)) == (5, [], 3)
    assert torch.equal(again.network.weight, task.network.weight)


def test_rows_outlive_any_number_of_stops_behind_the_last_update(tmp_path: Path) -> None:
    """Each of them repeats the last validation, whose rows are there already."""

    class Logged(Callback):
        def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
            trainer.loggers = [rows]

        def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
            assert trainer.loggers == [rows]  # the evaluation behind it is for them, too

    places = []
    for part in range(3):
        rows = Rows(str(tmp_path))
        parts = [Logged(), MaxUpdates(5), Recovery(), Checkpoint("last")]
        if part == 0:
            fit(tmp_path, Line(), *parts)
        else:
            rows.keep(places[-1]["rows"])
            resumed(tmp_path, Line(), *parts)
        last = tmp_path / "checkpoints" / "last.ckpt"
        places.append(torch.load(last, weights_only=True)["position"])
    assert [one["rows"] for one in places] == [rows.count] * 3 and rows.count > 0
    assert not any(one["validation_due"] for one in places)


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        # Workers that other tests have left are children of this process's parent.
        multiprocessing.active_children = list
        preemption.Signals(Trainer(logger=False, accelerator="cpu"), patient=True)
        terminate(None)
        os.write(1, b"")  # the first is only remembered
        terminate(None)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143


def test_full_disk_costs_one_warning_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = durable.write

    def full(content: dict[str, Any], path: Path) -> None:
        if content["progress"]["updates"] > 2:
            raise OSError(28, "No space left on device")
        write(content, path)

    monkeypatch.setattr(durable, "write", full)
    task = Line()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, task, Recovery(every_n_updates=1), MaxUpdates(6))
    told = [str(one.message) for one in caught if "No space left" in str(one.message)]
    assert len(told) == 1 and "no recovery checkpoint at update 3" in told[0]
    assert task.updates == 6 and names(tmp_path) == ["recovery-1.ckpt", "recovery-2.ckpt"]


def test_run_whose_best_was_not_written_does_not_end_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(content: dict[str, Any], path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "write", full)
    task = Line(scores=(0.5,))
    best = Checkpoint("best", monitor="val/score")
    with pytest.warns(UserWarning, match="No space"), pytest.raises(RunError, match=r"best\.ckpt"):
        fit(tmp_path, task, best, Recovery(), MaxUpdates(6), every=2)
    assert task.updates == 6


@torch.no_grad()
def poison(task: Any) -> None:
    task.other.weight.fill_(torch.nan)


def test_weights_that_are_not_finite_reach_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"weights other\.weight are not finite at update 5"):
        fit(tmp_path, Line(), At(5, poison), Recovery(every_n_updates=1), MaxUpdates(8))
    assert names(tmp_path) == ["recovery-3.ckpt", "recovery-4.ckpt"]
    path, _ = newest_valid(tmp_path / "checkpoints")
    assert path is not None
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(bool(torch.isfinite(one).all()) for one in state.values())


class Steep(torch.autograd.Function):
    """Zero, with a gradient of NaN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 0 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return torch.full_like(gradients[0], torch.nan)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_gradient_that_is_not_finite_is_named_before_the_step(
    tmp_path: Path, clip_norm: float | None
) -> None:
    class Cliff(Line):
        def losses(self, batch: Any, epoch: int | None) -> dict[str, Tensor]:
            terms = super().losses(batch, epoch)
            if self.updates == 3:
                terms["cliff"] = Steep.apply(self.network.weight).sum()
            return terms

    task = Cliff()
    task.clip_norm = clip_norm
    with pytest.raises(NonFiniteError, match=r"gradient of network\.weight .* at update 3"):
        fit(tmp_path, task, Recovery(every_n_updates=1), MaxUpdates(8))
    assert bool(torch.isfinite(task.network.weight).all())
    assert torch.equal(task.network.weight, task.history[2])
    assert names(tmp_path) == ["recovery-2.ckpt", "recovery-3.ckpt"]


class Clock(Callback):
    """Three minutes and twenty seconds pass with each batch."""

    now = 0.0

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.now += 200.0


def test_ten_minutes_pass_between_two_points_unless_others_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (given, saved) in enumerate((({}, [3, 6]), ({"every_minutes": 5.0}, [4, 6]))):
        clock, folder = Clock(), tmp_path / str(number)
        monkeypatch.setattr(points, "time", SimpleNamespace(monotonic=lambda one=clock: one.now))
        fit(folder, Line(), clock, Recovery(**given), MaxUpdates(8))
        kept = {path.stem for path in (folder / "checkpoints").glob("recovery-*.ckpt")}
        assert kept == {f"recovery-{count}" for count in saved}
