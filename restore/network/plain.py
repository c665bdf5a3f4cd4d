"""The smallest network of denoising diffusion: a first one to read."""

from torch import Tensor, nn
from torch.nn import functional as F

from restore.types import InputError


class Plain(nn.Module):
    """Network (x [B, in_channels, H, W], t [B] in [0, 1]) -> [B, out_channels, H, W].

    Four 3x3 convolutions of `width` channels, each with ReLU but the last, which has out_channels.
    t passes through one linear layer and is added before the last convolution. A pixel sees
    nothing but the 9x9 pixels around it, and any size of image is possible.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise InputError(f"task.network.width={width} must be at least 1")
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, width, 3, padding=1) for channels in (in_channels, width, width)
        )
        self.embed_time = nn.Linear(1, width)
        self.last = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        time = self.embed_time(t.to(x.dtype)[:, None])
        output: Tensor = self.last(x + time[:, :, None, None])
        return output
