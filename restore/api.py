"""A trained model as a function of images: what `restore predict` and everything like it call."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from restore import zoo
from restore.ability import Ability
from restore.build import restored
from restore.config.naming import Packages
from restore.data.photo import Values, hole_of, strength_of, values
from restore.network.size import at_any_size
from restore.precision import EXACT, MIXED, choose, device_of, exact, usable
from restore.stream import check_seed
from restore.task.restoration import RestorationTask
from restore.tiling import SIDE, around, crop, in_whole
from restore.types import InputError, Observation

PRECISIONS = ("auto", EXACT, MIXED)


def load(
    path: str | Path,
    packages: str | Iterable[str] = (),
    device: str | int | torch.device | None = None,
    precision: str = "auto",
) -> "Model":
    """A trained model: of a run folder (its best checkpoint), a checkpoint, a bundle, or a name.

    Names are those of released models, and `denoise`, `inpaint`, `colorize` for their defaults.

    packages: those whose classes a checkpoint may name, beside restore's. No code from the file
    runs. device: where it computes; None is the first GPU where there is one, else the CPU.

    Raises:
        InputError: no such file, one that cannot be trusted or read, or a model that restores
            nothing.
    """
    content = zoo.read(path).content
    named = packages if isinstance(packages, Packages) else Packages(packages)
    task = restored(content, packages=named)
    if not isinstance(task, RestorationTask):
        raise InputError(
            f"{path}: {type(task).__name__} restores no images; choose another checkpoint"
        )
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    task.float()  # made where the default dtype was float64, it would not take its float32 images
    return Model(task, str(content["experiment"]), precision=precision).to(device)


class Model(Ability):
    """Restores images of any size; those above `side` px are seen piece by piece."""

    def __init__(
        self, task: RestorationTask, name: str, side: int = SIDE, precision: str = EXACT
    ) -> None:
        super().__init__(task.eval().requires_grad_(False), name)
        if precision not in PRECISIONS:
            raise InputError(f"precision={precision}: use {', '.join(PRECISIONS)}")
        self.side = side
        self.device = torch.device("cpu")
        self._wanted, self.precision = precision, EXACT
        self._turn = _Turn()

    def __repr__(self) -> str:
        return f"Model({self.name}, {type(self.task).__name__}, {self.device})"

    def to(self, device: str | int | torch.device) -> "Model":
        """Moves it; InputError for a device that is not there, and it stays where it is."""
        with usable(f"device={device}"):
            self.task.to(torch.device(device))
        self.device = torch.device(device)
        draws, self.precision = self.has_sampler, self._wanted
        if self._wanted == "auto":
            best = choose(device_of(self.device.type))[0] if draws else EXACT
            self.precision = MIXED if best == MIXED else EXACT
        if draws:
            self.task.to(memory_format=torch.channels_last)
        return self

    @contextmanager
    def computing(self) -> Iterator[None]:
        """While it lasts, the network computes in the model's precision, and nothing is learnt."""
        low = self.precision == MIXED
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=low)
        with torch.inference_mode(), autocast, exact(self.precision):
            yield

    def __call__(
        self,
        image: Any,
        hole: Any = None,
        sigma: float | Sequence[float] | np.ndarray | Tensor | None = None,
        strength: float | None = None,
        num_samples: int = 1,
        seed: int = 0,
        steps: int | None = None,
        callback: Callable[[Any], None] | None = None,
        strength_map: Any = None,
        guidance: float | None = None,
        self_ensemble: bool = False,
    ) -> Any:
        """The restored image, of the type, size, depth and device of `image`.

        image: a PIL image, a NumPy array [H, W], [H, W, C] or [B, H, W, C], or a torch tensor
        [H, W], [C, H, W] or [B, C, H, W]; uint8, uint16, or floats in [0, 1]. C is 1 or 3. A PIL
        image is taken as its pixels lie: turn a photo of a camera by `ImageOps.exif_transpose`
        first, as files are turned by `restore predict`. A grey image comes back grey, and a PIL
        image with the ICC profile of its numbers, except from a colorizer, whose colours are sRGB.
        hole: an image of one channel, or bool; white is to be filled, and all else comes back bit
        for bit. sigma: noise level in grey levels of 255, one or as many as images. For a model
        with a sampler: strength in (0, 1], how far what is drawn anew may go from the image (Meng
        et al. 2022): the hole, or all of it where there is none; strength_map, an image of one
        channel that says how much of the strength acts where (Levin & Fried 2023): black comes back
        bit for bit; steps of the sampler; guidance, the weight or scale of a guidance that has one;
        callback, which sees each `restore.diffusion.walk.Step`. For a model without one:
        self_ensemble, the mean over eight turned and mirrored views (`restore.ensemble`), at eight
        times the cost. num_samples: more than one gives a list. The result depends on the image,
        the settings, the seed and `precision` alone.

        Raises:
            InputError: an image or a setting that this model cannot use.
        """
        strength = 1.0 if strength is None and strength_map is not None else strength
        levels: list[Any] = [*sigma] if np.ndim(sigma) else [sigma]  # type: ignore[arg-type, misc]
        check_seed(seed)
        for level in levels or [None]:
            drawing = strength, num_samples, steps, guidance
            self.check(hole is not None, level, *drawing, self_ensemble)
        given = values(image)
        if self.colorizes:  # its colours are sRGB
            given = replace(given, profile=None)
        told = [one for one in levels if one is not None]
        observation = self._observation(given, hole, told, edits=strength is not None)
        settings: dict[str, Any] = {"seed": seed, "start": strength, "callback": callback}
        changed = observation.get("hole")
        if strength_map is not None:
            soft = settings["strength_map"] = strength_of(strength_map, given.shape)
            changed = (soft > 0).float() * (1 if changed is None else changed)
        with (
            self._turn,
            self.computing(),
            self.in_steps(steps),
            self.guided_by(guidance),
            self.ensembled(self_ensemble),
        ):
            made = self._restored(observation, settings, changed, num_samples).float().cpu()
        results = [
            given.like(self._as_given(one, given.numbers.shape[1]), changed)
            for one in made.unbind(1)
        ]
        return results if num_samples > 1 else results[0]

    def _observation(
        self, given: Values, hole: Any, sigmas: list[float], edits: bool
    ) -> Observation:
        """What the task may see of an image, on the CPU.

        edits: what is drawn anew starts from the image, so that it stays in the hole; without a
        hole all of the image is drawn anew.
        """
        image, count = self._as_input(given.image()), given.shape[0]
        index = torch.zeros(count, dtype=torch.int64)  # no image knows its neighbours in a batch
        observation = Observation(input=image, index=index, name=[""] * count)
        if hole is not None:
            observation["hole"] = hole_of(hole, given.shape)
            if not edits:
                observation["input"] = image.masked_fill(observation["hole"] > 0, 0)
        elif edits and self.fills_holes:
            observation["hole"] = torch.ones(count, 1, *image.shape[-2:])
        if sigmas:
            if len(sigmas) not in (1, count):
                raise InputError(f"{len(sigmas)} noise levels for {count} images: give as many")
            observation["sigma"] = torch.tensor([one / 127.5 for one in sigmas]).expand(count)
        return observation

    def _restored(
        self,
        observation: Observation,
        settings: dict[str, Any],
        hole: Tensor | None,
        num_samples: int,
    ) -> Tensor:
        """[B, num_samples, C, H, W]; of large images only what is around `hole` is seen, outside
        which nothing changes: of each image alone, where they have holes of their own."""
        image = observation["input"]
        if hole is not None and max(image.shape[-2:]) > self.side and (hole != hole[:1]).any():
            alone = _each(observation, settings, hole)
            return torch.cat([self._restored(*one, num_samples) for one in alone])
        whole = image[:, None].expand(-1, num_samples, -1, -1, -1)
        if hole is not None and not hole.any():
            return whole
        window = around(hole, self.side) if hole is not None else (slice(None), slice(None))
        seen = crop(observation, window, self.device)
        large = max(seen["input"].shape[-2:]) > self.side
        within = self.task.within(self.side, seen.get("hole")) if large else nullcontext()
        if "strength_map" in settings:
            soft = settings["strength_map"][..., window[0], window[1]].to(self.device)
            settings = {**settings, "strength_map": soft}
        if settings["callback"] is not None and seen["input"].shape != image.shape:
            told = in_whole(settings["callback"], image, num_samples, window)
            settings = {**settings, "callback": told}
        with within:
            made = at_any_size(
                self.task.network,
                seen["input"],
                lambda: self.task.restore(seen, num_samples, **settings),
            )
        if hole is None or made.shape[-2:] == image.shape[-2:]:
            return made
        whole = whole.clone()
        whole[..., window[0], window[1]] = made.to(whole)
        return whole


class _Turn:
    """One call of a model at a time: it borrows its network. A copy of a model has its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a callback may call the model again

    def __reduce__(self) -> tuple[Any, ...]:
        return _Turn, ()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()


def _each(
    observation: Observation, settings: dict[str, Any], hole: Tensor
) -> Iterator[tuple[Observation, dict[str, Any], Tensor]]:
    """The images of a batch, one by one."""
    for place in range(len(hole)):
        at = slice(place, place + 1)
        part: dict[str, Any] = {name: one[at] for name, one in observation.items()}  # type: ignore[index]
        own = settings
        if "strength_map" in settings:
            own = {**settings, "strength_map": settings["strength_map"][at]}
        yield cast(Observation, part), own, hole[at]
