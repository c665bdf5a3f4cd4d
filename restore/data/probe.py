"""Whether there is anything to learn or to measure in what a degradation makes of a split."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from restore.data.split import Raw, SplitDataset
from restore.degradation.contract import Degradation
from restore.degradation.gray import Gray
from restore.image import from_uint8
from restore.types import Batch, InputError, path_of

_HOLES, _PHOTOS = 256, 16  # how many samples are looked at before the rest is thought alike


def check_task(
    samples: SplitDataset,
    degradation: Degradation,
    to_batch: Callable[[Raw], Batch],
    first_seed: int,
) -> None:
    """Raises InputError where no hole has a pixel, where all photos to be coloured are grey, or for
    a degradation that is no `Degradation`, or changes its target in place."""
    raw = samples[0, first_seed]
    _check_unchanged(degradation, raw)
    batch = to_batch(raw)
    _check_made(degradation, batch)
    if isinstance(degradation, Gray) and _all_grey(samples):
        raise InputError(
            "the photos are grey, so that there is no colour to learn or to measure: choose photos "
            "in colour, or another degradation"
        )
    if "hole" in batch and not batch["hole"].any() and _all_empty(samples, to_batch, first_seed):
        raise InputError(
            "no hole has a single pixel, so that there is nothing to fill: look at the masks, or "
            "choose another degradation or size"
        )


def _check_unchanged(degradation: Degradation, raw: Raw) -> None:
    """A target that has become the input would be all that there is to learn."""
    target = from_uint8(raw["image"])
    made: Any = degradation(target, raw["seed"])
    if not isinstance(made, Mapping) or not {"target", "input"} <= made.keys():
        said = f"{sorted(made)}" if isinstance(made, Mapping) else f"a {type(made).__name__}"
        raise InputError(
            f"data.degradation {path_of(degradation)} gave {said}: it must give a dict with target "
            "and input, as Degraded of restore.degradation.contract says"
        )
    if torch.equal(made["target"], target) and not torch.equal(target, from_uint8(raw["image"])):
        raise InputError(
            f"data.degradation {path_of(degradation)} changes its target in place, so that there "
            "is nothing to restore: let it work on target.clone()"
        )


def _check_made(degradation: Degradation, batch: Batch) -> None:
    target = batch["target"]
    channels = degradation.input_channels(target.shape[1])
    wanted = {"input": channels, "hole": 1} if "hole" in batch else {"input": channels}
    for key, number in wanted.items():
        made: Tensor = batch[key]  # type: ignore[literal-required]
        shape = [len(target), number, *target.shape[-2:]]
        if list(made.shape) != shape or made.dtype != target.dtype:
            raise InputError(
                f"data.degradation {path_of(degradation)} made {key} "
                f"{list(made.shape)} {made.dtype} of targets {list(target.shape)} {target.dtype}: "
                f"it must be {shape} {target.dtype}"
            )


def _all_grey(samples: SplitDataset) -> bool:
    count = min(samples.num_photos, _PHOTOS)
    photos = (samples.photo(index).image for index in range(count))
    return all(bool((photo == photo[:1]).all()) for photo in photos)


def _all_empty(samples: SplitDataset, to_batch: Callable[[Raw], Batch], first_seed: int) -> bool:
    """Holes depend on size and seed alone: where sizes are fixed, no further photo is read."""
    raw = samples[0, first_seed]
    count = min(len(samples), _HOLES)
    for index in range(1, count):
        seed = torch.tensor([first_seed + index])
        one = raw if samples.framing.size else samples[index, first_seed + index]
        if to_batch({**one, "seed": seed})["hole"].any():
            return False
    return True
