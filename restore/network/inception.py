"""Inception v3 (Szegedy et al. 2016) as TensorFlow's 2015-12-05 graph has it, on which FID and KID
are defined (Heusel et al. 2017). State-dict keys are those of the public PyTorch port.

It differs from torchvision's: 1008 classes, mean pools that leave the padding out, and a max pool
in the last block.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.network.weights import PublishedNetwork


class ConvNormReLU(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, size: Any, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, size, bias=False, **options)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _same(in_channels: int, out_channels: int, height: int, width: int) -> ConvNormReLU:
    padding = (height // 2, width // 2)
    return ConvNormReLU(in_channels, out_channels, (height, width), padding=padding)


def _mean_pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


class BlockA(nn.Module):
    """Figure 5: 5x5 and double 3x3 branches, at 35x35."""

    def __init__(self, in_channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _same(in_channels, 64, 1, 1)
        self.branch5x5_1 = _same(in_channels, 48, 1, 1)
        self.branch5x5_2 = _same(48, 64, 5, 5)
        self.branch3x3dbl_1 = _same(in_channels, 64, 1, 1)
        self.branch3x3dbl_2 = _same(64, 96, 3, 3)
        self.branch3x3dbl_3 = _same(96, 96, 3, 3)
        self.branch_pool = _same(in_channels, pooled, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_mean_pool(x))], dim=1)


class BlockB(nn.Module):
    """Halves 35x35 to 17x17."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = ConvNormReLU(in_channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = _same(in_channels, 64, 1, 1)
        self.branch3x3dbl_2 = _same(64, 96, 3, 3)
        self.branch3x3dbl_3 = ConvNormReLU(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], dim=1)


class BlockC(nn.Module):
    """Figure 6: 7x7 convolutions as 1x7 and 7x1, at 17x17."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.branch1x1 = _same(in_channels, 192, 1, 1)
        self.branch7x7_1 = _same(in_channels, width, 1, 1)
        self.branch7x7_2 = _same(width, width, 1, 7)
        self.branch7x7_3 = _same(width, 192, 7, 1)
        self.branch7x7dbl_1 = _same(in_channels, width, 1, 1)
        self.branch7x7dbl_2 = _same(width, width, 7, 1)
        self.branch7x7dbl_3 = _same(width, width, 1, 7)
        self.branch7x7dbl_4 = _same(width, width, 7, 1)
        self.branch7x7dbl_5 = _same(width, 192, 1, 7)
        self.branch_pool = _same(in_channels, 192, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        pooled = self.branch_pool(_mean_pool(x))
        return torch.cat([self.branch1x1(x), single, double, pooled], dim=1)


class BlockD(nn.Module):
    """Halves 17x17 to 8x8."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = _same(in_channels, 192, 1, 1)
        self.branch3x3_2 = ConvNormReLU(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _same(in_channels, 192, 1, 1)
        self.branch7x7x3_2 = _same(192, 192, 1, 7)
        self.branch7x7x3_3 = _same(192, 192, 7, 1)
        self.branch7x7x3_4 = ConvNormReLU(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        seven = self.branch7x7x3_4(seven)
        return torch.cat([three, seven, F.max_pool2d(x, 3, stride=2)], dim=1)


class BlockE(nn.Module):
    """Figure 7: 1x3 beside 3x1 convolutions, at 8x8."""

    def __init__(self, in_channels: int, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool
        self.branch1x1 = _same(in_channels, 320, 1, 1)
        self.branch3x3_1 = _same(in_channels, 384, 1, 1)
        self.branch3x3_2a = _same(384, 384, 1, 3)
        self.branch3x3_2b = _same(384, 384, 3, 1)
        self.branch3x3dbl_1 = _same(in_channels, 448, 1, 1)
        self.branch3x3dbl_2 = _same(448, 384, 3, 3)
        self.branch3x3dbl_3a = _same(384, 384, 1, 3)
        self.branch3x3dbl_3b = _same(384, 384, 3, 1)
        self.branch_pool = _same(in_channels, 192, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(x)),
        ]
        return torch.cat(branches, dim=1)


class InceptionV3(PublishedNetwork):
    """RGB [B, 3, 299, 299] in [-1, 1] to logits [B, 1008]."""

    weights = "weights-inception-2015-12-05-6726825d.pth"
    address = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    num_features = 2048

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNormReLU(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNormReLU(32, 32, 3)
        self.Conv2d_2b_3x3 = _same(32, 64, 3, 3)
        self.Conv2d_3b_1x1 = _same(64, 80, 1, 1)
        self.Conv2d_4a_3x3 = ConvNormReLU(80, 192, 3)
        self.Mixed_5b = BlockA(192, 32)
        self.Mixed_5c = BlockA(256, 64)
        self.Mixed_5d = BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, 128)
        self.Mixed_6c = BlockC(768, 160)
        self.Mixed_6d = BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, _mean_pool)
        self.Mixed_7c = BlockE(2048, _max_pool)
        self.fc = nn.Linear(2048, 1008)

    def features(self, x: Tensor) -> Tensor:
        """The last mean pool [B, 2048]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))
        last: Tensor = self.Mixed_7c(self.Mixed_7b(x))
        return last.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x))
        return logits
