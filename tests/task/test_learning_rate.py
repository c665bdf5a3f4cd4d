"""The learning rate is logged over updates, whatever the batches of one and the optimizers."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers.logger import DummyLogger
from players import adversary, batches, denoiser
from torch.optim.optimizer import register_optimizer_step_pre_hook

from restore.callback.learning_rate import LearningRates
from restore.training import run
from restore.types import Facts

START, GAMMA = 0.1, 0.5


class Rows(DummyLogger):
    """Keeps what is logged as (step, name, value)."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, str, float]] = []

    def log_metrics(self, metrics: Any, step: int | None = None, *args: Any, **kw: Any) -> None:
        self.rows += [(step, name, float(value)) for name, value in metrics.items()]


def fitted(folder: Path, callback: LearningRateMonitor, accumulate: int, **settings: Any) -> Rows:
    halving = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=GAMMA)
    task = denoiser(START, scheduler=halving, accumulate=accumulate, **settings)
    logger = Rows()
    quiet: Any = {"enable_progress_bar": False, "enable_model_summary": False}
    Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=logger,
        callbacks=[callback],
        enable_checkpointing=False,
        log_every_n_steps=1,
        max_epochs=1,
        **quiet,
    ).fit(task, batches(4))
    assert task.updates == 8 // accumulate
    return logger


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("players", [1, 2])
def test_rate_after_n_updates(tmp_path: Path, accumulate: int, players: int) -> None:
    alone: dict[str, Any] = {"adversary": None} if players == 1 else {}
    rows = fitted(tmp_path, LearningRates(), accumulate, **alone).rows
    rates = [(step, value) for step, name, value in rows if name.startswith("lr-")]
    assert {step for step, _ in rates} == set(range(8 // accumulate))
    for n in range(8 // accumulate):
        assert any(s == n and v == pytest.approx(START * GAMMA**n) for s, v in rates)
    losses = {step for step, name, _ in rows if name == "train/loss"}
    assert losses <= set(range(8 // accumulate + 1))  # the same axis


def test_a_monitor_of_lightning_becomes_ours() -> None:
    nodes = {"lr": {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor"}, "none": None}
    off = {
        "off": {"_target_": None, "num_images": 2}
    }  # as conf/callback/classifier.yaml leaves one
    facts = Facts(image_channels=1, input_channels=1, image_size=8, num_classes=None)
    made = run.callbacks({"callback": nodes | off, "data": {}}, facts, "any", None)
    assert type(made["lr"]) is LearningRates and not made.keys() & {"none", "off"}


def test_by_epoch(tmp_path: Path) -> None:
    rows = fitted(tmp_path, LearningRates(logging_interval="epoch"), 1, adversary=None).rows
    assert [(s, v) for s, name, v in rows if name.startswith("lr-")] == [(0, START)]


def changes(values: list[float]) -> list[float]:
    """Without what Lightning repeats in the rows between two steps."""
    return [one for n, one in enumerate(values) if n == 0 or one != values[n - 1]]


@pytest.mark.parametrize(("accumulate", "every"), [(1, 1), (4, 1), (1, 2)])
def test_rates_and_norms_of_both_players_are_logged(
    tmp_path: Path, accumulate: int, every: int
) -> None:
    """Against the gradients that torch's optimizers were given, before they are clipped."""
    norms: dict[float, list[float]] = {}  # by the start of the player's rate

    def note(optimizer: Any, *given: Any) -> None:
        (group,) = optimizer.param_groups
        squares = [p.grad.double().square().sum() for p in group["params"] if p.grad is not None]
        norms.setdefault(group["initial_lr"], []).append(float(torch.stack(squares).sum() ** 0.5))

    halving = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=GAMMA)
    second = adversary(0.3, scheduler=halving, discriminator_every=every)
    hook = register_optimizer_step_pre_hook(note)
    try:
        rows = fitted(tmp_path, LearningRates(), accumulate, adversary=second, clip_norm=1e-3).rows
    finally:
        hook.remove()
    for player, start, turn in (("", START, 1), ("discriminator_", 0.3, every)):
        logged = changes([v for _, name, v in rows if name == f"optimizer/{player}gradient_norm"])
        assert logged == pytest.approx(norms[start], rel=1e-5) and min(logged) > 1e-3
        rates = changes([v for _, name, v in rows if name == f"optimizer/{player}learning_rate"])
        by_hand = [start * GAMMA ** (turn * n) for n in range(len(norms[start]))]
        assert rates == pytest.approx(by_hand)
    assert len(norms[START]) == every * len(norms[0.3]) == 8 // accumulate
