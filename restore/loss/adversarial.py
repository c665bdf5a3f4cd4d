"""Adversarial losses, one number per sample, of logits [B, 1, h, w] before any sigmoid."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from restore.loss.perceptual import feature_distance


class AdversarialLoss(ABC):
    """What discriminator and generator minimise, the mean over patches."""

    @abstractmethod
    def discriminator(self, logits: Tensor, target: Tensor | float) -> Tensor:
        """[B]. target: 1 for real, 0 for fake; a number between smooths the label (Salimans et al.
        2016, section 3.4). A float, or a tensor that broadcasts with logits.
        """

    border: float = 0.0  # a patch counts as taken for real where its logit is above

    def generator(self, logits: Tensor) -> Tensor:
        """[B], of the logits of fakes, which shall be taken for real."""
        return self.discriminator(logits, 1.0)


class BCE(AdversarialLoss):
    """Binary cross entropy; the generator's is the non-saturating one, Goodfellow et al. 2014."""

    def discriminator(self, logits: Tensor, target: Tensor | float) -> Tensor:
        return _mean(target * F.softplus(-logits) + (1 - target) * F.softplus(logits))


class LeastSquares(AdversarialLoss):
    """Mao et al. 2017, eq. 9 (a = 0, b = c = 1), without its factor of one half."""

    border = 0.5

    def discriminator(self, logits: Tensor, target: Tensor | float) -> Tensor:
        return _mean((logits - target).square())


class Hinge(AdversarialLoss):
    """Lim & Ye 2017; Miyato et al. 2018, eq. 16 and 17. A smoothed target mixes both sides."""

    def discriminator(self, logits: Tensor, target: Tensor | float) -> Tensor:
        return _mean(target * F.relu(1 - logits) + (1 - target) * F.relu(1 + logits))

    def generator(self, logits: Tensor) -> Tensor:
        return _mean(-logits)


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """|| grad of the sum of logits by the image ||^2 / 2, [B]: Mescheder et al. 2018, eq. 9.

    discriminator: images [B, C, H, W] to logits; `real` needs no gradient. Without gamma. In
    float32 whatever the precision of training: squared gradients of bf16 are noise. A compiled
    discriminator runs as it is written: torch.compile has no second derivatives.
    """
    exact = torch.autocast(real.device.type, enabled=False)
    with torch.compiler.set_stance("force_eager"), exact:
        image = real.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(image).sum(), image, create_graph=True)
        return gradient.square().flatten(1).sum(1) / 2


def feature_matching(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference [B] of discriminator features, summed over layers.

    Wang et al. 2018 (pix2pixHD), eq. 4. Only `fake` gets a gradient.
    """
    return feature_distance(fake, [features.detach() for features in real])


def _mean(values: Tensor) -> Tensor:
    return values.float().flatten(1).mean(1)
