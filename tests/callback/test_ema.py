from pathlib import Path

import numpy as np
import pytest
import torch
from line import Line, fit

from restore.callback.ema import EMA
from restore.callback.progress import MaxUpdates
from restore.recovery.best import Checkpoint
from restore.types import InputError


def closed_form(history: list[torch.Tensor], decay: float) -> np.ndarray:
    """The average of weights [n, 2] after updates 1 .. n, from the start (1, -2), in float64."""
    average = np.array([1.0, -2.0])
    for n, weight in enumerate(history, start=1):
        kept = min(decay, (1 + n) / (10 + n))
        average = kept * average + (1 - kept) * weight.double().numpy()
    return average


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_average_in_closed_form(tmp_path: Path, accumulate: int, decay: float) -> None:
    task, ema = Line(accumulate), EMA(decay)
    fit(tmp_path, task, ema, MaxUpdates(11))
    assert ema.updates == task.updates == 11
    after_updates = task.history[accumulate - 1 :: accumulate]
    expected = closed_form(after_updates, decay)
    np.testing.assert_allclose(ema.average["weight"].numpy(), expected, atol=1e-6)


def test_validation_sees_the_average_and_training_goes_on_raw(tmp_path: Path) -> None:
    task, alone = Line(), Line()
    fit(tmp_path, task, EMA(0.9), MaxUpdates(8))
    fit(tmp_path, alone, MaxUpdates(8), every=8)
    for seen, n in zip(task.validated, (4, 8), strict=True):
        np.testing.assert_allclose(seen.numpy(), closed_form(task.history[:n], 0.9), atol=1e-6)
    assert all(map(torch.equal, task.history, alone.history))
    assert torch.equal(task.network.weight, alone.history[-1])


def test_failed_validation_gives_the_raw_weights_back(tmp_path: Path) -> None:
    task = Line()
    task.fails = True
    with pytest.raises(RuntimeError, match="validation broke"):
        fit(tmp_path, task, EMA(), MaxUpdates(8))
    assert torch.equal(task.network.weight, task.history[-1])


def test_only_parameters_of_the_restorer_are_averaged(tmp_path: Path) -> None:
    task, ema = Line(), EMA()
    fit(tmp_path, task, ema, MaxUpdates(5))
    assert list(ema.average) == ["weight"]
    assert task.network.count == 5  # the live buffer


def test_state_survives_a_checkpoint(tmp_path: Path) -> None:
    first, ema = Line(), EMA(0.9)
    fit(tmp_path, first, ema, MaxUpdates(4), Checkpoint("last"))
    content = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert torch.equal(content["state_dict"]["network.weight"], first.history[-1])
    assert content["ema"]["updates"] == 4
    assert torch.equal(content["ema"]["weights"]["weight"], ema.average["weight"])

    other, task = EMA(0.9), Line()
    other.on_load_checkpoint(None, task, content)  # type: ignore[arg-type]
    other.on_fit_start(None, task)  # type: ignore[arg-type]
    assert other.updates == 4
    assert torch.equal(other.average["weight"], ema.average["weight"])


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_impossible_decay(decay: float) -> None:
    with pytest.raises(InputError, match=f"decay={decay}"):
        EMA(decay)
