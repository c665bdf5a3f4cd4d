"""What the UNet of diffusers has beside its layers, which test_exchange.py compares."""

import torch

from restore.network.unet2d import UNet2D


def tiny(**settings: object) -> UNet2D:
    torch.manual_seed(0)
    plain = {"down_block_types": ("DownBlock2D",) * 3, "up_block_types": ("UpBlock2D",) * 3}
    sizes = {"block_out_channels": (4, 4, 8), "layers_per_block": 1, "norm_num_groups": 2}
    return UNet2D(1, 1, **{**plain, **sizes, "attention_head_dim": 4, **settings})


def test_no_label_is_the_last_class_and_no_other() -> None:
    network, x, t = tiny(num_classes=2), torch.randn(2, 1, 8, 8), torch.tensor([0.2, 0.9])
    without = network(x, t)
    torch.testing.assert_close(without, network(x, t, torch.tensor([2, 2])))
    assert not torch.allclose(without, network(x, t, torch.tensor([0, 0])))


def test_the_bottom_may_be_one_pixel() -> None:
    """Three levels halve twice: photos are padded to multiples of 4, and no further."""
    network = tiny()
    assert network.factor == 4 and network(torch.randn(1, 1, 4, 4), torch.ones(1)).isfinite().all()
