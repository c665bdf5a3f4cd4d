"""A small residual classifier: the frozen feature network of label, FID and KID metrics."""

from torch import Tensor, nn
from torch.nn import functional as F

from restore.types import InputError


class BatchNormResidualBlock(nn.Module):
    """Convolution, batch norm, ReLU, twice, and a skip (He et al. 2016)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(hidden)) + self.skip(x))


class Classifier(nn.Module):
    """Images [B, in_channels, H, W] in [-1, 1], H and W >= 8, to logits [B, num_classes].

    `num_features` is 4 * width. With width 32 it has 0.3 million parameters, 1.2 MB.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 32) -> None:
        super().__init__()
        if min(in_channels, num_classes, width) < 1:
            raise InputError(
                f"in_channels={in_channels}, num_classes={num_classes}, width={width}: "
                "a classifier needs at least 1 of each"
            )
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.width = width
        self.num_features = 4 * width
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.stages = nn.ModuleList(
            [
                BatchNormResidualBlock(width, width),
                BatchNormResidualBlock(width, 2 * width),
                BatchNormResidualBlock(2 * width, 4 * width),
            ]
        )
        self.head = nn.Linear(4 * width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate activations [B, num_features], pooled over positions."""
        hidden: Tensor = self.stem(x)
        for stage in self.stages:
            hidden = F.max_pool2d(stage(hidden), 2)
        return hidden.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits
