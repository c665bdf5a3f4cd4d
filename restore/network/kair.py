"""Published denoisers as networks to train; their weights keep the keys of the releases (KAIR)."""

from torch import Tensor, nn

from restore.network.dncnn import DnCNN
from restore.network.drunet import DRUNet
from restore.network.ffdnet import FFDNet
from restore.network.published_denoiser import PublishedDenoiser, restore_any_size
from restore.types import InputError


class TrainableDenoiser(nn.Module):
    """Noisy [B, C, H, W] in [-1, 1] and sigma [B] in units of that range to clean [B, C, H, W].

    Any size. `released` works in units of [0, 1] on multiples of its factor, as published.
    """

    def __init__(self, released: PublishedDenoiser) -> None:
        super().__init__()
        self.released = released
        self.factor, self.takes_sigma = released.factor, released.takes_sigma

    def forward(self, image: Tensor, sigma: Tensor | None = None) -> Tensor:
        if self.takes_sigma and sigma is None:
            raise InputError(
                "task.network needs noise levels, and the degradation states none: choose "
                "degradation=noise_range, or network=dncnn"
            )
        known = image.new_zeros(len(image)) if sigma is None else sigma
        # a level in units of [-1, 1] is half of that in units of [0, 1]
        return restore_any_size(self.released, image, known / 2)


class TrainableDnCNN(TrainableDenoiser):
    """DnCNN; sees no noise level. depth: 17 for one level, 20 for blind."""

    def __init__(
        self, image_channels: int, image_size: int | None = None, width: int = 64, depth: int = 17
    ) -> None:
        super().__init__(DnCNN(image_channels, width, depth))


class TrainableFFDNet(TrainableDenoiser):
    """FFDNet. width, depth: 64 and 15 for grey, 96 and 12 for RGB."""

    def __init__(
        self, image_channels: int, image_size: int | None = None, width: int = 96, depth: int = 12
    ) -> None:
        super().__init__(FFDNet(image_channels, width, depth))


class TrainableDRUNet(TrainableDenoiser):
    """DRUNet; width 64 and num_blocks 4 as published, 32.6 million parameters."""

    def __init__(
        self,
        image_channels: int,
        image_size: int | None = None,
        width: int = 64,
        num_blocks: int = 4,
    ) -> None:
        super().__init__(DRUNet(image_channels, width, num_blocks))
