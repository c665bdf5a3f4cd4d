"""Colours as classes (Zhang et al. 2016, "Colorful image colorization", section 2.1)."""

from functools import cache

import torch
from torch import Tensor, nn

from restore.image import lab_from_rgb
from restore.types import InputError

_NEIGHBOURS = 5  # that share one colour
_AB = 110.0  # a and b of [-1, 1] in units of CIE LAB


class ColorBins(nn.Module):
    """Bins of the ab plane, `step` units of CIE LAB wide, that hold a colour of sRGB.

    temperature: of the annealed mean. Buffers: centers [Q, 2] in [-1, 1]; distribution [Q], the
    share of every bin in the training data, zero until `Colorizer` counts it at a training's start.
    """

    centers: Tensor
    distribution: Tensor
    nearest: Tensor

    def __init__(self, step: float = 10.0, temperature: float = 0.38) -> None:
        super().__init__()
        if not 2 <= step <= 50:
            raise InputError(f"task.network.step={step}: bins are 2 to 50 units of CIE LAB wide")
        if temperature <= 0:
            raise InputError(f"task.network.temperature={temperature} must be positive")
        self.temperature, self.spread = temperature, step / 2 / _AB
        centers = in_gamut(step) / _AB
        self.register_buffer("centers", centers)
        self.register_buffer("distribution", torch.zeros(len(centers)))
        self.side = 1 + 2 * round(_AB / (step / 5))  # of a lattice whose neighbours are known
        line = torch.linspace(-1, 1, self.side)
        lattice = torch.cartesian_prod(line, line)
        nearest = torch.cdist(lattice, centers).topk(_NEIGHBOURS, largest=False).indices
        self.register_buffer("nearest", nearest, persistent=False)

    def __len__(self) -> int:
        return len(self.centers)

    def encode(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """ab [B, 2, h, w] to its nearest bins and their shares, [B, h, w, 5] each; shares sum to 1.

        Weighted by a Gaussian of half a step of the distance, as in the paper. The bins are those
        nearest to the next point of a lattice five times as fine as they are.
        """
        ab = ab.float().permute(0, 2, 3, 1).clamp(-1, 1)
        place = ((ab + 1) / 2 * (self.side - 1)).round().long()
        index = self.nearest[place[..., 0] * self.side + place[..., 1]]
        distance = (ab.unsqueeze(-2) - self.centers[index]).square().sum(-1)
        return index, torch.softmax(-distance / (2 * self.spread**2), dim=-1)

    def decode(self, logits: Tensor, temperature: float | None = None) -> Tensor:
        """Logits [B, Q, h, w] to ab [B, 2, h, w] in [-1, 1]: the annealed mean, equation 5.

        Temperature 1 is the mean of the distribution, 0 in the limit its mode.
        """
        with torch.autocast(logits.device.type, enabled=False):  # bf16 rounds a and b to half units
            share = torch.softmax(logits.float() / (temperature or self.temperature), dim=1)
            return torch.einsum("bqhw,qc->bchw", share, self.centers)

    def histogram(self, ab: Tensor) -> Tensor:
        """Summed shares [Q] of all pixels of ab [B, 2, h, w]."""
        index, share = self.encode(ab)
        return torch.zeros_like(self.distribution).index_add_(0, index.flatten(), share.flatten())

    def rebalancing(self, uniform: float) -> Tensor:
        """Weight [Q] of a pixel by its bin, equation 4: 1 / ((1 - uniform) p + uniform / Q).

        Its mean over the data is 1. All ones as long as no distribution is known.
        """
        if not self.distribution.any():
            return torch.ones_like(self.distribution)
        weight = 1 / ((1 - uniform) * self.distribution + uniform / len(self))
        return weight / (weight * self.distribution).sum()


@cache
def in_gamut(step: float) -> Tensor:
    """Centres [Q, 2], multiples of step in CIE LAB, of the bins that hold a colour of sRGB.

    A colour projects to the ab plane where some colour of the surface of the RGB cube does, for
    the line along L leaves the cube through it: its 8-bit colours tell.
    """
    line = torch.linspace(-1, 1, 256)
    first, second = torch.meshgrid(line, line, indexing="ij")
    faces = []
    for axis in range(3):
        for end in (-1.0, 1.0):
            face = [first, second]
            face.insert(axis, torch.full_like(first, end))
            faces.append(torch.stack(face))
    ab = _AB * lab_from_rgb(torch.stack(faces))[:, 1:]
    places = (ab / step).round().permute(0, 2, 3, 1).reshape(-1, 2)
    centers: Tensor = torch.unique(places, dim=0)
    return centers * step
