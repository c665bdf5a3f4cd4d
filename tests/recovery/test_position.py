"""What a resumed run takes up: each part against a computation by hand."""

import os
import random
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from line import Line, batches
from torch.optim import SGD, Adam, NAdam, RMSprop
from torch.optim.lr_scheduler import OneCycleLR

from restore.callback.progress import MaxUpdates
from restore.checkpoint import newest_valid
from restore.recovery import position
from restore.recovery.best import Checkpoint
from restore.recovery.points import Recovery
from restore.recovery.preemption import Preempted
from restore.recovery.rows import Rows
from restore.types import InputError


class Scheduled(Line):
    """The rate is 0.1 / 2^(updates or epochs)."""

    def __init__(self, interval: Any, lr: float = 0.1) -> None:
        super().__init__()
        self.optimizer = lambda p: torch.optim.SGD(p, lr=lr, momentum=0.5)
        self.scheduler = lambda one: torch.optim.lr_scheduler.StepLR(one, 1, 0.5)
        self.scheduler_interval = interval
        self.rates: list[float] = []
        self.epochs: list[int] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.epochs.append(self.current_epoch)
        self.rates.append(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]


def fit(
    folder: Path,
    task: Line,
    updates: int,
    resume: bool = False,
    every: int = 100,
    others: tuple[Callback, ...] = (),
    logger: Any = False,
    **retunes: bool,
) -> Recovery:
    recovery = Recovery(every_n_updates=2)
    recovery.retunes = retunes.get("retunes", False)
    callbacks: list[Callback] = [*others, recovery, MaxUpdates(updates)]
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=callbacks,
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in others),
        check_val_every_n_epoch=None,
        val_check_interval=every,
        num_sanity_val_steps=0,
        max_epochs=-1,
        **quiet,
    )
    path = newest_valid(folder / "checkpoints")[0] if resume else None
    trainer.fit(task, batches(3), batches(1), ckpt_path=path, weights_only=True)
    return recovery


def test_schedule_by_epochs_goes_on(tmp_path: Path) -> None:
    """Three batches an epoch; recovery-6 lies at the border of the second and the third."""
    by_hand = [0.1 * 0.5 ** (update // 3) for update in range(11)]
    whole = Scheduled("epoch")
    fit(tmp_path / "whole", whole, 11)
    assert whole.rates == pytest.approx(by_hand)
    for stop in (7, 9):  # recovery-6 is at a border of epochs, recovery-8 within one
        folder = tmp_path / str(stop)
        fit(folder, Scheduled("epoch"), stop)
        path, _ = newest_valid(folder / "checkpoints")
        assert path is not None and path.name == f"recovery-{stop - 1}.ckpt"
        again = Scheduled("epoch")
        fit(folder, again, 11, resume=True)
        assert again.rates == pytest.approx(by_hand[stop - 1 :])
        assert torch.equal(again.network.weight, whole.network.weight)


def test_schedule_by_epochs_goes_on_from_the_end_of_one(tmp_path: Path) -> None:
    """last.ckpt of the sixth update lies behind the last batch of an epoch, before its end."""
    fit(tmp_path, Scheduled("epoch"), 6, every=3, others=(Checkpoint("last"),))
    path, _ = newest_valid(tmp_path / "checkpoints")
    assert path is not None and path.name == "last.ckpt"
    again = Scheduled("epoch")
    fit(tmp_path, again, 11, resume=True, every=3, others=(Checkpoint("last"),))
    assert again.rates == pytest.approx([0.1 * 0.5 ** (update // 3) for update in range(6, 11)])
    assert again.epochs == [2, 2, 2, 3, 3]


def test_an_epoch_ends_once_however_often_its_validation_is_stopped(tmp_path: Path) -> None:
    def stopped(resume: bool) -> None:
        with pytest.raises(Preempted):
            fit(tmp_path, Scheduled("epoch"), 9, resume, every=3, others=(InValidation(),))

    stopped(resume=False)
    stopped(resume=True)
    again = Scheduled("epoch")
    fit(tmp_path, again, 9, resume=True, every=3)
    assert again.rates == pytest.approx([0.1 * 0.5 ** (update // 3) for update in range(6, 9)])


def test_what_is_saved_behind_a_repeated_end_of_an_epoch_is_behind_it(tmp_path: Path) -> None:
    fit(tmp_path, Scheduled("epoch"), 6, every=3, others=(Checkpoint("last"),))
    fit(tmp_path, Scheduled("epoch"), 6, resume=True, every=3, others=(Saved(),))
    again = Scheduled("epoch")
    fit(tmp_path, again, 9, resume=True, every=3)
    assert again.rates == pytest.approx([0.1 * 0.5 ** (update // 3) for update in range(6, 9)])


class Saved(Callback):
    """A checkpoint at the end of a training that had nothing left to train."""

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")


class Elsewhere(Callback):
    """A user's checkpoint, in the folder `own`, when a hook is called behind so many updates."""

    def __init__(self, hook: str, updates: int) -> None:
        self.updates = updates
        setattr(self, hook, self.save)

    def save(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        if pl_module.updates == self.updates:
            path = Path(trainer.default_root_dir) / "own" / "checkpoints" / "own.ckpt"
            trainer.save_checkpoint(path)


class Kept(Elsewhere, ModelCheckpoint):
    """Lightning calls checkpoints behind the task, where an epoch ends."""

    def __init__(self, hook: str, updates: int) -> None:
        ModelCheckpoint.__init__(self, every_n_epochs=100)
        Elsewhere.__init__(self, hook, updates)


@pytest.mark.parametrize(
    ("hook", "updates", "kind"),
    [
        ("on_train_batch_end", 5, Elsewhere),
        ("on_train_batch_end", 6, Elsewhere),
        ("on_train_batch_end", 6, Kept),
        ("on_train_epoch_end", 6, Elsewhere),
        ("on_train_epoch_end", 6, Kept),
        ("on_train_epoch_end", 11, Kept),
        ("on_train_epoch_start", 6, Elsewhere),
        ("on_train_end", 11, Kept),
    ],
)
def test_a_checkpoint_of_any_hook_leads_behind_its_last_batch(
    tmp_path: Path, hook: str, updates: int, kind: type[Elsewhere]
) -> None:
    """Of a user's own callback; epochs of three batches, of which the end cuts off the fourth."""
    fit(tmp_path, Scheduled("epoch"), 11, others=(kind(hook, updates),))
    again = Scheduled("epoch")
    fit(tmp_path / "own", again, 14, resume=True)
    assert again.epochs == [update // 3 for update in range(updates, 14)]
    assert again.rates == pytest.approx([0.1 * 0.5**epoch for epoch in again.epochs])


def test_what_comes_behind_a_batch_is_not_lost_to_its_checkpoint(tmp_path: Path) -> None:
    """The row of the batch, and the validation: Lightning calls callbacks before both."""
    rows, again = Rows(str(tmp_path)), Line()
    saved = (Elsewhere("on_train_batch_end", 6),)
    fit(tmp_path, Line(), 9, every=3, others=saved, logger=rows)
    content = torch.load(tmp_path / "own" / "checkpoints" / "own.ckpt", weights_only=True)
    assert content["position"]["rows"] == 7  # of six updates and the first validation
    fit(tmp_path / "own", again, 9, resume=True, every=3)
    assert len(again.validated) == 2  # of the sixth update, and the ninth


class InValidation(Callback):
    """Asks to stop in the validation behind the second epoch."""

    def on_validation_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        if pl_module.updates == 6:
            os.kill(os.getpid(), signal.SIGTERM)


def test_new_settings_of_the_optimizer_are_applied_and_moments_kept(tmp_path: Path) -> None:
    fit(tmp_path, Scheduled("update"), 5)
    again = Scheduled("update", lr=3.2)
    fit(tmp_path, again, 6, resume=True, retunes=True)
    assert again.rates == pytest.approx([3.2 * 0.5**4, 3.2 * 0.5**5])
    fit(tmp_path / "as it was", Scheduled("update"), 5)
    same = Scheduled("update", lr=3.2)
    fit(tmp_path / "as it was", same, 6, resume=True)
    assert same.rates == pytest.approx([0.1 * 0.5**4, 0.1 * 0.5**5])


@pytest.mark.parametrize("other", ["none", "interval"])
def test_a_schedule_that_the_run_had_not_goes_on_as_if_it_had(tmp_path: Path, other: str) -> None:
    """A run of four updates, of which three are an epoch."""
    first = Scheduled("update")
    if other == "none":
        first.scheduler = None  # type: ignore[assignment]
    fit(tmp_path, first, 5)
    again = Scheduled("update" if other == "none" else "epoch")
    fit(tmp_path, again, 7, resume=True, retunes=True)
    steps = (4, 5, 6) if other == "none" else (1, 1, 2)
    assert again.rates == pytest.approx([0.1 * 0.5**step for step in steps])


def test_a_schedule_that_has_ended_is_refused_in_one_line(tmp_path: Path) -> None:
    fit(tmp_path, Scheduled("update"), 5)
    short = Scheduled("update")
    short.scheduler = partial(OneCycleLR, max_lr=0.1, total_steps=3)
    with pytest.raises(InputError, match=r"task\.scheduler ends before step 4: Tried to step"):
        fit(tmp_path, short, 7, resume=True, retunes=True)


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        (partial(SGD, lr=1, momentum=0.5), partial(SGD, lr=2, momentum=0.5, nesterov=True), True),
        (partial(Adam, lr=1), partial(Adam, lr=2, betas=(0.5, 0.9), foreach=False), True),
        (partial(Adam, lr=1, amsgrad=True), partial(Adam, lr=1, amsgrad=True), True),
        (partial(Adam, lr=1), partial(Adam, lr=1, amsgrad=True), False),
        (partial(SGD, lr=1, momentum=0.5), partial(Adam, lr=1), False),
        (partial(Adam, lr=1), partial(NAdam, lr=1), False),
        (partial(Adam, lr=1), partial(SGD, lr=1, momentum=0.5), False),
        (partial(RMSprop, lr=1), partial(RMSprop, lr=1, centered=True), False),
    ],
)
def test_moments_of_another_rule_begin_anew(
    tmp_path: Path, before: Any, now: Any, kept: bool
) -> None:
    """The next update is that of an optimizer with the saved moments, or that of a new one."""
    first, again, by_hand = Line(), Line(), Line()
    first.optimizer, again.optimizer = before, now
    fit(tmp_path, first, 5)
    path, _ = newest_valid(tmp_path / "checkpoints")
    assert path is not None and path.name == "recovery-4.ckpt"
    saved = torch.load(path, weights_only=True)
    fit(tmp_path, again, 5, resume=True, retunes=True)

    by_hand.load_state_dict(saved["state_dict"])
    optimizer = now(by_hand.parameters())
    if kept:
        moments = saved["optimizer_states"][0]["state"]
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    weight = by_hand.network.weight
    weight.grad = 2 * (weight.detach() - 3)
    optimizer.step()
    assert torch.equal(again.network.weight, weight)


@pytest.mark.parametrize(
    ("stored", "now", "batch"),
    [((4, 2), (4, 2), 5), ((4, 2), (4, 1), 10), ((4, 1), (4, 2), 3), ((6, 2), (4, 2), 8)],
)
def test_goes_behind_the_samples_that_were_seen(
    stored: tuple[int, int], now: tuple[int, int], batch: int
) -> None:
    """stored and now: batch size and processes. Five batches of stored size have been seen."""
    seen = 5 * stored[0] * stored[1]
    went: list[tuple[int, int]] = []
    data = SimpleNamespace(batch_size=now[0], go_to=lambda *place: went.append(place))
    loops: dict[str, Any] = {}
    names = {"epoch": 2, "batch": 5, "batches": 25}
    place = {**names, "batch_size": stored[0], "world_size": stored[1]}
    position.go_to(place, SimpleNamespace(datamodule=data, world_size=now[1]), loops)
    assert went == [(2, batch * now[0])]
    assert 0 <= batch * now[0] * now[1] - seen < now[0] * now[1]
    progress = loops["epoch_loop.batch_progress"]
    assert set(progress["current"].values()) == {batch}
    assert set(progress["total"].values()) == {25}


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_what_is_captured_leads_back_behind_the_same_samples(processes: int) -> None:
    """Five batches of 4 images a process, captured and taken up by as many processes."""
    total = SimpleNamespace(processed=25, completed=25)
    progress = SimpleNamespace(current=SimpleNamespace(processed=5), total=total)
    loop = SimpleNamespace(
        epoch_loop=SimpleNamespace(batch_progress=progress),
        epoch_progress=SimpleNamespace(current=SimpleNamespace(started=3, processed=2)),
    )
    went: list[tuple[int, int]] = []
    data = SimpleNamespace(batch_size=4, go_to=lambda *place: went.append(place))
    trainer: Any = SimpleNamespace(
        **{"fit_loop": loop, "datamodule": data, "num_training_batches": 9, "loggers": []},
        world_size=processes,
    )
    place = position.capture(trainer, Line(), False, random=[{}])
    position.go_to(place, trainer, {})
    assert went == [(2, 5 * 4)]  # a process has seen 20 samples, whatever the number of others
    alone = SimpleNamespace(datamodule=data, world_size=1)
    position.go_to(place, alone, {})
    assert went[1] == (2, processes * 5 * 4)


@pytest.mark.parametrize("due", [False, True])
def test_before_its_first_batch_a_run_stands_where_it_was_loaded(tmp_path: Path, due: bool) -> None:
    """But for the validation that it repeats, and the rows of that."""
    loaded = {"epoch": 3, "batch": 2, "validation_due": not due, "rows": 7}
    rows = Rows(str(tmp_path))
    for k in range(9):
        rows.log_metrics({"val/loss": 1.0}, k)
    logged: Any = SimpleNamespace(loggers=[rows])
    expected = {"epoch": 3, "batch": 2, "validation_due": due}
    place = position.capture(logged, Line(), due, loaded=loaded)
    assert place == {**expected, "rows": 9}
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 10  # written, with a head
    silent: Any = SimpleNamespace(loggers=[])
    assert position.capture(silent, Line(), due, loaded=loaded) == {**expected, "rows": 7}


@pytest.mark.parametrize("open_window", [False, True])
def test_a_run_goes_back_to_where_it_stood_before_a_batch(open_window: bool) -> None:
    """With no update since, and the gradients that an open window had; else it cannot."""
    task = Line(accumulate=3)
    batches = SimpleNamespace(processed=8, completed=7)
    progress = SimpleNamespace(current=batches, total=SimpleNamespace(processed=18, completed=17))
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        global_step=4,
    )

    def backward() -> None:
        (task.network.weight.sum() / 3).backward()

    if open_window:
        backward()
        task.batches = 1
    before = position.Before(trainer, task)
    task.batches += 1
    assert before.can_go_back(task) and before.is_exact(trainer)
    if not open_window:  # a part of the gradients that the failing batch has left
        backward()
        assert before.can_go_back(task)
    before.go_back(trainer, task)
    assert (progress.current.processed, progress.total.processed) == (7, 17)
    grad = task.network.weight.grad
    assert task.batches == int(open_window)
    assert grad is None if not open_window else torch.equal(grad, torch.full((2,), 1 / 3))
    trainer.global_step = 5
    assert not before.is_exact(trainer)
    if open_window:
        backward()
        assert not before.can_go_back(task)
    else:
        task.updates += 1
        assert not before.can_go_back(task)


def test_each_rank_takes_up_its_own_random_state_and_a_copy_of_the_gradients() -> None:
    def draws() -> list[float]:
        return [float(torch.rand(())), float(np.random.rand()), random.random()]

    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace()),
    )
    states, drawn = [], []
    for seed in range(2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        states.append(position.random_state(trainer))
        drawn.append(draws())
    gradient, task = torch.ones(2), Line()
    place = {"gradients": {"network.weight": gradient}, "random": states, "batches": 3}
    for rank in range(2):
        trainer.global_rank = rank
        position.take_up(place, trainer, task)
        assert draws() == drawn[rank]
    trainer.global_rank = 2  # one that the run did not have before
    position.take_up(place, trainer, task)
    assert task.network.weight.grad is not None and task.network.weight.grad is not gradient
    assert torch.equal(task.network.weight.grad, gradient)
    assert trainer.fit_loop.epoch_loop._batches_that_stepped == 3


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_that_is_not_finite_is_named(value: float) -> None:
    good, bad = torch.ones(2), torch.tensor([1.0, value])
    assert position.non_finite([("a", good), ("b", bad), ("c", bad)]) == "b"
    assert position.non_finite([("a", good)]) is None
