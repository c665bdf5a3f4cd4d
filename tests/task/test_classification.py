"""A classifier's losses, by hand."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restore.task.classification import Classification
from restore.types import Batch, Facts, InputError

FACTS = Facts(image_channels=1, input_channels=1, image_size=2, num_classes=4)


class Logits(nn.Module):
    """Says the four pixels of an image."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) * self.weight


def classifier(**settings: Any) -> Classification:
    sgd = partial(torch.optim.SGD, lr=0.1)
    return Classification(FACTS, Logits, **{"optimizer": sgd, **settings})


def test_labels_are_smoothed_in_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    task, logged = classifier(label_smoothing=0.2), dict[str, float]()
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.update({name: float(value)}))
    monkeypatch.setattr(task, "weight", lambda batch: len(batch["index"]))
    target = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    label = target.flatten(1).argmax(1)
    label[0] = (label[0] + 1) % 4  # one of five is told wrongly
    data = Batch(target=target, input=target, index=torch.arange(5), name=[""] * 5, label=label)
    chances = target.flatten(1).softmax(1)
    plain = -chances[range(5), label].log()
    smoothed = 0.8 * plain - 0.2 * chances.log().mean(1)
    torch.testing.assert_close(task.losses(data, 3)["entropy"], smoothed.mean())
    assert logged == {}
    torch.testing.assert_close(task.losses(data, None)["entropy"], plain.mean())
    assert logged == {"val/error_rate": pytest.approx(0.2)}


def test_what_cannot_be_learnt_is_refused() -> None:
    for smoothing in (-0.1, 1.0):
        with pytest.raises(InputError, match="label_smoothing"):
            classifier(label_smoothing=smoothing)
    with pytest.raises(InputError, match="needs labels"):
        Classification(Facts(1, 1, 2, None), Logits, optimizer=partial(torch.optim.SGD, lr=0.1))
