"""Denoising diffusion: a prior of images, or of images given what is left of them."""

from collections.abc import Callable
from typing import Any, Unpack

from torch import Tensor, nn

from restore.diffusion.bound import BOUND_WEIGHT, estimated_bound
from restore.diffusion.condition import Condition, Telling
from restore.diffusion.guidance import Guidance, checked
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling
from restore.diffusion.schedule import Schedule
from restore.loss.diffusion import Parameterization, denoising_loss
from restore.network.size import check_shape
from restore.network.unet import UNet
from restore.stream import Stream, fold
from restore.task.codec import Codec
from restore.task.key import Key
from restore.task.learning import Learning
from restore.task.prior import Prior
from restore.types import Batch, Facts, InputError


class Diffusion(Prior):
    """DDPM (Ho et al. 2020) on clean images: x_t = alpha(t) x_0 + sigma(t) eps.

    t in (0, 1] is drawn as the schedule says: uniformly, or as Karras et al. 2022 for edm and
    Esser et al. 2024 for rectified.

    condition: how the network is taught to look at the degraded image (Saharia et al. 2022), any
    degradation alike. None teaches a prior, in which the degradation plays no part: `restore` then
    works zero-shot, by a sampler that inpaints (RePaint) or by a guidance around any sampler.

    codec: a frozen autoencoder, in whose latents all this happens (Rombach et al. 2022); None is
    among pixels. Conditions are then latents of the input, guidance=replacement is blended latent
    diffusion (Avrahami et al. 2023), and known pixels are put back at the end.

    min_snr_gamma: Hang et al. 2023; None for the plain loss. sigma_data: deviation of the images,
    for parameterization=edm. class_conditional: feeds labels to the network, but for the share
    label_dropout of training samples, which teach it "no class" (Ho & Salimans 2022, algorithm 1).
    given_label: `restore` feeds the label of the image, too, which only an image whose class is
    known has; by default it says "no class". clip: clips predictions of x_0 to [-1, 1] while
    sampling. val_images: so many of the first validation images are restored at every validation,
    by sampler and guidance, for val/psnr and val/ssim; fewer where a sampler makes more than
    250 calls (see `restore.task.validation.CALLS`), and 0 is none.
    """

    def __init__(
        self,
        facts: Facts,
        network: Callable[..., nn.Module],
        schedule: Schedule,
        sampler: Sampling | RePaint,
        guidance: Guidance | None = None,
        condition: Condition | None = None,
        codec: Codec | None = None,
        parameterization: Parameterization = "v",
        sigma_data: float = 0.5,
        min_snr_gamma: float | None = 5.0,
        learned_variance: bool = False,
        class_conditional: bool = False,
        label_dropout: float = 0.1,
        given_label: bool = False,
        clip: bool = True,
        seed: int = 0,
        val_images: int = 8,
        **learning: Unpack[Learning],
    ) -> None:
        super().__init__(facts, **learning)
        classes = facts.num_classes if class_conditional else None
        if class_conditional and classes is None:
            raise InputError("task.class_conditional=true needs labels, and the data has none")
        if not 0 < label_dropout < 1:
            raise InputError(
                f"task.label_dropout={label_dropout} must be above 0, so that the network learns "
                "what no class is, and below 1"
            )
        if val_images < 0:
            raise InputError(f"task.val_images={val_images} must be at least 0, which is none")
        if given_label and not class_conditional:
            raise InputError("task.given_label=true needs task.class_conditional=true")
        sampler.num_calls(schedule)  # refuses more steps than the schedule has
        self.codec = codec
        told = 0 if condition is None else self.space.input_channels + 1
        self.network = network(
            in_channels=self.space.channels + told,
            out_channels=self.space.channels * (2 if learned_variance else 1),
            **({"num_classes": classes} if class_conditional else {}),
        )
        self.schedule = schedule
        self.parameterization, self.sigma_data = parameterization, sigma_data
        self.condition, self.sampler, self.guidance = condition, sampler, checked(guidance)
        self.min_snr_gamma, self.learned_variance = min_snr_gamma, learned_variance
        self.telling = Telling(condition, classes, label_dropout)
        self.class_conditional, self.given_label = class_conditional, given_label
        self.clip, self.seed, self.val_images = clip, seed, val_images

    def contained(self, config: dict[str, Any]) -> dict[str, Any]:
        if self.codec is None or self.codec.node is None:
            return config
        return {**config, "codec": self.codec.node}

    def check(self, batch: Batch | None = None) -> None:
        super().check(batch)
        self.predictor()
        size = self.facts.image_size
        self.space.check(self.facts)
        if size is not None and isinstance(self.network, UNet):
            side = size // self.space.factor
            self.network.check_size(side, side)
        if self.min_snr_gamma is not None and self.parameterization == "edm":
            raise InputError(
                f"task.min_snr_gamma={self.min_snr_gamma}: parameterization=edm has weights of its "
                "own, set task.min_snr_gamma=null"
            )
        if self.learned_variance and self.codec is not None:
            raise InputError(
                "task.learned_variance=true counts the levels of 8-bit images, and latents have "
                "none: leave it out, or the codec"
            )
        for name in ("min_snr_gamma", "sigma_data"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"task.{name}={value} must be positive")

    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        key = (Key.VALIDATION,) if epoch is None else (Key.TRAINING, epoch)
        stream = Stream(fold(batch["index"], self.seed, *key))
        t = self.schedule.training_times(1 - stream.uniform())
        x_0, seen = self.space.encode(batch["target"]), self.space.observed(batch)
        eps = stream.normal(*x_0.shape[1:])
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in self.schedule(t))
        x_t = alpha * x_0 + sigma * eps
        told = self.telling.tell(seen, seen.get("label"))
        if epoch is not None:
            told = self.telling.teach(told, stream)
        region = self.telling.region(told)
        predictor = self.predictor(told)
        output = predictor.output(x_t, t)
        channels = x_0.shape[1] * (2 if self.learned_variance else 1)
        check_shape(self.network, output, [len(x_0), channels, *x_0.shape[2:]])
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
