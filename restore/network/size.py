"""What lets strided networks take images of any size."""

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from restore.types import InputError, path_of, shape_of


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


def at_any_size(network: nn.Module, image: Tensor, restore: Callable[[], Tensor]) -> Tensor:
    """What `restore` makes of images [B, C, H, W] by `network`: images of their size.

    Raises InputError where a network of somebody's own does not take, or does not keep, a size.
    """
    while isinstance(inner := getattr(network, "network", None), nn.Module) and _is_ours(network):
        network = inner  # of what cuts into tiles, or turns
    try:
        made = restore()
    except (torch.OutOfMemoryError, InputError):
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        if _is_ours(network) or not re.search("size|shape|dimension", reason, re.IGNORECASE):
            raise
        raise InputError(_unkept(network, image, f"fails: {reason}")) from error
    if made.shape[-2:] != image.shape[-2:]:
        height, width = made.shape[-2:]
        raise InputError(_unkept(network, image, f"makes {width}x{height} px of them"))
    return made


def check_shape(network: nn.Module, returned: object, wanted: Sequence[int]) -> None:
    """Raises InputError for what is not of the shape of what it is compared with.

    A single channel would be compared with each of three, in silence.
    """
    shape = shape_of(returned)
    if shape != str([*wanted]):
        raise InputError(
            f"task.network {path_of(network)} returned {shape} for targets {[*wanted]}: it must "
            "return a tensor of their shape"
        )


def _is_ours(network: nn.Module) -> bool:
    return type(network).__module__.startswith("restore.")


def _unkept(network: nn.Module, image: Tensor, what: str) -> str:
    height, width = image.shape[-2:]
    return (
        f"task.network {path_of(network)} does not take images of {width}x{height} px ({what}): "
        "it has to take any size, so let it pad them inside and cut again, as "
        "restore.network.denoising.DenoisingUNet does by pad_to_multiple"
    )


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
