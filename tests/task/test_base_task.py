"""One meaning of an update for every task: accumulation, clipping, finite losses, schedules."""

import copy
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from restore.task.base import NonFiniteError, Task, replace_attribute
from restore.task.learning import OneCycle
from restore.types import Batch, Facts, InputError


class Linear(Task):
    """Least squares on batches of `target`; poison makes the loss NaN at that update."""

    def __init__(self, lr: float = 0.1, poison: int | None = None, **settings: Any) -> None:
        super().__init__(Facts(1, 1, 1, None), partial(torch.optim.SGD, lr=lr), **settings)
        torch.manual_seed(0)
        self.network = nn.Linear(3, 1)
        self.poison = poison

    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        error = (self.network(batch["target"]) - 5).square().mean()
        return {"square": error * (torch.nan if self.updates == self.poison else 1.0)}


def fit(
    folder: Path, task: Task, batch_size: int, num_batches: int, validates: bool = False
) -> Trainer:
    """validates: after every batch."""
    generator = torch.Generator().manual_seed(2)
    samples = [
        {"target": target, "index": i}
        for i, target in enumerate(torch.randn(16, 3, generator=generator))
    ]
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_epochs=1,
        limit_train_batches=num_batches,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        val_check_interval=1 if validates else None,
        num_sanity_val_steps=0,
    )
    loader: Any = DataLoader(samples, batch_size=batch_size)
    trainer.fit(task, loader, loader if validates else None)
    return trainer


def weights(task: Linear) -> Tensor:
    return torch.cat([p.detach().flatten() for p in task.parameters()])


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    small, large = Linear(accumulate=4), Linear()
    fit(tmp_path, small, 2, 8)
    fit(tmp_path, large, 8, 2)
    assert small.updates == large.updates == 2
    assert (weights(small) - weights(large)).abs().max() <= 1e-6


def test_a_validation_amid_a_window_of_batches_costs_none_of_its_gradients(tmp_path: Path) -> None:
    validated, plain = Linear(accumulate=4), Linear(accumulate=4)
    fit(tmp_path, validated, 2, 8, validates=True)
    fit(tmp_path, plain, 2, 8)
    assert validated.updates == 2 and torch.equal(weights(validated), weights(plain))


@pytest.mark.parametrize("num_updates", [2, 3])
def test_updates_are_plain_gradient_descent_by_hand(tmp_path: Path, num_updates: int) -> None:
    """The slope of each batch alone: nothing of the batches before it is left."""
    task = Linear(lr=0.1)
    w, b = (p.detach().clone() for p in task.network.parameters())
    targets = torch.randn(16, 3, generator=torch.Generator().manual_seed(2))
    for batch in targets[: 4 * num_updates].split(4):
        error = 2 * (batch @ w.T + b - 5) / 4
        w, b = w - 0.1 * (error.T @ batch), b - 0.1 * error.sum(0)
    fit(tmp_path, task, 4, num_updates)
    torch.testing.assert_close(weights(task), torch.cat([w.flatten(), b]))


def test_open_window_is_no_update(tmp_path: Path) -> None:
    task = Linear(accumulate=3)
    fit(tmp_path, task, 1, 5)
    assert (task.updates, task.batches) == (1, 5)


def test_clip_norm_bounds_the_step(tmp_path: Path) -> None:
    task = Linear(lr=1.0, clip_norm=0.01)
    before = weights(task)
    fit(tmp_path, task, 8, 1)
    assert (weights(task) - before).norm().item() == pytest.approx(0.01, rel=1e-4)
    free = Linear(lr=1.0)
    fit(tmp_path, free, 8, 1)
    assert (weights(free) - before).norm() > 1


def test_scheduler_steps_once_an_update(tmp_path: Path) -> None:
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    task = Linear(lr=0.8, accumulate=2, scheduler=schedule)
    fit(tmp_path, task, 1, 6)
    optimizer: Any = task.optimizers()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.8 * 0.5**3)


def test_scheduler_steps_once_an_epoch_where_that_is_its_interval(tmp_path: Path) -> None:
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    task = Linear(lr=0.8, scheduler=schedule, scheduler_interval="epoch")
    fit(tmp_path, task, 1, 6)
    optimizer: Any = task.optimizers()
    assert task.updates == 6 and optimizer.param_groups[0]["lr"] == pytest.approx(0.4)


def test_loss_that_is_not_finite_is_named(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="loss term square is nan at update 2"):
        fit(tmp_path, Linear(poison=2), 1, 5)


def test_progress_travels_in_checkpoints(tmp_path: Path) -> None:
    task, other = Linear(accumulate=3), Linear(accumulate=3)
    fit(tmp_path, task, 1, 5)
    content: dict[str, Any] = {}
    task.on_save_checkpoint(content)
    other.on_load_checkpoint(copy.deepcopy(content))
    assert (other.updates, other.batches) == (1, 5)


@pytest.mark.parametrize("setting", [{"accumulate": 0}, {"clip_norm": 0.0}, {"clip_norm": -1.0}])
def test_impossible_settings(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(InputError, match=f"task.{name}={setting[name]}"):
        Linear(**setting)


def test_check_names_what_an_optimizer_refuses() -> None:
    with pytest.raises(InputError, match="Invalid learning rate: -1"):
        Linear(lr=-1.0).check()


def test_check_names_a_schedule_that_cannot_be_stepped() -> None:
    once = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=20, pct_start=0.05)
    with pytest.raises(InputError, match="change max_updates"):
        Linear(scheduler=once).check()


@pytest.mark.parametrize(("total", "share"), [(20, 0.05), (10, 0.1), (3, 1 / 3), (49, 1 / 49)])
def test_a_cycle_may_rise_in_one_update(total: int, share: float) -> None:
    """The rate of torch, by hand: from its largest, half a cosine to 1 / (25 * 10^4) of that."""
    task = Linear(scheduler=partial(OneCycle, max_lr=0.1, total_steps=total, pct_start=share))
    task.check()
    [optimizer], [schedule] = task.configure_optimizers()
    for update in range(total):
        wave = (1 + math.cos(math.pi * update / (total - 1))) / 2
        least = 0.1 / 25e4
        assert optimizer.param_groups[0]["lr"] == pytest.approx(least + (0.1 - least) * wave)
        optimizer.step()
        if update < total - 1:
            schedule.step()


@pytest.mark.parametrize("total", [1, 19, 21, 40, 1000])
def test_other_cycles_are_those_of_torch(total: int) -> None:
    rates = []
    for kind in (OneCycle, torch.optim.lr_scheduler.OneCycleLR):
        given: Any = {"max_lr": 0.1, "total_steps": total, "pct_start": 0.05}
        task = Linear(scheduler=partial(kind, cycle_momentum=False, **given))
        [optimizer], [schedule] = task.configure_optimizers()
        rates.append([optimizer.param_groups[0]["lr"]])
        for _ in range(total - 1):
            optimizer.step()
            schedule.step()
            rates[-1].append(optimizer.param_groups[0]["lr"])
    assert rates[0] == rates[1] and len(rates[0]) == total


def test_every_process_draws_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """All begin with the same weights, of one seed, and differ from their first draw on; rank 0
    draws what a run of one process does."""
    task, drawn = Linear(), dict[int, Tensor]()
    for rank in range(3):
        torch.manual_seed(5)
        monkeypatch.setattr(Task, "trainer", SimpleNamespace(global_rank=rank))
        task.on_train_start()
        drawn[rank] = torch.rand(4)
    torch.manual_seed(5)
    torch.testing.assert_close(drawn[0], torch.rand(4), rtol=0, atol=0)
    assert len({tuple(one.tolist()) for one in drawn.values()}) == 3


def test_all_processes_validate_the_statistics_that_are_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch normalisation has running statistics of its own process after each step."""
    task, sent = Linear(), list[tuple[int, int]]()
    task.network = nn.BatchNorm1d(3)
    buffers = [(id(one), 0) for one in task.network.buffers()]
    monkeypatch.setattr(
        torch.distributed, "broadcast", lambda one, src: sent.append((id(one), src))
    )
    for world in (1, 2):
        monkeypatch.setattr(Task, "trainer", SimpleNamespace(world_size=world))
        task.on_validation_start()
        assert sent == buffers * (world - 1) and len(buffers) == 3


def test_weights_of_batches_can_be_divided_by_the_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lightning divides their sum in integers: of 3 + 2 images it would make 2 of each process."""
    task = Linear()
    for world in (1, 2, 3):
        monkeypatch.setattr(Task, "trainer", SimpleNamespace(world_size=world))
        weighed = [task.weight(Batch(index=torch.arange(n))) for n in (3, 2)]  # type: ignore[typeddict-item]
        assert weighed == [3 * world, 2 * world]


def test_what_is_replaced_comes_back_after_an_error() -> None:
    task = Linear()
    own = task.network
    with pytest.raises(KeyError), replace_attribute(task, "network", nn.Identity()):
        assert isinstance(task.network, nn.Identity)
        raise KeyError
    assert task.network is own
