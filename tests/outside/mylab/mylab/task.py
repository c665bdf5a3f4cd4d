"""Denoising without a clean image."""

from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from restore.stream import Stream, fold
from restore.task.learning import Learning
from restore.task.restoration import RestorationTask
from restore.types import Batch, Facts, InputError, Observation


class Noise2Void(RestorationTask):
    """Krull et al. 2019: hidden pixels of a single noisy image are told from their neighbours.

    share: of pixels that are hidden in an update; each takes the value of another pixel within
    `radius`. Noise of neighbouring pixels must be independent. The target is never looked at.
    """

    def __init__(
        self,
        facts: Facts,
        network: Callable[..., nn.Module],
        share: float = 0.05,
        radius: int = 2,
        seed: int = 0,
        **learning: Unpack[Learning],
    ) -> None:
        super().__init__(facts, **learning)
        if not 0 < share < 1:
            raise InputError(f"task.share={share} must be in (0, 1)")
        if radius < 1:
            raise InputError(f"task.radius={radius} must be at least 1")
        self.network = network(image_channels=facts.image_channels, image_size=facts.image_size)
        self.share, self.radius, self.seed = share, radius, seed

    def check_observation(self, observation: Observation) -> None:
        super().check_observation(observation)
        side = min(observation["input"].shape[-2:])
        if self.radius >= side:
            raise InputError(f"task.radius={self.radius} must be below the {side} pixels of a side")

    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        noisy = batch["input"]
        pass_ = 0 if epoch is None else epoch + 1
        hidden, masked = self.hide(noisy, fold(batch["index"], self.seed, pass_))
        error = (self.network(masked, batch.get("sigma")) - noisy).square()
        return {"hidden_l2": (error * hidden).sum() / (hidden.sum() * noisy.shape[1])}

    def hide(self, noisy: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Which pixels are hidden [B, 1, H, W] in {0, 1}, and the image without them."""
        height, width = noisy.shape[-2:]
        stream = Stream(seeds)
        order = stream.uniform(height * width).argsort(dim=1).argsort(dim=1)
        count = max(1, round(self.share * height * width))
        hidden = (order < count).view(-1, 1, height, width)
        # The neighbours of a window without its centre, by number. Rows and columns go round, and
        # are no mirror, which could show a pixel itself.
        side = 2 * self.radius + 1
        number = (stream.uniform(height, width) * (side**2 - 1)).long()
        number = number + (number >= side**2 // 2).long()
        row = torch.arange(height, device=noisy.device)[:, None] + number // side - self.radius
        column = torch.arange(width, device=noisy.device) + number % side - self.radius
        place = row % height * width + column % width
        flat = noisy.flatten(2)
        other = flat.gather(2, place.flatten(1)[:, None].expand_as(flat)).view_as(noisy)
        return hidden.to(noisy.dtype), torch.where(hidden, other, noisy)

    def restore(
        self,
        observation: Observation,
        num_samples: int = 1,
        *,
        seed: int | None = None,
        start: float | None = None,
        callback: Callable[[Any], None] | None = None,
    ) -> Tensor:
        restored = self.network(observation["input"], observation.get("sigma"))
        return restored.unsqueeze(1).repeat_interleave(num_samples, 1)
