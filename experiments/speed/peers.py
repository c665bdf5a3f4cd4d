"""The networks of others that ours are timed against."""

from torch import nn


def their_unet() -> nn.Module:
    """diffusers' UNet2DModel for images of 32 px, about as large as our UNet of width 64."""
    from diffusers import UNet2DModel

    made: nn.Module = UNet2DModel(
        sample_size=32,
        block_out_channels=(64, 128, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=2,
    )
    return made
