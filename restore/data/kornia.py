"""Augmentations of kornia in training, each sample by a seed of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from restore.image import from_uint8, from_unit, to_uint8, to_unit
from restore.stream import fold
from restore.types import InputError

_KORNIA = -16  # keeps its random streams apart from those of other uses of a seed
_EXAMPLE = "data.augment=[{RandomSharpness:{sharpness:0.5,p:0.5}}]"


class KorniaAugmentation:
    """kornia.augmentation classes one after another, as [{NAME: {setting: value}}, NAME, ...].

    uint8 [C, H, W] in and out; kornia sees one image at a time, in [0, 1]. Its draws come from
    torch's global generator, which is seeded by the sample's seed and the place in the list for
    the time of the call: order, workers and processes change nothing. Raises InputError for a
    class that does not exist, mixes images, changes their size or does not take them.
    """

    def __init__(self, steps: Sequence[str | Mapping[str, Any]]) -> None:
        self.names: list[str] = []
        self.modules = []
        for step in steps:
            named = {step: {}} if isinstance(step, str) else step
            if not isinstance(named, Mapping) or len(named) != 1:
                raise InputError(f"data.augment={step} is not one name with settings: {_EXAMPLE}")
            ((name, settings),) = named.items()
            self.names.append(name)
            self.modules.append(_build(name, settings))

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        if not self.modules:
            return image
        seeds = fold(torch.tensor([seed]), _KORNIA)
        unit = to_unit(from_uint8(image[None]))
        with torch.random.fork_rng(devices=[]):
            for place, (name, module) in enumerate(zip(self.names, self.modules, strict=True)):
                torch.manual_seed(int(fold(seeds, place)))
                unit = _apply(name, module, unit)
        return to_uint8(from_unit(unit))[0]


def _apply(name: str, module: Any, unit: Tensor) -> Tensor:
    try:
        with torch.no_grad():
            augmented: Tensor = module(unit).clamp(0, 1)
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"data.augment: {name} does not take images {list(unit.shape[1:])}: {reason}"
        ) from None
    if augmented.shape != unit.shape:
        raise InputError(
            f"data.augment: {name} makes {list(augmented.shape[1:])} of {list(unit.shape[1:])}: "
            "sizes are set by data.train_framing"
        )
    return augmented


def _build(name: str, settings: Any) -> Any:
    # Imported here, since it takes seconds that only those who use it should wait for.
    import kornia.augmentation as kornia

    found = getattr(kornia, name, None)
    if not (isinstance(found, type) and issubclass(found, kornia.AugmentationBase2D)):
        raise InputError(
            f"data.augment: {name} is no kornia.augmentation of single images: {_EXAMPLE}"
        )
    if not isinstance(settings, Mapping):
        raise InputError(f"data.augment: the settings of {name} are {settings!r}: {_EXAMPLE}")
    try:
        return found(**settings)
    except Exception as error:  # kornia raises its own kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"data.augment: {name} with {dict(settings)}: {reason}") from None
