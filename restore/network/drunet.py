"""DRUNet: a bias-free residual U-Net with a noise map (Zhang et al. 2021, arXiv:2008.13751)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from restore.network.published_denoiser import PublishedDenoiser, sigma_map


class BiasFreeResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), without biases."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res = nn.Sequential(_conv(channels, channels), nn.ReLU(), _conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.res(x)
        return x + residual


class DRUNet(PublishedDenoiser):
    """Predicts the clean image; skips are added, scales differ by strided convolutions (fig. 2)."""

    factor: ClassVar[int] = 8

    def __init__(self, image_channels: int = 3, width: int = 64, num_blocks: int = 4) -> None:
        super().__init__(image_channels)
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.m_head = _conv(image_channels + 1, width)
        self.m_down1 = _down(widths[0], widths[1], num_blocks)
        self.m_down2 = _down(widths[1], widths[2], num_blocks)
        self.m_down3 = _down(widths[2], widths[3], num_blocks)
        self.m_body = nn.Sequential(*residual_blocks(widths[3], num_blocks))
        self.m_up3 = _up(widths[3], widths[2], num_blocks)
        self.m_up2 = _up(widths[2], widths[1], num_blocks)
        self.m_up1 = _up(widths[1], widths[0], num_blocks)
        self.m_tail = _conv(width, image_channels)

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        x1 = self.m_head(torch.cat([image, sigma_map(sigma, image)], dim=1))
        x2 = self.m_down1(x1)
        x3 = self.m_down2(x2)
        x4 = self.m_down3(x3)
        x = self.m_up3(self.m_body(x4) + x4)
        x = self.m_up1(self.m_up2(x + x3) + x2)
        clean: Tensor = self.m_tail(x + x1)
        return clean


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)


def residual_blocks(channels: int, num_blocks: int) -> list[nn.Module]:
    return [BiasFreeResidualBlock(channels) for _ in range(num_blocks)]


def _down(in_channels: int, out_channels: int, num_blocks: int) -> nn.Sequential:
    halve = nn.Conv2d(in_channels, out_channels, 2, stride=2, bias=False)
    return nn.Sequential(*residual_blocks(in_channels, num_blocks), halve)


def _up(in_channels: int, out_channels: int, num_blocks: int) -> nn.Sequential:
    double = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=False)
    return nn.Sequential(double, *residual_blocks(out_channels, num_blocks))
