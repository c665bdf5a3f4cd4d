"""Holes as scratches have them."""

import torch
from torch import Tensor

from restore.degradation.contract import Degraded
from restore.stream import Stream
from restore.types import InputError


class Scratches:
    """Horizontal and vertical scratches of one pixel, `count` of each, anywhere: holes to fill."""

    def __init__(self, count: int = 2) -> None:
        if count < 1:
            raise InputError(f"data.degradation.count={count} must be at least 1")
        self.count = count

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        height, width = target.shape[-2:]
        place = Stream(seeds).uniform(2, self.count)
        rows = self.lines(place[:, 0], height)[:, :, None]
        columns = self.lines(place[:, 1], width)[:, None, :]
        hole = (rows | columns)[:, None].to(target.dtype)
        return Degraded(target=target, input=target.masked_fill(hole == 1, 0), hole=hole)

    @staticmethod
    def lines(place: Tensor, length: int) -> Tensor:
        """Which of `length` pixels places [B, count] in [0, 1) hit, bool [B, length]."""
        index = torch.arange(length, device=place.device)
        return ((place * length).long()[:, :, None] == index).any(dim=1)
