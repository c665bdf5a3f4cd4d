"""A fill without learning: the image pyramid of Gortler et al. 1996 ("The Lumigraph", section 3.4).

What an inpainting network starts from, and a baseline of its own.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def push_pull(image: Tensor, hole: Tensor, relaxations: int = 4) -> Tensor:
    """image [B, C, H, W] filled where hole [B, 1, H, W] is 1; known pixels bit for bit.

    Pull: every coarser level holds the means of the known pixels among 2x2. Push: from coarse to
    fine, what is not known is interpolated from the coarser level. Then `relaxations` times, at
    every level, each unknown pixel becomes the mean of its four neighbours, which takes the blocks
    of the pyramid out and comes close to the membrane (the solution of Laplace's equation) at a
    fraction of its cost; 0 is the method of the paper. A sample without any known pixel becomes 0,
    middle grey. No gradient flows.
    """
    if torch.compiler.is_exporting():
        exported: Tensor = OPERATOR(image, hole, relaxations)
        return exported
    return _fill(image, hole, relaxations)


def _fill(image: Tensor, hole: Tensor, relaxations: int) -> Tensor:
    with torch.autocast(image.device.type, enabled=False):
        filled = _filled(image.float(), (hole <= 0).float(), relaxations)
    return torch.where(hole > 0, filled.to(image.dtype), image)


# One operator in exported programs: how many levels there are depends on the size of the image,
# which tracing would fix to that of its example.
_operator = torch.library.custom_op("restore::push_pull", _fill, mutates_args=())


@_operator.register_fake
def _shape(image: Tensor, hole: Tensor, relaxations: int) -> Tensor:
    return torch.empty_like(image)


OPERATOR = torch.ops.restore.push_pull.default


def _filled(image: Tensor, known: Tensor, relaxations: int) -> Tensor:
    image = torch.where(known > 0, image, 0)
    height, width = image.shape[-2:]
    if height == width == 1:
        return image
    to_even = (0, width % 2, 0, height % 2)  # by a row or column of unknown pixels
    image_sum = F.avg_pool2d(F.pad(image, to_even), 2)
    known_sum = F.avg_pool2d(F.pad(known, to_even), 2)
    mean = image_sum / known_sum.clamp(min=0.25)  # one pixel in four is the least
    coarse = _filled(mean, (known_sum > 0).float(), relaxations)
    fine = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
    filled = torch.where(known > 0, image, fine[..., :height, :width])
    for _ in range(relaxations):
        filled = torch.where(known > 0, image, _mean_of_neighbours(filled))
    return filled


def _mean_of_neighbours(image: Tensor) -> Tensor:
    """Above, below, left and right; beyond the border the border itself."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    rows, columns = padded[..., 1:-1], padded[..., 1:-1, :]
    return (rows[..., :-2, :] + rows[..., 2:, :] + columns[..., :-2] + columns[..., 2:]) / 4
