"""Denoising diffusion: an unconditional (or class-conditional) prior."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from restore.diffusion.guidance import Replacement
from restore.diffusion.parameterization import Denoise, Denoiser
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling, initial_noise
from restore.diffusion.schedule import Schedule
from restore.loss.diffusion import denoising_loss, variational_bound
from restore.network.unet import UNet
from restore.stream import Stream, fold
from restore.task.base import OptimizerFactory, RestorationTask, SchedulerFactory
from restore.types import Batch, Facts, InputError

_TRAINING, _VALIDATION, _SAMPLING = -11, -12, -13  # keys that keep the random streams apart
NUM_LEVELS = 1000  # T of the bound: its terms compare t with t - 1/T
BOUND_WEIGHT = 0.001  # of L_vlb in the hybrid loss, Nichol & Dhariwal 2021, section 3.1


class Diffusion(RestorationTask):
    """DDPM (Ho et al. 2020) on clean images: x_t = alpha(t) x_0 + sigma(t) eps, t ~ U(0, 1].

    The degradation plays no part in training: `restore` fills holes zero-shot, by a sampler that
    inpaints (RePaint) or by guidance (replacement) around any sampler.

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
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        guidance: Replacement | None = None,
        prediction: Literal["eps", "x0", "v"] = "v",
        min_snr_gamma: float | None = 5.0,
        learned_variance: bool = False,
        class_conditional: bool = False,
        label_dropout: float = 0.1,
        given_label: bool = False,
        clip: bool = True,
        seed: int = 0,
        clip_norm: float | None = None,
        accumulate: int = 1,
        scheduler_interval: Literal["update", "epoch"] = "update",
    ) -> None:
        super().__init__(facts, optimizer, scheduler, clip_norm, accumulate, scheduler_interval)
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
        self.prediction = prediction
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
    def restorer(self) -> nn.Module:
        return self.network

    @property
    def num_calls(self) -> int:
        return self.sampler.num_calls(self.schedule)

    def check(self, batch: Batch | None = None) -> None:
        super().check(batch)
        self.denoiser(None)
        if batch is not None:
            self._check_restores(batch)
        size = self.facts.image_size
        if size is not None and isinstance(self.network, UNet):
            self.network.check_size(size, size)
        if self.min_snr_gamma is not None and self.min_snr_gamma <= 0:
            raise InputError(f"task.min_snr_gamma={self.min_snr_gamma} must be positive, or null")

    def _check_restores(self, batch: Batch) -> None:
        if "hole" not in batch:
            raise InputError("this prior fills holes: use a degradation with a mask")
        if not (self.sampler.inpaints or self.guidance):
            raise InputError(
                "this sampler would ignore the known pixels: use sampler=repaint_fast, or "
                "guidance=replacement with any sampler"
            )
        if self.given_label and "label" not in batch:
            raise InputError("task.given_label=true needs labels, and this data has none")

    def denoiser(self, label: Tensor | None) -> Denoiser:
        """The network as x_0 of (x_t, t), for labels [B]; None is "no class" for all."""

        def predict(x: Tensor, t: Tensor) -> Tensor:
            output: Tensor = (
                self.network(x, t, label) if self.class_conditional else self.network(x, t)
            )
            return output

        return Denoiser(predict, self.prediction, self.schedule, self.clip)

    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        key = (_VALIDATION,) if epoch is None else (_TRAINING, epoch)
        stream = Stream(fold(batch["index"], self.seed, *key))
        t = self.schedule.training_times(1 - stream.uniform())
        x_0 = batch["target"]
        eps = stream.normal(*x_0.shape[1:])
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule(t))
        x_t = alpha * x_0 + sigma * eps
        denoiser = self.denoiser(self._taught_label(batch, stream, epoch))
        output = denoiser.output(x_t, t)
        error = denoising_loss(
            output[:, : x_0.shape[1]],
            denoiser.target(x_0, eps, t),
            self.schedule.snr(t),
            self.prediction,
            self.min_snr_gamma,
        )
        terms = {"denoising": error.mean()}
        if self.learned_variance:
            terms["bound"] = BOUND_WEIGHT * self._bound(denoiser, output, x_0, x_t, t).mean()
        return terms

    def _taught_label(self, batch: Batch, stream: Stream, epoch: int | None) -> Tensor | None:
        """Labels [B], of which training replaces a share by "no class"."""
        if not self.class_conditional or epoch is None:
            return batch.get("label")
        dropped = stream.uniform() < self.label_dropout
        return batch["label"].masked_fill(dropped, self.facts.num_classes or 0)

    def _bound(
        self, denoiser: Denoiser, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor
    ) -> Tensor:
        """L_vlb [B] in bits per dimension, as an estimate from one level."""
        s = (t - 1 / NUM_LEVELS).clamp(min=0)
        truth = self.schedule.posterior(x_t, x_0, t, s)
        mean = self.schedule.posterior(x_t, denoiser.x0(output, x_t, t), t, s).mean
        small, large = (v.view(-1, 1, 1, 1) for v in self.schedule.log_variances(t, s))
        fraction = denoiser.fraction(output)
        log_variance = fraction * large + (1 - fraction) * small
        terms = variational_bound(x_0, truth.mean, small, mean, log_variance, s == 0)
        return NUM_LEVELS * terms

    def restore(self, batch: Batch, num_samples: int = 1) -> Tensor:
        """Holes filled by samples of the prior; known pixels bit-equal to the input's."""
        self._check_restores(batch)
        repeat = [
            batch[key].repeat_interleave(num_samples, 0) for key in ("input", "hole", "index")
        ]
        image, hole, index = repeat
        draw = torch.arange(num_samples, device=index.device).repeat(len(batch["index"]))
        label = batch["label"].repeat_interleave(num_samples, 0) if self.given_label else None
        denoise: Denoise = self.denoiser(label)
        stream = Stream(fold(index, self.seed, _SAMPLING, draw))
        x = initial_noise(self.schedule, torch.ones(()), image.shape[1:], stream)
        if self.guidance is not None:
            denoise = self.guidance.guide(denoise, image=image, hole=hole)
        if isinstance(self.sampler, RePaint):
            x = self.sampler(denoise, x, self.schedule, stream, image=image, hole=hole)
        else:
            x = self.sampler(denoise, x, self.schedule, stream)
        return x.view(-1, num_samples, *x.shape[1:])

    def generate(self, index: Tensor, size: tuple[int, int], label: Tensor | None = None) -> Tensor:
        """New images [B, C, H, W] in [-1, 1], one for each index [B]: same index, same image."""
        stream = Stream(fold(index, self.seed, _SAMPLING, -1))
        shape = (self.facts.image_channels, *size)
        x = initial_noise(self.schedule, torch.ones(()), shape, stream)
        denoise = self.denoiser(label)
        if isinstance(self.sampler, RePaint):  # a hole everywhere: plain ancestral sampling
            hole = torch.ones_like(x[:, :1])
            return self.sampler(denoise, x, self.schedule, stream, image=x, hole=hole)
        return self.sampler(denoise, x, self.schedule, stream)
