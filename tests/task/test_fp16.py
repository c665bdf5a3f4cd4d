"""fp16 against fp32: clipping after unscaling, and steps that the loss scaler leaves out."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from players import SIZE, adversary, batches, denoiser, trainer, weights
from test_base_task import Linear
from torch import Tensor, nn
from torch.utils.data import DataLoader

from restore.callback.ema import EMA
from restore.diffusion.sampler import Sampling, ddim
from restore.diffusion.schedule import Cosine
from restore.network.unet import UNet
from restore.task.diffusion import Diffusion
from restore.task.restoration import RestorationTask
from restore.types import Facts, NonFiniteError

UPDATES = 30
ADAMW = partial(torch.optim.AdamW, lr=0.01)
FACTS = Facts(image_channels=1, input_channels=1, image_size=SIZE, num_classes=None)


def fp16(**settings: Any) -> MixedPrecision:
    """Not from a scale of 2^16, where some of these gradients overflow."""
    scaler = torch.amp.GradScaler("cpu", **{"init_scale": 64.0, **settings})
    return MixedPrecision("16-mixed", "cpu", scaler)


def fit(folder: Path, task: Any, plugin: MixedPrecision | None = None, **settings: Any) -> None:
    loader = settings.pop("loader", None) or batches(4, 4 * UPDATES)
    plugins = [] if plugin is None else [plugin]
    trainer(folder, plugins=plugins, **settings).fit(task, loader)


def diffusion(**settings: Any) -> Diffusion:
    torch.manual_seed(0)
    network = partial(UNet, width=4, multipliers=(1, 2), num_blocks=1, attention=(), head_size=4)
    sampler = Sampling(ddim, 4)
    return Diffusion(FACTS, network, Cosine(), sampler, optimizer=ADAMW, clip_norm=0.1, **settings)


def gan(**settings: Any) -> Any:
    second = adversary(r1_gamma=0.1, r1_every=2)
    return denoiser(adversary=second, clip_norm=0.05, **settings)


@pytest.mark.parametrize(
    ("make", "names", "tolerance"),
    [
        (diffusion, ["network"], 0.2),  # Adam enlarges what fp16 rounds in small gradients
        (gan, ["network", "adversary"], 0.03),
        (partial(gan, accumulate=2), ["network", "adversary"], 0.03),
    ],
    ids=["diffusion", "gan", "gan, accumulating"],
)
def test_fp16_learns_what_fp32_learns(
    tmp_path: Path, make: Callable[[], Any], names: list[str], tolerance: float
) -> None:
    tasks = exact, half = make(), make()
    start = [weights(getattr(exact, name)) for name in names]
    for task, plugin in zip(tasks, (None, fp16()), strict=True):
        fit(tmp_path, task, plugin)
    assert exact.updates == half.updates == UPDATES // exact.accumulate
    for old, name in zip(start, names, strict=True):
        a, b = weights(getattr(exact, name)), weights(getattr(half, name))
        assert (a - old).norm() > 0.05
        assert (b - a).norm() < tolerance * (a - old).norm()


def test_a_window_of_the_second_player_sees_two_scales(tmp_path: Path) -> None:
    """The first player's step doubles the scale while gradients of the second one wait."""
    tasks = exact, half = denoiser(accumulate=2), denoiser(accumulate=2)
    start = weights(exact.adversary)
    for task, plugin in zip(tasks, (None, fp16(growth_interval=1)), strict=True):
        fit(tmp_path, task, plugin, limit_train_batches=6)
    travelled = (weights(exact.adversary) - start).norm()
    assert (weights(half.adversary) - weights(exact.adversary)).norm() < 0.01 * travelled


def test_the_step_is_as_long_as_clip_norm(tmp_path: Path) -> None:
    task = denoiser(1.0, adversary=adversary(1.0), clip_norm=0.01)
    old = [weights(task.network), weights(task.adversary)]
    fit(tmp_path, task, fp16(), limit_train_batches=1)
    new = [weights(task.network), weights(task.adversary)]
    lengths = [(a - b).norm().item() for a, b in zip(old, new, strict=True)]
    assert lengths == pytest.approx([0.01, 0.01], rel=1e-3)


def test_a_fused_optimizer_is_clipped_unscaled(tmp_path: Path) -> None:
    fused = partial(torch.optim.SGD, lr=1.0, fused=True)
    task = Linear(clip_norm=0.01)
    task.optimizer = fused
    old = weights(task)
    fit(tmp_path, task, fp16(), loader=vectors(1))
    assert (weights(task) - old).norm().item() == pytest.approx(0.01, rel=1e-3)


def vectors(count: int) -> DataLoader[Any]:
    targets = torch.randn(count, 3, generator=torch.Generator().manual_seed(2))
    return DataLoader([{"target": t, "index": i} for i, t in enumerate(targets)])  # type: ignore[arg-type]


def overflowing(parameter: nn.Parameter, calls: set[int]) -> None:
    """Makes the gradient of a parameter infinite in some calls of backward, counted from 0."""
    count = iter(range(10**6))

    def spoil(gradient: Tensor) -> Tensor:
        return gradient * torch.inf if next(count) in calls else gradient

    parameter.register_hook(spoil)


def test_a_step_left_out_is_no_update(tmp_path: Path) -> None:
    """By hand: plain SGD that never saw the two batches whose gradients overflowed."""
    halving = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    task, average = Linear(lr=0.1, scheduler=halving), EMA(decay=0.9)
    w, b = (p.detach().clone() for p in task.network.parameters())
    overflowing(task.network.weight, {1, 3})
    plugin = fp16()
    loader = vectors(6)
    fit(tmp_path, task, plugin, loader=loader, callbacks=[average])
    assert task.updates == average.updates == 4
    assert plugin.scaler is not None and plugin.scaler.get_scale() == 16
    targets = [batch["target"] for batch in loader]
    for update, k in enumerate((0, 2, 4, 5)):
        rate = 0.1 * 0.5**update
        slope = 2 * (targets[k] @ w.T + b - 5)
        w, b = w - rate * slope * targets[k], b - rate * slope[0]
    expected = torch.cat([w.flatten(), b])
    torch.testing.assert_close(weights(task), expected, rtol=2e-3, atol=2e-3)
    optimizer: Any = task.optimizers()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**4)


@pytest.mark.parametrize("culprit", ["network", "adversary"])
def test_a_player_left_out_does_not_hold_the_other(tmp_path: Path, culprit: str) -> None:
    halving = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    task = denoiser(adversary=adversary(scheduler=halving), scheduler=halving)
    overflowing(next(getattr(task, culprit).parameters()), {0})
    old = {name: weights(getattr(task, name)) for name in ("network", "adversary")}
    fit(tmp_path, task, fp16(), limit_train_batches=1)
    for name, before in old.items():
        assert torch.equal(weights(getattr(task, name)), before) == (name == culprit)
    assert task.updates == (culprit != "network")
    optimizers: Any = task.optimizers()
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    assert rates == pytest.approx([0.1 * 0.5**task.updates] * 2)


def test_gradients_that_stay_infinite_end_the_run(tmp_path: Path) -> None:
    """No update would ever come, and so no end."""
    task = Linear()
    overflowing(task.network.weight, set(range(100)))
    with pytest.raises(NonFiniteError, match=r"fp16 are not finite at update 0.*bf16-mixed"):
        fit(tmp_path, task, fp16(), loader=vectors(100))


def test_an_infinite_gradient_of_fp32_is_named(tmp_path: Path) -> None:
    task: RestorationTask = Linear()
    overflowing(next(iter(task.network.parameters())), {2})
    with pytest.raises(NonFiniteError, match=r"network\.weight is not finite at update 2"):
        fit(tmp_path, task, loader=vectors(4))


def test_finite_gradients_of_an_infinite_norm_end_the_run(tmp_path: Path) -> None:
    """The scaler would step, and clipping would have made the step nothing."""
    task = Linear(clip_norm=1.0)
    task.network.weight.register_hook(lambda gradient: torch.full_like(gradient, 3e38))
    with pytest.raises(NonFiniteError, match="all parameters together is not finite at update 0"):
        fit(tmp_path, task, fp16(), loader=vectors(1))
