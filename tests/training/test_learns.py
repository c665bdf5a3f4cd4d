"""Losses that teach a network nothing are found before the first update."""

from pathlib import Path
from typing import Any

import pytest
import torch
from line import Line
from torch import Tensor

from restore.config.compose import composed
from restore.task import dry
from restore.task.denoising import Denoiser
from restore.task.dry import check_learns
from restore.training import run
from restore.types import Batch, InputError


class Saying(Line):
    """makes: what its losses are, of the one that Line has."""

    def __init__(self, makes: Any) -> None:
        super().__init__()
        self.makes = makes

    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        said: dict[str, Tensor] = self.makes(super().losses(batch, epoch)["square"])
        return said


@pytest.fixture
def sample() -> Batch:
    image = torch.zeros(1, 1, 2, 2)
    return {"target": image, "input": image, "index": torch.tensor([0]), "name": ["a"]}


@pytest.mark.parametrize(
    ("makes", "said"),
    [
        (lambda term: None, "are NoneType: they must be a dict of names to scalars"),
        (lambda term: term, "are Tensor: they must be"),
        (lambda term: {}, "are dict: they must be"),
        (lambda term: {"l2": term.expand(1)}, r"are {'l2': '\[1\]'}: they must be"),
        (lambda term: {"l2": term, "own": 0.5}, "'own': 'float'}: they must be"),
        (lambda term: {"l2": term.detach()}, ", l2, lead to no weight of its network"),
    ],
)
def test_losses_that_teach_nothing_are_refused(makes: Any, said: str, sample: Batch) -> None:
    with pytest.raises(InputError, match=rf"the losses of {__name__}\.Saying.*{said}"):
        check_learns(Saying(makes), sample)


def test_one_term_that_teaches_is_enough(sample: Batch) -> None:
    task = Saying(lambda term: {"l2": term, "seen": term.detach()})
    before = torch.get_rng_state()
    check_learns(task, sample)
    assert task.training and torch.equal(torch.get_rng_state(), before)
    assert all(weight.grad is None for weight in task.parameters())


def test_losses_that_ask_for_their_trainer_are_left_to_the_training(sample: Batch) -> None:
    task = Saying(lambda term: {"l2": term.detach() * task.trainer.world_size})
    check_learns(task, sample)


def test_losses_that_derive_something_are_left_to_the_training(sample: Batch) -> None:
    def penalty(term: Tensor) -> dict[str, Tensor]:
        weight = torch.ones(3, requires_grad=True)
        (slope,) = torch.autograd.grad((weight * term).sin().sum(), weight, create_graph=True)
        return {"l2": slope.sum()}

    check_learns(Saying(penalty), sample)


def test_nothing_is_kept_for_a_backward_pass(sample: Batch) -> None:
    """Which never comes, and a photo of validation may be large."""
    kept: list[Any] = []

    def watched(term: Tensor) -> dict[str, Tensor]:
        made = term.sin()
        kept.append(made.grad_fn)
        return {"l2": made}

    check_learns(Saying(watched), sample)
    with pytest.raises(dry._BackwardError):
        _ = kept[0]._saved_self


def test_a_training_asks_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = Denoiser.losses

    def cut_off(task: Denoiser, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        return {name: term.detach() for name, term in losses(task, batch, epoch).items()}

    monkeypatch.setattr(Denoiser, "losses", cut_off)
    settings = ["experiment=denoise_photos_regression", "debug=smoke", "benchmark=[]"]
    with pytest.raises(InputError, match=r"denoising\.Denoiser, l1, lead to no weight"):
        run.prepare(composed("train", settings), tmp_path / "run", "id", settings, {})
    assert not (tmp_path / "run").exists()
