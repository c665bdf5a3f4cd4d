"""A trained model as a function of images: what `restore predict` and everything like it call."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from restore import zoo
from restore.build import restored
from restore.data.photo import Values, hole_of, strength_of, values
from restore.image import lab_from_rgb
from restore.task.base import RestorationTask
from restore.tiling import SIDE, around, crop, replace_attribute
from restore.types import InputError, Observation

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


def load(
    path: str | Path, packages: Iterable[str] = (), device: str | torch.device | None = None
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
    task = restored(content, packages=packages)
    if not isinstance(task, RestorationTask):
        raise InputError(
            f"{path}: {type(task).__name__} restores no images; choose another checkpoint"
        )
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Model(task, str(content["experiment"])).to(chosen)


class Model:
    """Restores images of any size; those above `side` px are seen piece by piece."""

    def __init__(self, task: RestorationTask, name: str, side: int = SIDE) -> None:
        self.task, self.name, self.side = task.eval().requires_grad_(False), name, side
        self.device = torch.device("cpu")

    def __repr__(self) -> str:
        return f"Model({self.name}, {type(self.task).__name__}, {self.device})"

    def to(self, device: str | torch.device) -> "Model":
        """Moves it; InputError for a device that is not there."""
        try:
            self.device = torch.device(device)
            self.task.to(self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"device={device} cannot be used: {reason}") from error
        return self

    @property
    def has_sampler(self) -> bool:
        """Whether results are drawn: by seed, from a strength, in steps."""
        return hasattr(self.task, "sampler")

    @property
    def has_guidance(self) -> bool:
        """Whether a guidance with a weight, or a scale, leads its sampler."""
        return self._weight is not None

    @property
    def needs_sigma(self) -> bool:
        """Whether it must be told the noise level."""
        return self.task.needs_sigma

    @property
    def colorizes(self) -> bool:
        """Whether it sees lightness alone and makes colours."""
        facts = self.task.facts
        return (facts.input_channels, facts.image_channels) == (1, 3)

    @cached_property
    def fills_holes(self) -> bool:
        """Whether it fills holes, and does nothing without one."""
        return not self._serves(hole=False) and self._serves(hole=True)

    def _serves(self, hole: bool) -> bool:
        """What the task says of an image of one pixel."""
        pixel = torch.zeros(1, self.task.facts.input_channels, 1, 1)
        index = torch.zeros(1, dtype=torch.int64)
        probe = Observation(input=pixel, index=index, name=[""])
        if hole:
            probe["hole"] = torch.ones(1, 1, 1, 1)
        try:
            self.task.check_observation(probe)
        except InputError:
            return False
        return True

    def __call__(
        self,
        image: Any,
        hole: Any = None,
        sigma: float | Sequence[float] | None = None,
        strength: float | None = None,
        num_samples: int = 1,
        seed: int = 0,
        steps: int | None = None,
        callback: Callable[[Any], None] | None = None,
        strength_map: Any = None,
        guidance: float | None = None,
    ) -> Any:
        """The restored image, of the type, size and depth of `image`.

        image: a PIL image, a NumPy array [H, W], [H, W, C] or [B, H, W, C], or a torch tensor
        [H, W], [C, H, W] or [B, C, H, W]; uint8, uint16, or floats in [0, 1]. C is 1 or 3; a grey
        image comes back grey, except from a colorizer. hole: an image of one channel, or bool;
        white is to be filled, and all else comes back bit for bit. sigma: noise level in grey
        levels of 255, one or as many as images. For a model with a sampler: strength in (0, 1],
        how far what is drawn anew may go from the image (Meng et al. 2022): the hole, or all of it
        where there is none; strength_map, an image of one channel that says how much of the
        strength acts where (Levin & Fried 2023): black comes back bit for bit; steps of the
        sampler; guidance, the weight or scale of a guidance that has one; callback, which sees
        each `restore.diffusion.walk.Step`. num_samples: more than one gives a list. The result
        depends on the image, the settings and the seed alone.

        Raises:
            InputError: an image or a setting that this model cannot use.
        """
        strength = 1.0 if strength is None and strength_map is not None else strength
        levels = [*sigma] if isinstance(sigma, Sequence) else [sigma]
        for level in levels:
            self.check(hole is not None, level, strength, num_samples, steps, guidance)
        given = values(image)
        told = [one for one in levels if one is not None]
        observation = self._observation(given, hole, told, edits=strength is not None)
        settings: dict[str, Any] = {"seed": seed, "start": strength, "callback": callback}
        changed = observation.get("hole")
        if strength_map is not None:
            soft = settings["strength_map"] = strength_of(strength_map, given.shape)
            changed = (soft > 0).float() * (1 if changed is None else changed)
        with torch.inference_mode(), self.in_steps(steps), self._guided_by(guidance):
            made = self._restored(observation, num_samples, settings, changed).cpu()
        results = [given.like(self._channels(one, given), changed) for one in made.unbind(1)]
        return results if num_samples > 1 else results[0]

    def check(
        self,
        hole: bool = False,
        sigma: float | None = None,
        strength: float | None = None,
        num_samples: int = 1,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> None:
        """Raises InputError for settings that this model cannot use, whatever the image.

        hole: whether there is one. The other arguments are those of a call.
        """
        name = self.name
        for word, value in (("strength", strength), ("steps", steps)):
            if value is not None and not self.has_sampler:
                raise InputError(f"{word}={value}: {name} has no sampler, leave {word} out")
        if strength is not None and not 0 < strength <= 1:
            raise InputError(f"strength={strength} must be above 0 and at most 1")
        if num_samples < 1:
            raise InputError(f"num_samples={num_samples} must be at least 1")
        if hole and not self.fills_holes:
            raise InputError(f"{name} fills no holes: leave the mask out")
        if not hole and self.fills_holes and strength is None:
            raise InputError(f"{name} fills holes: give a mask that is white where it is to fill")
        if self.has_sampler and strength is None and not self._serves(hole):
            raise InputError(f"{name} would draw without looking: give a strength, such as 0.5")
        self._check_sigma(sigma)
        if guidance is not None and not self.has_guidance:
            raise InputError(f"guidance={guidance}: {name} has none with a weight, leave it out")
        with self._guided_by(guidance):
            pass
        if steps is not None:
            with self.in_steps(steps):
                self.task.num_calls  # noqa: B018 (refuses more than the schedule has)

    def _check_sigma(self, sigma: float | None) -> None:
        if sigma is None and self.needs_sigma:
            raise InputError(f"{self.name} needs the noise level: give sigma, such as 25 (of 255)")
        if sigma is not None and not self.needs_sigma:
            raise InputError(f"sigma={sigma}: {self.name} looks at no noise level, leave sigma out")
        if sigma is not None and not 0 <= sigma <= 255:
            raise InputError(f"sigma={sigma} must be from 0 to 255, in grey levels")

    def in_steps(self, steps: int | None) -> AbstractContextManager[None]:
        """While it lasts, the sampler takes so many; None: its own number."""
        if steps is None:
            return nullcontext()
        sampler: Any = self.task.sampler
        return replace_attribute(self.task, "sampler", replace(sampler, num_steps=steps))

    def _guided_by(self, guidance: float | None) -> AbstractContextManager[None]:
        if guidance is None:
            return nullcontext()
        own: Any = self.task.guidance
        return replace_attribute(
            self.task, "guidance", replace(own, **{str(self._weight): guidance})
        )

    @property
    def _weight(self) -> str | None:
        """The setting of the task's guidance that says how strong it is."""
        own = getattr(self.task, "guidance", None)
        names = [field.name for field in fields(own)] if is_dataclass(own) else []
        return next((name for name in ("weight", "scale") if name in names), None)

    def _observation(
        self, given: Values, hole: Any, sigmas: list[float], edits: bool
    ) -> Observation:
        """What the task may see of an image, on the CPU.

        edits: what is drawn anew starts from the image, so that it stays in the hole; without a
        hole all of the image is drawn anew.
        """
        image, count = self._seen(given.image()), given.shape[0]
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

    def _seen(self, image: Tensor) -> Tensor:
        """An image [B, 1 or 3, H, W] in the channels of the model's input."""
        if self.colorizes:
            return lab_from_rgb(image.expand(-1, 3, -1, -1))[:, :1]
        channels = self.task.facts.input_channels
        if channels == 3:
            return image.expand(-1, 3, -1, -1)
        if channels == 1 and image.shape[1] == 3:
            if not torch.equal(image[:, :1].expand_as(image), image):
                raise InputError(
                    f"{self.name} restores grey images and this one has colours: make it grey first"
                )
            return image[:, :1]
        return image

    def _channels(self, made: Tensor, given: Values) -> Tensor:
        """A result [B, C, H, W] in the channels of the image that was given."""
        wanted = given.numbers.shape[1]
        if wanted == made.shape[1] or self.colorizes:
            return made
        if wanted == 3:
            return made.expand(-1, 3, -1, -1)
        return (made * made.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)

    def _restored(
        self,
        observation: Observation,
        num_samples: int,
        settings: dict[str, Any],
        hole: Tensor | None,
    ) -> Tensor:
        """[B, num_samples, C, H, W]; of large images only what is around `hole` is seen, outside
        which nothing changes."""
        image = observation["input"]
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
            told = _in_whole(settings["callback"], image, num_samples, window)
            settings = {**settings, "callback": told}
        with within:
            made = self.task.restore(seen, num_samples, **settings)
        if hole is None or made.shape[-2:] == image.shape[-2:]:
            return made
        whole = whole.clone()
        whole[..., window[0], window[1]] = made.to(whole)
        return whole


def _in_whole(
    callback: Callable[[Any], None], image: Tensor, num_samples: int, window: tuple[slice, slice]
) -> Callable[[Any], None]:
    """callback, shown the rows and columns `window` that a sampler works on inside of the image."""

    def placed(made: Tensor) -> Tensor:
        whole = image.repeat_interleave(num_samples, 0).expand(-1, made.shape[1], -1, -1).clone()
        whole[..., window[0], window[1]] = made.to(whole)
        return whole

    return lambda step: callback(replace(step, x=placed(step.x), x0=placed(step.x0)))
