"""New images of a prior: what `restore predict MODEL -o DIR` without INPUT writes."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from restore.api import Model
from restore.chain import Settings
from restore.data.image_file import MAX_PIXELS
from restore.data.name import printable
from restore.data.photo_file import write_png
from restore.errors import DONE
from restore.image import to_uint8
from restore.stream import check_seed
from restore.task.base import replace_attribute
from restore.types import InputError

_PIXELS = 2**16  # of a batch: a network keeps many values for each


def generate(models: list[Model], output: Path, settings: Settings, size: str | None) -> int:
    """Writes settings.num_samples images as 00000.png ..., and a line of JSON for each.

    The image of a number depends on the seed alone, not on how many are made. size: 64 or 96x64,
    width first; by default that of the training.

    Raises:
        InputError: a model that makes no new images, or of this size none; more than one model; an
            image of that number is there.
    """
    model = _prior(models, settings)
    height, width = _size(model, size)
    targets = [output / f"{number:05}.png" for number in range(settings.num_samples)]
    taken = next((target for target in targets if target.exists()), None)
    if taken is not None:
        raise InputError(f"{taken} is there: give another -o, and nothing is overwritten")
    with model.computing(), model.in_steps(settings.steps):
        most = max(1, _PIXELS // (height * width))
        for start in range(0, len(targets), most):
            numbers = range(start, min(start + most, len(targets)))
            drawn = _drawn(model, numbers, (height, width), settings)
            for number, image in zip(numbers, drawn, strict=True):
                write_png(image, targets[number], None)
                said = {"models": [model.name], "outputs": [printable(str(targets[number]))]}
                print(json.dumps({**said, "number": number, "seed": settings.seed}), flush=True)
    return DONE


def _prior(models: list[Model], settings: Settings) -> Model:
    """Raises InputError where nothing can be drawn."""
    names = ", ".join(model.name for model in models)
    model = models[0]
    if len(models) > 1 or not hasattr(model.task, "generate"):
        raise InputError(f"{names} restores photos and makes no new ones: give INPUT")
    if settings.num_samples < 1:
        raise InputError(f"--num-samples {settings.num_samples} must be at least 1")
    check_seed(settings.seed, "--seed ")
    for word, given in (
        ("--guidance", settings.guidance is not None),
        (f"--strength {settings.strength}", settings.strength is not None),
        (f"--sigma {settings.sigma}", settings.sigma is not None),
        ("--self-ensemble", settings.self_ensemble),
    ):
        if given:
            raise InputError(f"{word} is of photos, and there is no INPUT: leave it out")
    return model


def _size(model: Model, size: str | None) -> tuple[int, int]:
    """Height and width."""
    if size is None:
        if model.task.facts.image_size is None:
            raise InputError(f"{model.name} was trained on images of any size: give --size")
        return model.task.facts.image_size, model.task.facts.image_size
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", size)
    width, height = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    task: Any = model.task
    factor = int(task.space.factor * getattr(task.network, "factor", 1))
    if min(width, height) < 1 or width % factor or height % factor:
        raise InputError(
            f"--size {size} must be a side or WIDTHxHEIGHT in multiples of {factor}, such as "
            f"{8 * factor}"
        )
    if height * width > MAX_PIXELS:
        raise InputError(
            f"--size {size} has {height * width} pixels, at most {MAX_PIXELS} are made"
        )
    return height, width


def _drawn(
    model: Model, numbers: range, size: tuple[int, int], settings: Settings
) -> list[np.ndarray]:
    """uint8 [H, W] or [H, W, 3]."""
    task: Any = model.task
    index = torch.tensor([*numbers], device=model.device)
    with replace_attribute(task, "seed", settings.seed):
        made = to_uint8(task.generate(index, size).float()).permute(0, 2, 3, 1).cpu().numpy()
    return [one[..., 0] if one.shape[-1] == 1 else one for one in made]
