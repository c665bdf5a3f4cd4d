from collections.abc import Callable

import pytest
import torch

from restore.metric.diversity import Diversity
from restore.types import Batch, InputError

MakeBatch = Callable[..., Batch]


def test_is_the_mean_over_pairs(make_batch: MakeBatch) -> None:
    target = torch.zeros(2, 1, 4, 4)
    levels = torch.tensor([[0.0, 51, 153], [20, 20, 20]]) / 255
    samples = levels.view(2, 3, 1, 1, 1).expand(2, 3, 1, 4, 4)
    values = Diversity()(samples, target, make_batch(target)).tolist()
    assert values == pytest.approx([(51 + 153 + 102) / 3 / 255, 0], abs=1e-9)


def test_does_not_depend_on_the_order_of_samples(make_batch: MakeBatch) -> None:
    target = torch.zeros(1, 3, 4, 4)
    samples = torch.rand(1, 4, 3, 4, 4)
    expected = Diversity()(samples, target, make_batch(target)).item()
    shuffled = Diversity()(samples[:, [2, 0, 3, 1]], target, make_batch(target)).item()
    assert shuffled == pytest.approx(expected, abs=1e-12)


def test_refuses_a_single_sample_and_a_missing_axis(make_batch: MakeBatch) -> None:
    target = torch.zeros(1, 3, 4, 4)
    with pytest.raises(InputError, match="2 or more"):
        Diversity()(target[:, None], target, make_batch(target))
    with pytest.raises(InputError, match="5 axes"):
        Diversity()(target, target, make_batch(target))
