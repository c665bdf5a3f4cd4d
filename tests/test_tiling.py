"""Tiles: what they cover, how they fade, and that they are the whole image where they can be."""

from itertools import pairwise

import pytest
import torch
from on_gpu import OnGPU
from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.bias_free import BiasFreeUNet
from restore.network.kair import TrainableDRUNet
from restore.network.unet import UNet
from restore.tiling import SIDE, Span, Tiled, around, spans, weights

CASES = [  # length, side, margin, blend, factor
    (1, 40, 4, 4, 1),
    (41, 40, 4, 4, 1),
    (200, 40, 8, 8, 4),
    (203, 48, 8, 8, 8),
    (97, 24, 4, 0, 1),
    (300, 16, 20, 8, 4),
    (2003, 512, 48, 32, 128),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_spans_cover_an_axis_with_their_margins(case: tuple[int, ...]) -> None:
    length, side, margin, blend, factor = case
    made = spans(*case)
    assert made[0].low == 0 and made[-1].high == length
    for before, after in pairwise(made):
        assert before.high == after.fade and before.low <= after.low
    for span in made:
        assert span.start % factor == 0
        assert span.start <= span.low <= span.fade <= span.high <= span.stop
        assert span.start == 0 or span.low - span.start >= margin
        assert span.stop == length or span.stop - span.high >= margin
        if side >= 2 * (margin + blend // 2 + factor) + max(blend, factor):
            assert span.stop - span.start <= side


def test_an_axis_of_one_side_is_one_tile() -> None:
    assert spans(40, 40, 4, 4) == [Span(0, 40, 0, 40, 0, 0)]
    assert len(spans(41, 40, 4, 4)) == 2


def test_weights_are_a_partition_of_unity() -> None:
    """Of the two tiles in a cross-fade, one falls as the other rises: the same line mirrored."""
    for span in spans(200, 40, 8, 8)[1:]:
        rising = weights(span)
        assert len(rising) == 8 and torch.all(rising.diff() > 0)
        assert rising[0] > 0 and rising[-1] < 1
        assert torch.allclose(rising + rising.flip(0), torch.ones(8))


class Watched(nn.Module):
    """Keeps the sizes that a network was shown."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.sizes: list[tuple[int, ...]] = []
        self.factor = getattr(network, "factor", 1)

    def forward(self, image: Tensor, *others: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape[-2:]))
        made: Tensor = self.network(image, *others)
        return made


@pytest.mark.parametrize("size", [(1, 1), (33, 200), (200, 33), (101, 150)], ids=str)
def test_an_identity_is_exact_and_sees_no_more_than_a_tile(size: tuple[int, int]) -> None:
    image = torch.randn(2, 3, *size)
    watched = Watched(nn.Identity())
    assert torch.equal(Tiled(watched, side=48, margin=8, blend=8)(image), image)
    assert max(max(seen) for seen in watched.sizes) <= 48
    assert (len(watched.sizes) > 1) == (max(size) > 48)


def test_convolutions_are_those_of_the_whole_image() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Conv2d(2, 2, 5, padding=2) for _ in range(4))).double()
    image = torch.randn(1, 2, 90, 133, dtype=torch.float64)
    tiled = Tiled(network, side=48, margin=8, blend=8)  # the receptive field reaches 8 px
    assert torch.allclose(tiled(image), network(image), atol=1e-12)
    short = Tiled(network, side=48, margin=6, blend=8)
    assert not torch.allclose(short(image), network(image), atol=1e-9)


def test_a_strided_network_is_cut_at_multiples_of_its_factor() -> None:
    torch.manual_seed(0)
    network = BiasFreeUNet(1, widths=(4, 4), num_blocks=1).double()
    image, sigma = (
        torch.randn(2, 1, 150, 101, dtype=torch.float64),
        torch.tensor([0.1, 0.3]).double(),
    )
    watched = Watched(network)
    made = Tiled(watched, side=96, margin=28, blend=8)(image, sigma)
    assert torch.allclose(made, network(image, sigma), atol=1e-12)
    assert len(watched.sizes) > 2


def test_a_published_network_is_cut_at_multiples_of_its_factor() -> None:
    torch.manual_seed(0)
    network = TrainableDRUNet(1, width=4, num_blocks=1).double()
    image, sigma = torch.randn(1, 1, 40, 260).double(), torch.tensor([0.1]).double()
    made = Tiled(network, side=160, margin=56, blend=8)(image, sigma)
    assert torch.allclose(made, network(image, sigma), atol=1e-12)


def test_neighbours_that_disagree_meet_without_a_step() -> None:
    class Darker(nn.Module):
        calls = 0

        def forward(self, image: Tensor) -> Tensor:
            self.calls += 1
            return torch.full_like(image, self.calls % 2)

    made = Tiled(Darker(), side=48, margin=4, blend=16)(torch.zeros(1, 1, 20, 130))
    steps = made[0, 0, 0].diff().abs()
    assert made.max() == 1 and made.min() == 0 and float(steps.max()) <= 1 / 16 + 1e-6


def test_the_last_of_several_outputs_is_blended() -> None:
    class Two(nn.Module):
        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return image - 1, image + 1

    image = torch.randn(1, 1, 64, 64)
    made = Tiled(Two(), side=32, margin=4, blend=4)(image)
    assert isinstance(made, tuple) and torch.equal(made[-1], image + 1)
    whole = Tiled(Two(), side=64, margin=4, blend=4)(image)  # as the network gives it: all outputs
    assert torch.equal(whole[0], image - 1) and torch.equal(whole[1], image + 1)


def test_tiles_that_nobody_needs_are_left_out() -> None:
    image, hole = torch.rand(1, 3, 150, 150), torch.zeros(1, 1, 150, 150)
    hole[..., 60:100, 60:100] = 1
    every, few = Watched(nn.Identity()), Watched(nn.Identity())
    Tiled(every, side=40, margin=4, blend=4)(image)
    made = Tiled(few, side=40, margin=4, blend=4, needed=hole)(image)
    assert torch.equal(made * hole, image * hole)
    assert 0 < len(few.sizes) < len(every.sizes) / 2
    nothing = Tiled(few, side=40, margin=4, blend=4, needed=0 * hole)(image)
    assert nothing.shape == image.shape


def test_what_is_needed_is_not_asked_of_a_gpu() -> None:
    """A sampler records its network there, with the choice of its tiles."""
    hole = torch.zeros(1, 1, 100, 100)
    hole[..., 60:70, 60:70] = 1
    few = Watched(nn.Identity())
    Tiled(few, side=40, margin=4, blend=4, needed=hole.as_subclass(OnGPU))(
        torch.rand(1, 1, 100, 100)
    )
    assert len(few.sizes) == 1


def test_a_tile_that_reads_what_is_needed_and_writes_none_of_it_is_left_out() -> None:
    """A pixel right behind what one tile writes lies in its margin, and in the next tile alone."""
    before, after = spans(150, 40, 4, 4)[1:3]
    assert before.high < before.stop and before.high == after.fade
    hole = torch.zeros(1, 1, 150, 150)
    hole[..., before.high, before.high] = 1
    watched = Watched(nn.Identity())
    Tiled(watched, side=40, margin=4, blend=4, needed=hole)(torch.rand(1, 1, 150, 150))
    assert len(watched.sizes) == 1


class Far(nn.Module):
    """Every pixel becomes the sum of those 48 px before and behind it."""

    def forward(self, image: Tensor) -> Tensor:
        seen = F.pad(image, (0, 0, 48, 48))
        return seen[..., :-96, :] + seen[..., 96:, :]


class Counting(nn.Module):
    """Answers with the number of its call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        return torch.full_like(image, float(self.calls))


def test_as_it_comes_it_hides_no_neighbour_within_48_px_and_fades_over_32() -> None:
    image = torch.rand(1, 1, 1200, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Tiled(Far())(image), Far()(image))
    said = Tiled(Counting())(image)[0, 0, :, 0]
    fading = (said != said.round()).sum()
    seams = len(spans(1200)) - 1
    assert said.max() == seams + 1 > 2 and fading == 32 * seams
    assert len(spans(512)) == 1


def test_what_a_network_is_told_beside_the_image_is_cut_only_where_it_is_a_map() -> None:
    """A table [B, D] may have the height and the width of the image by chance."""

    class Told(nn.Module):
        def forward(self, image: Tensor, table: Tensor) -> Tensor:
            assert table.shape == (64, 48)
            return image + table[5, 7]

    image, table = torch.rand(1, 1, 64, 48), torch.rand(64, 48)
    torch.testing.assert_close(Tiled(Told(), 32, 4, 4)(image, table), image + table[5, 7])


@pytest.mark.parametrize(
    ("hole", "window"),
    [
        ((500, 600), (294, 806)),  # 512 px, the hole in the middle of them
        ((10, 20), (0, 512)),
        ((1990, 2000), (1488, 2000)),
        ((500, 1100), (436, 1164)),  # more than 512 px: 64 px on either side
    ],
)
def test_a_hole_is_shown_amid_what_is_around_it(
    hole: tuple[int, int], window: tuple[int, int]
) -> None:
    tall = torch.zeros(1, 1, 2000, 3)
    tall[..., slice(*hole), 1] = 1
    assert around(tall, SIDE) == (slice(*window), slice(0, 3))
    assert around(tall.mT, SIDE) == (slice(0, 3), slice(*window))


def test_diffusion_networks_are_tiled_with_their_time() -> None:
    torch.manual_seed(0)
    network = UNet(1, 1, width=8, multipliers=(1, 1), num_blocks=1, attention=())
    made = Tiled(network, side=32, margin=4, blend=4)(torch.randn(2, 1, 64, 48), torch.rand(2))
    assert made.shape == (2, 1, 64, 48)
