"""What a trained model can do for an image: the settings and the channels that it takes."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from restore.image import lab_from_rgb
from restore.task.base import replace_attribute
from restore.task.restoration import RestorationTask
from restore.types import InputError, Observation

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


class Ability:
    """What `task`, a model called `name`, can be asked for."""

    def __init__(self, task: RestorationTask, name: str) -> None:
        self.task, self.name = task, name

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
    def ensembles(self) -> bool:
        """Whether a result can be the mean over eight views of the image."""
        return self.task.ensembles

    @property
    def colorizes(self) -> bool:
        """Whether it sees lightness alone and makes colours."""
        facts = self.task.facts
        return (facts.input_channels, facts.image_channels) == (1, 3)

    @property
    def needs_strength(self) -> bool:
        """Whether its sampler would draw without looking, unless it starts from the image."""
        return self.has_sampler and not self._serves(self.fills_holes)

    @cached_property
    def fills_holes(self) -> bool:
        """Whether it fills holes, and does nothing without one."""
        return not self._serves(hole=False) and self._serves(hole=True)

    def _serves(self, hole: bool) -> bool:
        """Asks the task about an image of one pixel."""
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

    def check(
        self,
        hole: bool = False,
        sigma: float | None = None,
        strength: float | None = None,
        num_samples: int = 1,
        steps: int | None = None,
        guidance: float | None = None,
        self_ensemble: bool = False,
    ) -> None:
        """Raises InputError for settings that this model cannot use, whatever the image.

        hole: whether there is one. The other arguments are those of a call.
        """
        name = self.name
        _check_numbers(sigma=sigma, strength=strength, guidance=guidance)
        _check_numbers(whole=True, num_samples=num_samples, steps=steps)
        for word, value in (("strength", strength), ("steps", steps)):
            if value is not None and not self.has_sampler:
                raise InputError(f"{word}={value}: {name} has no sampler, leave {word} out")
        if strength is not None and not 0 < strength <= 1:
            raise InputError(f"strength={strength} must be above 0 and at most 1")
        if self_ensemble and not self.ensembles:
            raise InputError(f"self_ensemble: {name} averages no views, leave it out")
        if num_samples < 1:
            raise InputError(f"num_samples={num_samples} must be at least 1")
        if hole and not self.fills_holes:
            raise InputError(f"{name} fills no holes: leave the mask out")
        if not hole and self.fills_holes and strength is None:
            way_out = "give a mask that is white where it is to fill"
            other = ", or a strength, such as 0.5, that changes all" if self.has_sampler else ""
            raise InputError(f"{name} fills holes: {way_out}{other}")
        if strength is None and self.needs_strength:
            raise InputError(f"{name} would draw without looking: give a strength, such as 0.5")
        self._check_sigma(sigma)
        if guidance is not None and not self.has_guidance:
            raise InputError(f"guidance={guidance}: {name} has none with a weight, leave it out")
        with self.guided_by(guidance):
            pass
        self._check_steps(steps, strength)

    def _check_steps(self, steps: int | None, strength: float | None) -> None:
        given = {"steps": steps, "strength": strength}
        named = [f"{word}={value}" for word, value in given.items() if value is not None]
        if not named:
            return
        try:
            with self.in_steps(steps):
                self.task.calls_from(strength)  # refuses more steps than there are, and none
        except InputError as error:
            raise InputError(f"{', '.join(named)}: {error}") from None

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

    def guided_by(self, guidance: float | None) -> AbstractContextManager[None]:
        """While it lasts, the guidance has this weight or scale; None: its own."""
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

    def ensembled(self, self_ensemble: bool) -> AbstractContextManager[None]:
        """While it lasts, a result is the mean over eight views, where that is asked for."""
        return self.task.ensembled() if self_ensemble else nullcontext()

    def _as_input(self, image: Tensor) -> Tensor:
        """Converts an image [B, 1 or 3, H, W] to the channels of the model's input.

        Raises InputError for colours that the model would not see.
        """
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

    def _as_given(self, made: Tensor, wanted: int) -> Tensor:
        """Converts a result [B, C, H, W] to the `wanted` channels of the image that was given."""
        if wanted == made.shape[1] or self.colorizes:
            return made
        if wanted == 3:
            return made.expand(-1, 3, -1, -1)
        return (made * made.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _check_numbers(whole: bool = False, **settings: Any) -> None:
    """Raises InputError for a setting that is neither None nor a number: a text, true or false."""
    kind, method = ("a whole number", "__index__") if whole else ("a number", "__float__")
    for word, value in settings.items():
        is_number = hasattr(value, method) and not isinstance(value, bool)
        if value is not None and not is_number:
            raise InputError(f"{word}={value!r} must be {kind}")
