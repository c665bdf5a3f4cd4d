"""The autoencoder of latent diffusion: shapes, the draw, and what may not be built."""

import pytest
import torch

from restore.network.autoencoder_kl import LOG_VARIANCE, AutoencoderKL
from restore.types import InputError


@pytest.mark.parametrize(("multipliers", "factor"), [((1,), 1), ((1, 2), 2), ((1, 1, 2), 4)])
def test_sides_shrink_by_the_factor_and_come_back(
    multipliers: tuple[int, ...], factor: int
) -> None:
    network = AutoencoderKL(3, latent_channels=5, width=4, multipliers=multipliers)
    assert network.factor == factor
    mean, log_variance = network.encode(torch.randn(2, 3, 8, 12))
    assert mean.shape == log_variance.shape == (2, 5, 8 // factor, 12 // factor)
    assert network.decode(mean).shape == (2, 3, 8, 12)


def test_the_draw_is_mean_and_deviation() -> None:
    torch.manual_seed(0)
    network, image = AutoencoderKL(1, width=4, multipliers=(1, 2)), torch.randn(2, 1, 8, 8)
    noise = torch.randn(2, 4, 4, 4)
    mean, log_variance, made = network(image, noise)
    expected = network.decode(mean + torch.exp(0.5 * log_variance) * noise)
    torch.testing.assert_close(made, expected)
    torch.testing.assert_close(network(image)[2], network.decode(mean))


def test_the_variance_has_bounds() -> None:
    network = AutoencoderKL(1, width=4, multipliers=(1,))
    last = network.encoder[-1]
    assert isinstance(last, torch.nn.Conv2d) and last.bias is not None
    torch.nn.init.constant_(last.bias, 1e4)
    assert network.encode(torch.zeros(1, 1, 4, 4))[1].max() == LOG_VARIANCE[1]
    torch.nn.init.constant_(last.bias, -1e4)
    assert network.encode(torch.zeros(1, 1, 4, 4))[1].min() == LOG_VARIANCE[0]


@pytest.mark.parametrize(
    "settings", [{"width": 0}, {"latent_channels": 0}, {"multipliers": ()}, {"num_blocks": 0}]
)
def test_sizes_must_be_positive(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"task\.network: .* must be positive"):
        AutoencoderKL(3, **settings)  # type: ignore[arg-type]
