from pathlib import Path

import torch
from hydra.utils import instantiate
from observing import observed
from omegaconf import OmegaConf
from torch import Tensor

from restore.diffusion.guidance import Replacement
from restore.diffusion.parameterization import Prediction, Predictor
from restore.diffusion.schedule import LinearBeta


def network(y: Tensor, _: Tensor) -> Tensor:
    return torch.cat([0.3 * y, 0.5 * y], dim=1)


def test_replacement_is_known_pixels_and_predicted_ones() -> None:
    x, t = torch.randn(2, 3, 4, 4), torch.rand(2)
    image, hole = torch.rand(2, 3, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    predictor = Predictor(network, "v", LinearBeta())
    guided = Replacement().guide(predictor, observed(image, hole))
    x0, fraction, _ = predictor(x, t)
    predicted = guided(x, t)
    expected = image * (1 - hole) + x0 * hole
    torch.testing.assert_close(predicted.x0, expected, rtol=0, atol=0)
    assert fraction is not None and predicted.fraction is not None
    assert torch.equal(predicted.fraction, fraction)


def test_replacement_of_a_non_finite_prediction_keeps_known_pixels() -> None:
    """A product with the mask would give NaN."""
    image, hole = torch.rand(1, 1, 2, 2), torch.tensor([[0.0, 1.0], [0.0, 1.0]]).view(1, 1, 2, 2)
    guided = Replacement().guide(lambda x, t: Prediction(x * torch.inf), observed(image, hole))
    result = guided(torch.ones(1, 1, 2, 2), torch.ones(1)).x0
    assert torch.equal(result[..., 0], image[..., 0])


def test_the_leaf_is_the_class() -> None:
    leaf = Path(__file__).parents[2] / "conf" / "guidance" / "replacement.yaml"
    assert type(instantiate(OmegaConf.load(leaf))) is Replacement
