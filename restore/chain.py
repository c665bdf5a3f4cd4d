"""A photo through several models in turn: what `restore predict` and the app both do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from restore.api import Model
from restore.data.mask_files import read_drawn, read_mask
from restore.data.photo_file import read_photo
from restore.degradation.noise import estimate_level
from restore.stream import check_seed
from restore.types import InputError


@dataclass(frozen=True)
class Settings:
    """What people choose beside photo, mask and models."""

    sigma: float | None = None  # grey levels of 255; None is estimated where a model needs it
    strength: float | None = None
    num_samples: int = 1
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None  # weight or scale of a sampler's guidance; None is its own
    self_ensemble: bool = False  # the mean over eight views, where no sampler draws


class Restored(NamedTuple):
    images: list[np.ndarray]  # uint8 or uint16 [H, W] or [H, W, 3]
    profile: bytes | None  # ICC profile of their numbers
    sigma: float | None  # the noise level of the photo, if a model asked for it


def check(
    chain: list[Model], settings: Settings, has_mask: bool, has_strength_map: bool = False
) -> None:
    """Raises InputError for settings that a model cannot use, or that none has a use for."""
    draws = any(one.has_sampler for one in chain)
    check_seed(settings.seed, "--seed ")
    for word, given, used in (
        ("--mask", has_mask, any(one.fills_holes for one in chain)),
        ("--sigma", settings.sigma is not None, any(one.needs_sigma for one in chain)),
        ("--strength", settings.strength is not None, draws),
        ("--strength-map", has_strength_map, draws),
        ("--steps", settings.steps is not None, draws),
        ("--guidance", settings.guidance is not None, any(one.has_guidance for one in chain)),
        ("--num-samples", settings.num_samples != 1, draws),
        ("--self-ensemble", settings.self_ensemble, any(one.ensembles for one in chain)),
    ):
        if given and not used:
            names = ", ".join(model.name for model in chain)
            raise InputError(f"{word} is of no use to {names}: leave it out")
    for model in chain:
        own = _settings_for(model, settings, settings.num_samples, sigma=settings.sigma or 0.0)
        if has_strength_map and model.has_sampler and settings.strength is None:
            own["strength"] = 1.0
        model.check(hole=model.fills_holes and has_mask, **own)


def _settings_for(
    model: Model, settings: Settings, num_samples: int, sigma: float | list[float] | None
) -> dict[str, Any]:
    """Those that this model has a use for."""
    own: dict[str, Any] = {"sigma": sigma} if model.needs_sigma else {}
    if model.has_sampler:
        own |= {"strength": settings.strength, "steps": settings.steps, "num_samples": num_samples}
    if model.has_guidance:
        own["guidance"] = settings.guidance
    if model.ensembles:
        own["self_ensemble"] = settings.self_ensemble
    return own


def restore(
    chain: list[Model],
    photo: Path,
    mask: Path | None,
    settings: Settings,
    invert_mask: bool = False,
    callback: Callable[[Model, Any], None] | None = None,
    strength_map: Path | None = None,
) -> Restored:
    """The photo of a file, restored: each model but the first takes what the one before it made.

    mask: white is to be filled. strength_map: a grey picture that says how much of the strength
    acts where; white is all of it, black is kept. callback: sees each `restore.diffusion.walk.Step`
    of a model that has a sampler.

    Raises:
        InputError: a file that cannot be read, or a setting that a model cannot use.
    """
    given, profile = read_photo(photo, colors=any(model.colorizes for model in chain))
    hole = None if mask is None else read_mask(mask, invert_mask)[0].numpy()
    soft = None if strength_map is None else read_drawn(strength_map)[0].numpy()
    images, sigmas = _through(chain, given, hole, [given], settings, callback, soft)
    return Restored(images, profile, sigmas[0] if sigmas else None)


def restore_batch(chain: list[Model], photos: list[Path], settings: Settings) -> list[Restored]:
    """Photos without masks, of one size, depth and number of channels, at once.

    As `restore` does it one by one. Raises ValueError where they differ, and what `restore` raises.
    """
    colors = any(model.colorizes for model in chain)
    given = [read_photo(photo, colors=colors) for photo in photos]
    if len({one.dtype for one, _ in given}) > 1:
        raise ValueError("photos of one batch differ")
    each = [one if one.ndim == 3 else one[..., None] for one, _ in given]
    images, sigmas = _through(chain, np.stack(each), None, [one for one, _ in given], settings)
    return [
        Restored([_flat(image[k]) for image in images], profile, sigmas[k] if sigmas else None)
        for k, (_, profile) in enumerate(given)
    ]


def _flat(image: np.ndarray) -> np.ndarray:
    """[H, W] of [H, W, 1]."""
    return image[..., 0] if image.shape[-1] == 1 else image


def _through(
    chain: list[Model],
    given: np.ndarray,
    hole: np.ndarray | None,
    photos: list[np.ndarray],
    settings: Settings,
    callback: Callable[[Model, Any], None] | None = None,
    strength_map: np.ndarray | None = None,
) -> tuple[list[np.ndarray], list[float]]:
    """Results, each of the shape of `given`, and the noise levels of the photos, if asked for."""
    images, left, sigmas = [given], settings.num_samples, list[float]()
    if settings.sigma is not None:
        sigmas = [settings.sigma] * len(photos)
    for number, model in enumerate(chain):
        if model.needs_sigma and not sigmas:
            seen = photos if number == 0 else _singly(images[0], len(photos))
            sigmas = [estimate_sigma(one) for one in seen]
        level = sigmas[0] if len(sigmas) == 1 else sigmas or None
        own = _settings_for(model, settings, left, level)
        own |= {"hole": hole if model.fills_holes else None, "seed": settings.seed}
        if callback is not None and model.has_sampler:
            own["callback"] = _told(callback, model)
        if strength_map is not None and model.has_sampler:
            own["strength_map"] = strength_map
        made = [model(image, **own) for image in images]
        images = [one for each in made for one in (each if isinstance(each, list) else [each])]
        left = 1 if model.has_sampler else left
    return images, sigmas


def _singly(image: np.ndarray, count: int) -> list[np.ndarray]:
    return [image] if count == 1 else [_flat(one) for one in image]


def _told(callback: Callable[[Model, Any], None], model: Model) -> Callable[[Any], None]:
    return lambda step: callback(model, step)


def estimate_sigma(photo: np.ndarray) -> float:
    """Level of Gaussian noise in grey levels of 255, of uint8 or uint16 [H, W] or [H, W, 3]."""
    scaled = photo.astype(np.float64) * (255 / np.iinfo(photo.dtype).max)
    return min(estimate_level(scaled, -1 if photo.ndim == 3 else None), 255.0)
