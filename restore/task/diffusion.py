"""Denoising diffusion: an unconditional (or class-conditional) prior."""

from collections.abc import Callable
from typing import Any, Literal, Unpack, cast

import torch
from torch import Tensor, nn

from restore.diffusion.guidance import Guidance
from restore.diffusion.parameterization import Denoise, Predictor
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling
from restore.diffusion.schedule import Schedule
from restore.diffusion.walk import initial_noise, times_from
from restore.loss.diffusion import denoising_loss, variational_bound
from restore.network.size import pad_to_multiple
from restore.network.unet import UNet
from restore.stream import Stream, fold
from restore.task.base import Learning, RestorationTask
from restore.task.key import Key
from restore.types import Batch, Facts, InputError, Observation

NUM_LEVELS = 1000  # T of the bound: its terms compare t with t - 1/T
BOUND_WEIGHT = 0.001  # of L_vlb in the hybrid loss, Nichol & Dhariwal 2021, section 3.1


class Diffusion(RestorationTask):
    """DDPM (Ho et al. 2020) on clean images: x_t = alpha(t) x_0 + sigma(t) eps, t ~ U(0, 1].

    The degradation plays no part in training: `restore` works zero-shot, by a sampler that
    inpaints (RePaint) or by a guidance (replacement) around any sampler.

    min_snr_gamma: Hang et al. 2023; None for the plain loss. class_conditional: feeds labels to the
    network, but for the share label_dropout of training samples, which teach it "no class" (Ho &
    Salimans 2022, algorithm 1). given_label: `restore` feeds the label of the image, too, which
    only an image whose class is known has; by default it says "no class". clip: clips predictions
    of x_0 to [-1, 1] while sampling.
    """

    def __init__(
        self,
        facts: Facts,
        network: Callable[..., nn.Module],
        schedule: Schedule,
        sampler: Sampling | RePaint,
        guidance: Guidance | None = None,
        parameterization: Literal["eps", "x0", "v"] = "v",
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
            in_channels=facts.image_channels,
            out_channels=facts.image_channels * (2 if learned_variance else 1),
            **({"num_classes": facts.num_classes} if class_conditional else {}),
        )
        self.schedule = schedule
        self.parameterization = parameterization
        self.sampler = sampler
        self.guidance = guidance
        self.min_snr_gamma = min_snr_gamma
        self.learned_variance = learned_variance
        self.class_conditional = class_conditional
        self.label_dropout = label_dropout
        self.given_label = given_label
        self.clip = clip
        self.seed = seed

    @property
    def num_calls(self) -> int:
        return self.sampler.num_calls(self.schedule)

    def check(self, batch: Batch | None = None) -> None:
        super().check(batch)
        self.predictor(None)
        size = self.facts.image_size
        if size is not None and isinstance(self.network, UNet):
            self.network.check_size(size, size)
        if self.min_snr_gamma is not None and self.min_snr_gamma <= 0:
            raise InputError(f"task.min_snr_gamma={self.min_snr_gamma} must be positive, or null")

    def check_observation(self, observation: Observation) -> None:
        self._check_served(observation, None)

    def _check_served(self, observation: Observation, start: float | None) -> None:
        channels = observation["input"].shape[1]
        if channels != self.facts.image_channels:
            raise InputError(
                f"this prior makes images of {self.facts.image_channels} channels and the "
                f"degradation leaves {channels}: choose one that keeps them"
            )
        if self.given_label and "label" not in observation:
            raise InputError("task.given_label=true needs labels, and this data has none")
        if self.guidance is not None:
            self.guidance.check(observation)
        else:
            self.sampler.check(observation, start)

    def predictor(self, label: Tensor | None) -> Predictor:
        """The network as x_0 of (x_t, t), for labels [B]; None is "no class" for all."""

        def predict(x: Tensor, t: Tensor) -> Tensor:
            output: Tensor = (
                self.network(x, t, label) if self.class_conditional else self.network(x, t)
            )
            return output

        return Predictor(predict, self.parameterization, self.schedule, self.clip)

    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        key = (Key.VALIDATION,) if epoch is None else (Key.TRAINING, epoch)
        stream = Stream(fold(batch["index"], self.seed, *key))
        t = self.schedule.training_times(1 - stream.uniform())
        x_0 = batch["target"]
        eps = stream.normal(*x_0.shape[1:])
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule(t))
        x_t = alpha * x_0 + sigma * eps
        predictor = self.predictor(self._taught_label(batch, stream, epoch))
        output = predictor.output(x_t, t)
        error = denoising_loss(
            output[:, : x_0.shape[1]],
            predictor.target(x_0, eps, t),
            self.schedule.snr(t),
            self.parameterization,
            self.min_snr_gamma,
        )
        terms = {"denoising": error.mean()}
        if self.learned_variance:
            terms["bound"] = BOUND_WEIGHT * self._bound(predictor, output, x_0, x_t, t).mean()
        return terms

    def _taught_label(self, batch: Batch, stream: Stream, epoch: int | None) -> Tensor | None:
        """Labels [B], of which training replaces a share by "no class"."""
        if not self.class_conditional or epoch is None:
            return batch.get("label")
        dropped = stream.uniform() < self.label_dropout
        return batch["label"].masked_fill(dropped, self.facts.num_classes or 0)

    def _bound(
        self, predictor: Predictor, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        """L_vlb [B] in bits per dimension, as an estimate from one level."""
        s = (t - 1 / NUM_LEVELS).clamp(min=0)
        truth = self.schedule.posterior(x_t, x_0, t, s)
        mean = self.schedule.posterior(x_t, predictor.x0(output, x_t, t), t, s).mean
        small, large = (v.view(-1, 1, 1, 1) for v in self.schedule.log_variances(t, s))
        fraction = predictor.fraction(output)
        log_variance = fraction * large + (1 - fraction) * small
        terms = variational_bound(x_0, truth.mean, small, mean, log_variance, s == 0)
        return NUM_LEVELS * terms

    def restore(
        self,
        observation: Observation,
        num_samples: int = 1,
        *,
        seed: int | None = None,
        start: float | None = None,
        callback: Callable[[Any], None] | None = None,
    ) -> Tensor:
        """Samples of the prior, which sampler and guidance lead to the observation.

        start: samples begin at the noised input (Meng et al. 2022).
        """
        self._check_served(observation, start)
        height, width = observation["input"].shape[-2:]
        seen = repeated(padded(observation, getattr(self.network, "factor", 1)), num_samples)
        draw = torch.arange(num_samples, device=seen["index"].device)
        draw = draw.repeat(len(observation["index"]))
        own = self.seed if seed is None else seed
        stream = Stream(fold(seen["index"], own, Key.SAMPLING, draw))
        label = seen["label"] if self.given_label else None
        denoise: Denoise = self.predictor(label)
        if self.guidance is not None:
            denoise = self.guidance.guide(denoise, seen)
        x = self._first(seen["input"], stream, start)
        x = self.sampler(
            denoise, x, self.schedule, stream, callback, start=start or 1.0, observation=seen
        )
        x = x[..., :height, :width]
        return x.view(-1, num_samples, *x.shape[1:])

    def _first(self, image: Tensor, stream: Stream, start: float | None) -> Tensor:
        """Where the sampler begins, [B, C, H, W]: pure noise, or the noised image."""
        if start is None:
            return initial_noise(self.schedule, torch.ones(()), image.shape[1:], stream)
        time = times_from(self.schedule.times(self.sampler.num_steps), start)[0]
        alpha, sigma = self.schedule(time)
        return alpha * image + sigma * stream.normal(*image.shape[1:])

    def generate(self, index: Tensor, size: tuple[int, int], label: Tensor | None = None) -> Tensor:
        """New images [B, C, H, W] in [-1, 1], one for each index [B]: same index, same image."""
        stream = Stream(fold(index, self.seed, Key.SAMPLING, -1))
        shape = (self.facts.image_channels, *size)
        x = initial_noise(self.schedule, torch.ones(()), shape, stream)
        nothing = Observation(input=x, index=index, name=[], hole=torch.ones_like(x[:, :1]))
        return self.sampler(self.predictor(label), x, self.schedule, stream, observation=nothing)


def padded(observation: Observation, factor: int) -> Observation:
    """Image and hole mirrored at the bottom and right up to multiples of `factor`."""
    grown = {
        key: pad_to_multiple(value, factor)
        for key, value in observation.items()
        if isinstance(value, Tensor) and value.ndim == 4
    }
    return cast(Observation, {**observation, **grown})


def repeated(observation: Observation, num_samples: int) -> Observation:
    """Every sample of an observation num_samples times in a row."""
    return cast(
        Observation,
        {
            key: value.repeat_interleave(num_samples, 0) if isinstance(value, Tensor) else value
            for key, value in observation.items()
        },
    )
