"""VGG (Simonyan & Zisserman 2015), configurations D and E, with torchvision's state-dict keys."""

from typing import ClassVar

from torch import Tensor, nn

from restore.network.weights import PublishedNetwork


class VGG(PublishedNetwork):
    """RGB [B, 3, H, W], normalised as on ImageNet, to logits [B, 1000].

    `features` is a chain of 3x3 convolutions, ReLUs and 2x2 max pools.
    """

    stages: ClassVar[tuple[int, ...]]  # number of convolutions between two pools

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 3
        for num_convolutions, channels in zip(self.stages, (64, 128, 256, 512, 512), strict=True):
            for _ in range(num_convolutions):
                layers += [nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU()]
                in_channels = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 1000),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


class VGG16(VGG):
    stages = (2, 2, 3, 3, 3)
    weights = "vgg16-397923af.pth"


class VGG19(VGG):
    stages = (2, 2, 4, 4, 4)
    weights = "vgg19-dcbb9e9d.pth"
