"""What lets strided networks take images of any size."""

import torch
from torch import Tensor

from restore.types import InputError


def pad_to_multiple(image: Tensor, factor: int) -> Tensor:
    """[B, C, H, W], mirrored at the bottom and right up to the next multiples of `factor`.

    Mirrors as often as it takes, so that one pixel is enough. Undone by [..., :H, :W].
    """
    for dim in (2, 3):
        length = image.shape[dim]
        # an exported graph serves every size, so that it cannot leave the mirroring out
        if torch.compiler.is_exporting() or length % factor:
            place = torch.arange((length + factor - 1) // factor * factor, device=image.device)
            image = image.index_select(dim, mirror(place, length))
    return image


def mirror(index: Tensor, length: int) -> Tensor:
    """Indices >= 0 beyond the end of an axis, mirrored back into it without repeating the edge."""
    # a tensor, because no graph that is exported can count with the length of an axis
    period = (2 * torch.arange(length, device=index.device)[-1]).clamp(min=1)
    index = index % period
    return torch.minimum(index, period - index)


def cap_levels(num_levels: int, image_size: int | None, smallest: int = 1) -> int:
    """How often, at most num_levels times, image_size px can be halved to `smallest` px or more.

    image_size None: no cap. Raises InputError where the answer is below one.
    """
    if num_levels < 1:
        raise InputError(f"task.network: at least one level is needed, got {num_levels}")
    if image_size is None:
        return num_levels
    if image_size < 2 * smallest:
        raise InputError(f"task.network cannot halve images of {image_size} px: use larger ones")
    return min(num_levels, (image_size // smallest).bit_length() - 1)
