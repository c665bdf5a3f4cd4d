from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from restore.diffusion.guidance import Replacement
from restore.diffusion.parameterization import Denoiser, denoise_with_variance
from restore.diffusion.schedule import Linear
from restore.types import InputError


def network(y: Tensor, _: Tensor) -> Tensor:
    return torch.cat([0.3 * y, 0.5 * y], dim=1)


def test_replacement_is_known_pixels_and_predicted_ones() -> None:
    x, t = torch.randn(2, 3, 4, 4), torch.rand(2)
    image, hole = torch.rand(2, 3, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    denoiser = Denoiser(network, "v", Linear())
    guided = Replacement().guide(denoiser, image=image, hole=hole)
    x0, fraction = denoiser.with_variance(x, t)
    expected = image * (1 - hole) + x0 * hole
    torch.testing.assert_close(guided(x, t), expected, rtol=0, atol=0)
    guided_x0, guided_fraction = denoise_with_variance(guided, x, t)
    torch.testing.assert_close(guided_x0, expected, rtol=0, atol=0)
    assert torch.equal(guided_fraction, fraction)


def test_replacement_of_a_non_finite_prediction_keeps_known_pixels() -> None:
    """A product with the mask would give NaN."""
    image, hole = torch.rand(1, 1, 2, 2), torch.tensor([[0.0, 1.0], [0.0, 1.0]]).view(1, 1, 2, 2)
    guided = Replacement().guide(lambda x, t: x * torch.inf, image=image, hole=hole)
    result = guided(torch.ones(1, 1, 2, 2), torch.ones(1))
    assert torch.equal(result[..., 0], image[..., 0])


def test_replacement_of_a_plain_denoiser_has_no_variance() -> None:
    image = torch.zeros(1, 1, 2, 2)
    guided = Replacement().guide(lambda x, t: x, image=image, hole=image)
    with pytest.raises(InputError, match="learned"):
        denoise_with_variance(guided, image, torch.ones(1))


def test_the_leaf_is_the_class() -> None:
    leaf = Path(__file__).parents[2] / "conf" / "guidance" / "replacement.yaml"
    assert type(instantiate(OmegaConf.load(leaf))) is Replacement
