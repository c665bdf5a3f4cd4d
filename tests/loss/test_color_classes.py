import pytest
import torch
from torch import Tensor

from restore.loss.color_classes import ColorClasses
from restore.network.color_bins import ColorBins
from restore.types import InputError


def made(bins: ColorBins, **settings: float) -> ColorClasses:
    loss = ColorClasses(**settings)
    loss.use(bins)
    return loss


def sample(bins: ColorBins, size: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, len(bins), size, size, generator=generator)
    return logits, torch.rand(2, 2, size, size, generator=generator) - 0.5


@pytest.mark.parametrize("uniform", [0.5, 1.0])
def test_cross_entropy_by_hand(uniform: float) -> None:
    bins = ColorBins(step=25.0)
    logits, ab = sample(bins)
    counted = bins.histogram(ab)
    bins.distribution.copy_(counted / counted.sum())
    index, share = bins.encode(ab)
    weight = bins.rebalancing(uniform)
    expected = torch.zeros(2)
    for b in range(2):
        for i in range(4):
            for j in range(4):
                told = torch.log_softmax(logits[b, :, i, j], 0)
                near, part = index[b, i, j], share[b, i, j]
                entropy = -sum(part[k] * told[near[k]] for k in range(len(near)))
                expected[b] += weight[near[part.argmax()]] * entropy / 16
    found = made(bins, weight=3.0, uniform=uniform)((logits, ab), ab, None)["classes"]
    torch.testing.assert_close(found, 3 * expected)


def test_least_where_the_network_says_what_is_true() -> None:
    bins = ColorBins(step=25.0)
    logits, ab = sample(bins)
    index, share = bins.encode(ab)
    dense = torch.zeros(2, 4, 4, len(bins)).scatter_(3, index, share).permute(0, 3, 1, 2)
    loss = made(bins)
    best = loss((dense.clamp(min=1e-12).log(), ab), ab, None)["classes"]
    entropy = -(share * share.log()).sum(-1).flatten(1).mean(1)
    torch.testing.assert_close(best, entropy)
    assert (best < loss((logits, ab), ab, None)["classes"]).all()


def test_compares_at_the_size_of_the_logits() -> None:
    bins = ColorBins(step=25.0)
    logits, ab = sample(bins)
    large = ab.repeat_interleave(2, 2).repeat_interleave(2, 3)
    small, full = (made(bins)((logits, ab), target, None)["classes"] for target in (ab, large))
    torch.testing.assert_close(small, full)


def test_refuses_bad_settings() -> None:
    with pytest.raises(InputError, match="weight=0"):
        ColorClasses(weight=0)
    with pytest.raises(InputError, match="uniform=0"):
        ColorClasses(uniform=0)
