"""BF-CNN: a blind denoiser without additive constants (Mohan et al. 2020, arXiv:1906.05478)."""

from typing import ClassVar

from torch import Tensor, nn

from restore.network.published_denoiser import PublishedDenoiser
from restore.types import InputError


class BFCNN(PublishedDenoiser):
    """Predicts the noise and subtracts it: DnCNN without biases, its normalisation in the weights.

    Scaling the image scales the result, so that levels far above the trained ones are denoised,
    too. The keys are `conv0.weight` ... `conv<depth - 1>.weight`.
    """

    takes_sigma: ClassVar[bool] = False

    def __init__(self, image_channels: int = 1, width: int = 64, depth: int = 20) -> None:
        super().__init__(image_channels)
        if width < 1 or depth < 2:
            raise InputError(f"network.width={width}, network.depth={depth}: use 1, 2 or more")
        self.depth = depth
        channels = [image_channels, *[width] * (depth - 1), image_channels]
        for k in range(depth):
            layer = nn.Conv2d(channels[k], channels[k + 1], 3, padding=1, bias=False)
            self.add_module(f"conv{k}", layer)

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        noise = image
        for k in range(self.depth):
            noise = self.get_submodule(f"conv{k}")(noise)
            noise = noise if k == self.depth - 1 else noise.relu()
        return image - noise
