import pytest
import torch
from torch import Tensor

from restore.image import lab_from_rgb
from restore.network.color_bins import ColorBins, in_gamut
from restore.types import InputError

AB = 110


def colors(count: int = 500) -> Tensor:
    """ab [1, 2, count, 1] of random colours."""
    rgb = torch.rand(1, 3, count, 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return lab_from_rgb(rgb)[:, 1:]


def soft(bins: ColorBins, ab: Tensor) -> Tensor:
    """[B, Q, h, w]."""
    index, share = bins.encode(ab)
    dense = torch.zeros(*index.shape[:3], len(bins)).scatter_(3, index, share)
    return dense.permute(0, 3, 1, 2)


@pytest.mark.parametrize("step", [10.0, 20.0])
def test_bins_hold_every_color_of_the_cube_and_no_other(step: float) -> None:
    line = torch.linspace(-1, 1, 35)  # inside the cube as well
    cube = torch.cartesian_prod(line, line, line).T[None, :, :, None]
    ab = AB * lab_from_rgb(cube)[0, 1:, :, 0].T
    held = {tuple(place) for place in (ab / step).round().long().tolist()}
    kept = {tuple(place) for place in (in_gamut(step) / step).round().long().tolist()}
    assert held <= kept
    assert len(kept - held) <= 0.1 * len(kept)  # bins that a coarse cube misses: corners


def test_encoding_sums_to_one_and_is_of_the_nearest_bins() -> None:
    bins, ab = ColorBins(step=20.0), colors()
    index, share = bins.encode(ab)
    torch.testing.assert_close(share.sum(-1), torch.ones(share.shape[:-1]))
    place = ab.permute(0, 2, 3, 1).reshape(-1, 2)
    distance = torch.cdist(place, bins.centers)
    nearest = distance.argmin(1)
    main = index.gather(3, share.argmax(-1, keepdim=True)).flatten()
    apart = distance.gather(1, main[:, None]) - distance.gather(1, nearest[:, None])
    assert apart.max() < 2 * 20 / 5 / AB  # one step of the lattice
    assert (main == nearest).float().mean() > 0.95


def test_a_center_is_shared_as_the_gaussian_says() -> None:
    """By hand: itself, and four neighbours at one step, which is two standard deviations."""
    bins = ColorBins(step=20.0)
    _, share = bins.encode(torch.zeros(1, 2, 1, 1))
    side = torch.exp(torch.tensor(-2.0))
    expected = torch.stack([torch.ones(()), side, side, side, side]) / (1 + 4 * side)
    torch.testing.assert_close(share.flatten().sort(descending=True).values, expected)


def test_decoding_what_was_encoded_gives_the_color_back() -> None:
    bins, ab = ColorBins(step=10.0), colors()
    decoded = bins.decode(soft(bins, ab).clamp(min=1e-9).log(), temperature=1.0)
    error = (decoded - ab).norm(dim=1) * AB
    assert error.mean() < 2 and error.quantile(0.99) < 10  # of bins 10 wide; grids' edges are worst


def test_annealed_mean_is_the_mean_at_one_and_the_mode_at_zero() -> None:
    bins = ColorBins(step=20.0)
    logits = torch.randn(2, len(bins), 3, 4, generator=torch.Generator().manual_seed(0))
    mean = torch.einsum("bqhw,qc->bchw", torch.softmax(logits, 1), bins.centers)
    torch.testing.assert_close(bins.decode(logits, temperature=1.0), mean)
    mode = bins.centers[logits.argmax(1)].permute(0, 3, 1, 2)
    torch.testing.assert_close(bins.decode(logits, temperature=1e-4), mode)
    between = bins.decode(logits)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(bins.decode(logits), between)
    assert not torch.allclose(between, mean) and not torch.allclose(between, mode)


def test_rebalancing_has_mean_one_over_the_data_and_favours_rare_colors() -> None:
    bins = ColorBins(step=20.0)
    assert torch.equal(bins.rebalancing(0.5), torch.ones(len(bins)))
    counted = bins.histogram(colors() * 0.3)
    bins.distribution.copy_(counted / counted.sum())
    weight = bins.rebalancing(0.5)
    torch.testing.assert_close((weight * bins.distribution).sum(), torch.ones(()))
    order = bins.distribution.argsort()
    assert (weight[order].diff() <= 0).all() and weight[order[0]] > 2 * weight[order[-1]]
    torch.testing.assert_close(bins.rebalancing(1.0), torch.ones(len(bins)))


def test_the_histogram_counts_every_pixel_once() -> None:
    bins = ColorBins(step=20.0)
    torch.testing.assert_close(bins.histogram(colors(77)).sum(), torch.tensor(77.0))


def test_refuses_bad_settings() -> None:
    with pytest.raises(InputError, match="step=1"):
        ColorBins(step=1)
    with pytest.raises(InputError, match="temperature=0"):
        ColorBins(temperature=0)
