"""What a trained diffusion can do: say x_0, restore observations, make new images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.diffusion.condition import NOTHING, Condition, Conditional, Telling, Told, drop
from restore.diffusion.editing import check_strength, keep_below
from restore.diffusion.guidance import Guidance, Replacement
from restore.diffusion.parameterization import Denoise, Predictor
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling
from restore.diffusion.schedule import Schedule
from restore.diffusion.walk import Step, initial_noise, times_from
from restore.loss.diffusion import Parameterization
from restore.network.graphed import Graphed
from restore.network.size import pad_to_multiple
from restore.stream import Stream, fold
from restore.task.codec import Codec, PixelSpace, Space
from restore.task.key import Key
from restore.task.restoration import RestorationTask
from restore.task.seen import pad, repeat
from restore.types import InputError, Observation


class Prior(RestorationTask):
    """A network that predicts x_0, and what leads its samples to an observation.

    All of it is among pixels, or among the latents of `codec`; observations and images are of
    pixels always.
    """

    network: nn.Module
    schedule: Schedule
    sampler: Sampling | RePaint
    guidance: Guidance | None
    condition: Condition | None
    codec: Codec | None
    telling: Telling
    parameterization: Parameterization
    sigma_data: float
    class_conditional: bool
    given_label: bool
    clip: bool
    seed: int

    @property
    def space(self) -> Space:
        """The space of images in which noise is added and removed."""
        return PixelSpace(self.facts) if self.codec is None else self.codec

    @property
    def num_calls(self) -> int:
        return self.calls_from(None)

    def calls_from(self, start: float | None) -> int:
        times = self.sampler.calls(self.schedule, start or 1.0)
        return len(times) if self.guidance is None else self.guidance.calls(times)

    def check_observation(self, observation: Observation, start: float | None = None) -> None:
        """Raises InputError for observations that `restore` cannot serve from this start."""
        channels, known = observation["input"].shape[1], self.facts
        self.calls_from(start)  # refuses too few steps
        if self.condition is not None:
            super().check_observation(observation)
            if known.has_hole and "hole" not in observation:
                raise InputError("this model fills holes: use a degradation with a mask")
            if not known.has_hole and "hole" in observation:
                raise InputError("this model was shown no holes: use a degradation without a mask")
        held = self.space.holds(observation)
        read = self.guidance is not None and self.guidance.reads(held, known.image_channels)
        blind = self.condition is None or start is not None
        if channels != known.image_channels and blind and not read:
            raise InputError(
                f"this prior makes images of {known.image_channels} channels and the "
                f"degradation leaves {channels}: choose one that keeps them, or, where it is "
                "known, guidance=null_space"
            )
        if self.given_label and "label" not in observation:
            raise InputError("task.given_label=true needs labels, and this data has none")
        if self.guidance is not None:
            self.guidance.check(held)
            self.guidance.check_prior(self._prior(held))
        leads = (start, self.guidance, self.condition)
        self.sampler.check(observation, is_led=any(one is not None for one in leads))

    @contextmanager
    def within(self, side: int, needed: Tensor | None = None) -> Iterator[None]:
        factor = self.space.factor
        if needed is not None:
            needed = F.max_pool2d(needed, factor, ceil_mode=True)
        with super().within(side // factor, needed), self.space.within(side):
            yield

    def predictor(
        self, told: Told = NOTHING, network: Callable[..., Tensor] | None = None
    ) -> Predictor:
        """The network as a function of (x_t, t) to x_0; it is told `told` of its samples.

        network: what is called in place of the task's own, of the same inputs.
        """
        called = network or self.network

        def predict(x: Tensor, t: Tensor) -> Tensor:
            seen = x if told.shown is None else torch.cat([x, told.shown.to(x)], dim=1)
            label = (told.label,) if self.class_conditional else ()
            output: Tensor = called(seen, t, *label)
            return output

        clip = self.clip and self.space.is_bounded
        return Predictor(predict, self.parameterization, self.schedule, clip, self.sigma_data)

    def restore(
        self,
        observation: Observation,
        num_samples: int = 1,
        *,
        seed: int | None = None,
        start: float | None = None,
        callback: Callable[[Any], None] | None = None,
        strength_map: Tensor | None = None,
    ) -> Tensor:
        """Draws samples that condition, sampler and guidance lead to the observation.

        start: samples begin at the noised input (Meng et al. 2022). strength_map [B, 1, H, W] in
        [0, 1]: how much of start, or of 1, acts where; see `keep_below`.
        """
        if strength_map is not None:
            start = 1.0 if start is None else start
            check_strength(strength_map, observation["input"])
        self.check_observation(observation, start)
        height, width = observation["input"].shape[-2:]
        factor = self.space.factor * getattr(self.network, "factor", 1)
        held = pad(self.space.holds(observation), factor)
        seen = repeat(self.space.observed(held), num_samples)
        draw = torch.arange(num_samples, device=seen["index"].device)
        draw = draw.repeat(len(observation["index"]))
        own = self.seed if seed is None else seed
        stream = Stream(fold(seen["index"], own, Key.SAMPLING, draw))
        image = None if start is None else self._shown(held).repeat_interleave(num_samples, 0)
        denoise, x = self._led(seen), self._first(seen, stream, start, image)
        if image is not None and strength_map is not None:
            strength = F.max_pool2d(pad_to_multiple(strength_map, factor), self.space.factor)
            strength = (start or 1.0) * strength.repeat_interleave(num_samples, 0)
            denoise = keep_below(denoise, image, strength)
        shows = None if callback is None else self._decoding(callback, (height, width))
        x = self.sampler(
            denoise, x, self.schedule, stream, shows, start=start or 1.0, observation=seen
        )
        made = self.space.decode(x)[..., :height, :width]
        made = made.view(-1, num_samples, *made.shape[1:])
        if self.codec is None:
            return made
        for drawn in (observation.get("hole"), strength_map):
            if drawn is not None:
                made = torch.where(drawn[:, None] > 0, made, observation["input"][:, None])
        return made

    def _decoding(
        self, callback: Callable[[Any], None], size: tuple[int, int]
    ) -> Callable[[Step], None]:
        """Wraps callback, so that it sees images of the observation's size and never latents."""
        height, width = size

        def image(x: Tensor) -> Tensor:
            return self.space.decode(x)[..., :height, :width]

        return lambda step: callback(replace(step, x=image(step.x), x0=image(step.x0)))

    def _prior(self, observation: Observation) -> Conditional:
        """The network, told all that it may know of these samples."""
        told = self.telling.tell(
            observation, observation.get("label") if self.given_label else None
        )
        predictor = partial(self.predictor, network=Graphed(self.network))
        return Conditional(predictor, told, self.telling.without(told))

    def _led(self, observation: Observation) -> Denoise:
        """The network, led to the observation by guidance and known pixels."""
        denoise: Denoise = self._prior(observation)
        if self.guidance is not None:
            denoise = self.guidance.guide(denoise, observation)
        if self.condition is not None and "hole" in observation:
            denoise = Replacement().guide(denoise, observation)
        return denoise

    def _first(
        self, seen: Observation, stream: Stream, start: float | None, image: Tensor | None
    ) -> Tensor:
        """Where the sampler begins, [B, C, H, W]: pure noise, or the noised image."""
        shape = (self.space.channels, *seen["input"].shape[-2:])
        if start is None or image is None:
            return initial_noise(self.schedule, torch.ones(()), shape, stream)
        time = times_from(self.schedule.times(self.sampler.num_steps), start)[0]
        alpha, sigma = self.schedule(time)
        return alpha * image + sigma * stream.normal(*shape)

    def _shown(self, held: Observation) -> Tensor:
        """The observation as an image of the prior, with what stands in its hole."""
        image = held["input"]
        if self.guidance is not None:
            image = self.guidance.image(held, self.facts.image_channels)
        return self.space.encode(image)

    def generate(self, index: Tensor, size: tuple[int, int], label: Tensor | None = None) -> Tensor:
        """Makes new images [B, C, H, W] in [-1, 1], one for each index [B]; it decides the image.

        size: height and width in px. label [B]: their classes. Raises InputError
        for a network that was never trained without its condition.
        """
        told, sides = Told(None, label), tuple(side // self.space.factor for side in size)
        if self.condition is not None:
            if not self.condition.dropout:
                raise InputError(
                    "this model makes no new images: it was trained with task.condition.dropout=0"
                )
            blank = torch.zeros(len(index), self.space.input_channels + 1, *sides)
            told = Told(drop(blank), label)
        stream = Stream(fold(index, self.seed, Key.SAMPLING, -1))
        shape = (self.space.channels, *sides)
        x = initial_noise(self.schedule, torch.ones(()), shape, stream)
        nothing = Observation(input=x, index=index, name=[], hole=torch.ones_like(x[:, :1]))
        denoise = self.predictor(told, Graphed(self.network))
        made = self.sampler(denoise, x, self.schedule, stream, observation=nothing)
        return self.space.decode(made)
