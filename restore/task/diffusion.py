"""Denoising diffusion: a prior of images, or of images given what is left of them."""

from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from restore.diffusion.bound import BOUND_WEIGHT, estimated_bound
from restore.diffusion.condition import NOTHING, Condition, Conditional, Telling, Told, dropped
from restore.diffusion.guidance import Guidance, Replacement
from restore.diffusion.parameterization import Denoise, Predictor
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling
from restore.diffusion.schedule import Schedule
from restore.diffusion.walk import initial_noise, times_from
from restore.loss.diffusion import Parameterization, denoising_loss
from restore.network.unet import UNet
from restore.stream import Stream, fold
from restore.task.base import RestorationTask
from restore.task.key import Key
from restore.task.learning import Learning
from restore.task.seen import padded, repeated
from restore.types import Batch, Facts, InputError, Observation


class Diffusion(RestorationTask):
    """DDPM (Ho et al. 2020) on clean images: x_t = alpha(t) x_0 + sigma(t) eps, t ~ U(0, 1].

    condition: how the network is taught to look at the degraded image (Saharia et al. 2022), any
    degradation alike. None teaches a prior, in which the degradation plays no part: `restore` then
    works zero-shot, by a sampler that inpaints (RePaint) or by a guidance around any sampler.

    min_snr_gamma: Hang et al. 2023; None for the plain loss. sigma_data: deviation of the images,
    for parameterization=edm. class_conditional: feeds labels to the network, but for the share
    label_dropout of training samples, which teach it "no class" (Ho & Salimans 2022, algorithm 1).
    given_label: `restore` feeds the label of the image, too, which only an image whose class is
    known has; by default it says "no class". clip: clips predictions of x_0 to [-1, 1] while
    sampling.
    """

    def __init__(
        self,
        facts: Facts,
        network: Callable[..., nn.Module],
        schedule: Schedule,
        sampler: Sampling | RePaint,
        guidance: Guidance | None = None,
        condition: Condition | None = None,
        parameterization: Parameterization = "v",
        sigma_data: float = 0.5,
        min_snr_gamma: float | None = 5.0,
        learned_variance: bool = False,
        class_conditional: bool = False,
        label_dropout: float = 0.1,
        given_label: bool = False,
        clip: bool = True,
        seed: int = 0,
        **learning: Unpack[Learning],
    ) -> None:
        super().__init__(facts, **learning)
        if class_conditional and facts.num_classes is None:
            raise InputError("task.class_conditional=true needs labels, and the data has none")
        if not 0 < label_dropout < 1:
            raise InputError(
                f"task.label_dropout={label_dropout} must be above 0, so that the network learns "
                "what no class is, and below 1"
            )
        if given_label and not class_conditional:
            raise InputError("task.given_label=true needs task.class_conditional=true")
        sampler.num_calls(schedule)  # refuses more steps than the schedule has
        self.network = network(
            in_channels=facts.image_channels + (condition is not None and facts.input_channels + 1),
            out_channels=facts.image_channels * (2 if learned_variance else 1),
            **({"num_classes": facts.num_classes} if class_conditional else {}),
        )
        self.schedule = schedule
        self.condition = condition
        self.parameterization = parameterization
        self.sigma_data = sigma_data
        self.sampler = sampler
        self.guidance = guidance
        self.min_snr_gamma = min_snr_gamma
        self.learned_variance = learned_variance
        classes = facts.num_classes if class_conditional else None
        self.telling = Telling(condition, classes, label_dropout)
        self.class_conditional = class_conditional
        self.given_label = given_label
        self.clip = clip
        self.seed = seed

    @property
    def num_calls(self) -> int:
        times = self.sampler.calls(self.schedule)
        return len(times) if self.guidance is None else self.guidance.calls(times)

    def check(self, batch: Batch | None = None) -> None:
        super().check(batch)
        self.predictor()
        size = self.facts.image_size
        if size is not None and isinstance(self.network, UNet):
            self.network.check_size(size, size)
        if self.min_snr_gamma is not None and self.parameterization == "edm":
            raise InputError(
                f"task.min_snr_gamma={self.min_snr_gamma}: parameterization=edm has weights of its "
                "own, set task.min_snr_gamma=null"
            )
        for name in ("min_snr_gamma", "sigma_data"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"task.{name}={value} must be positive")

    def check_observation(self, observation: Observation, start: float | None = None) -> None:
        """Raises InputError for observations that `restore` cannot serve from this start."""
        channels, known = observation["input"].shape[1], self.facts
        if self.condition is not None:
            super().check_observation(observation)
            if known.has_hole and "hole" not in observation:
                raise InputError("this model fills holes: use a degradation with a mask")
            if not known.has_hole and "hole" in observation:
                raise InputError("this model was shown no holes: use a degradation without a mask")
        read = self.guidance is not None and self.guidance.reads(observation)
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
            self.guidance.check(observation)
            self.guidance.check_prior(self._prior(observation))
        leads = (start, self.guidance, self.condition)
        self.sampler.check(observation, is_led=any(one is not None for one in leads))

    def predictor(self, told: Told = NOTHING) -> Predictor:
        """The network as x_0 of (x_t, t), told something of its samples."""

        def predict(x: Tensor, t: Tensor) -> Tensor:
            seen = x if told.shown is None else torch.cat([x, told.shown.to(x)], dim=1)
            label = (told.label,) if self.class_conditional else ()
            output: Tensor = self.network(seen, t, *label)
            return output

        return Predictor(predict, self.parameterization, self.schedule, self.clip, self.sigma_data)

    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        key = (Key.VALIDATION,) if epoch is None else (Key.TRAINING, epoch)
        stream = Stream(fold(batch["index"], self.seed, *key))
        t = self.schedule.training_times(1 - stream.uniform())
        x_0 = batch["target"]
        eps = stream.normal(*x_0.shape[1:])
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule(t))
        x_t = alpha * x_0 + sigma * eps
        told = self.telling.told(batch, batch.get("label"))
        if epoch is not None:
            told = self.telling.taught(told, stream)
        region = self.telling.region(told)
        predictor = self.predictor(told)
        output = predictor.output(x_t, t)
        error = denoising_loss(
            output[:, : x_0.shape[1]],
            predictor.target(x_0, eps, t),
            self.schedule.snr(t),
            self.parameterization,
            self.min_snr_gamma,
            region,
        )
        terms = {"denoising": error.mean()}
        if self.learned_variance:
            bound = estimated_bound(predictor, output, x_0, x_t, t, region)
            terms["bound"] = BOUND_WEIGHT * bound.mean()
        return terms

    def restore(
        self,
        observation: Observation,
        num_samples: int = 1,
        *,
        seed: int | None = None,
        start: float | None = None,
        callback: Callable[[Any], None] | None = None,
    ) -> Tensor:
        """Samples, which condition, sampler and guidance lead to the observation.

        start: samples begin at the noised input (Meng et al. 2022).
        """
        self.check_observation(observation, start)
        height, width = observation["input"].shape[-2:]
        seen = repeated(padded(observation, getattr(self.network, "factor", 1)), num_samples)
        draw = torch.arange(num_samples, device=seen["index"].device)
        draw = draw.repeat(len(observation["index"]))
        own = self.seed if seed is None else seed
        stream = Stream(fold(seen["index"], own, Key.SAMPLING, draw))
        denoise = self._led(seen)
        x = self._first(seen, stream, start)
        x = self.sampler(
            denoise, x, self.schedule, stream, callback, start=start or 1.0, observation=seen
        )
        x = x[..., :height, :width]
        return x.view(-1, num_samples, *x.shape[1:])

    def _prior(self, observation: Observation) -> Conditional:
        """The network, told all that it may know of these samples."""
        told = self.telling.told(
            observation, observation.get("label") if self.given_label else None
        )
        return Conditional(self.predictor, told, self.telling.without(told))

    def _led(self, observation: Observation) -> Denoise:
        """denoise, led to the observation."""
        denoise: Denoise = self._prior(observation)
        if self.guidance is not None:
            denoise = self.guidance.guide(denoise, observation)
        if self.condition is not None and "hole" in observation:
            denoise = Replacement().guide(denoise, observation)
        return denoise

    def _first(self, seen: Observation, stream: Stream, start: float | None) -> Tensor:
        """Where the sampler begins, [B, C, H, W]: pure noise, or the noised image."""
        image = seen["input"]
        shape = (self.facts.image_channels, *image.shape[-2:])
        if start is None:
            return initial_noise(self.schedule, torch.ones(()), shape, stream)
        time = times_from(self.schedule.times(self.sampler.num_steps), start)[0]
        alpha, sigma = self.schedule(time)
        if self.guidance is not None:
            image = self.guidance.image(seen, shape[0])
        return alpha * image + sigma * stream.normal(*shape)

    def generate(self, index: Tensor, size: tuple[int, int], label: Tensor | None = None) -> Tensor:
        """New images [B, C, H, W] in [-1, 1], one for each index [B]: same index, same image.

        InputError for a network that was never trained without its condition.
        """
        told = Told(None, label)
        if self.condition is not None:
            if not self.condition.dropout:
                raise InputError(
                    "this model makes no new images: it was trained with task.condition.dropout=0"
                )
            blank = torch.zeros(len(index), self.facts.input_channels + 1, *size)
            told = Told(dropped(blank), label)
        stream = Stream(fold(index, self.seed, Key.SAMPLING, -1))
        shape = (self.facts.image_channels, *size)
        x = initial_noise(self.schedule, torch.ones(()), shape, stream)
        nothing = Observation(input=x, index=index, name=[], hole=torch.ones_like(x[:, :1]))
        denoise = self.predictor(told)
        return self.sampler(denoise, x, self.schedule, stream, observation=nothing)
