"""Normalisation as one choice for generators and discriminators."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from restore.types import InputError

Norm = Literal["none", "group", "instance", "batch"]


class GroupNorm(nn.GroupNorm):
    """torch.nn.GroupNorm, up to 20 times as fast on a CPU in channels_last.

    PyTorch's own kernels lose most where a group has few channels: the gradient in wide images, the
    layer itself in bfloat16 and small ones.
    """

    def forward(self, x: Tensor) -> Tensor:
        ours = x.device.type == "cpu" and not torch.compiler.is_compiling()
        if not ours or not _is_channels_last(x):
            # Without the check of F.group_norm, which refuses a single image of one pixel where a
            # group is one channel: its batch would pass.
            return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        if not torch.is_grad_enabled():
            return _native(x, self.weight, self.bias, self.num_groups, self.eps)[0]
        given = (x, self.weight, self.bias, self.num_groups, self.eps)
        y: Tensor = _ChannelsLast.apply(*given)  # type: ignore[no-untyped-call]
        return y


def _is_channels_last(x: Tensor) -> bool:
    return (
        x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and not x.is_contiguous()  # maps of one pixel are both
    )


def _native(
    x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The layer of PyTorch on a channels_last x, with mean and 1 / std [B, num_groups]."""
    batch, channels, height, width = x.shape
    pixels = height * width
    # Its kernel for fewer than 1024 pixels goes through a group's channels pixel by pixel.
    slow = x.dtype == torch.bfloat16 and pixels < 1024 and channels < 16 * num_groups
    given = x.contiguous() if slow else x
    size = (batch, channels, pixels, num_groups, eps)
    y, mean, inverse_std = torch.native_group_norm(given, weight, bias, *size)
    return y.contiguous(memory_format=torch.channels_last), mean, inverse_std


class _ChannelsLast(torch.autograd.Function):
    """The native layer with a gradient of three passes over the image.

    With x^ = (x - mean) / std, n pixels times channels in a group and dx^ = weight dy:
    dx = (dx^ - mean(dx^) - x^ mean(dx^ x^)) / std, the means over the group (Wu & He 2018).
    Sums are kept in float32, and each channel's factors are gathered before the image is touched.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float
    ) -> Tensor:
        y, mean, inverse_std = _native(x, weight, bias, num_groups, eps)
        ctx.save_for_backward(x, weight, bias, mean, inverse_std)
        ctx.num_groups, ctx.eps = num_groups, eps
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse_std = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of the gradient is asked for
            y = F.group_norm(x, ctx.num_groups, weight.to(x.dtype), bias.to(x.dtype), ctx.eps)
            given = [one for one in (x, weight, bias) if one.requires_grad]
            found = iter(torch.autograd.grad(y, given, dy, create_graph=True))
            return *(next(found) if one else None for one in ctx.needs_input_grad[:3]), None, None
        pixels, dpixels = _as_rows(x), _as_rows(dy)
        each = x.shape[1] // ctx.num_groups
        mean, inverse_std = (s.float().repeat_interleave(each, 1) for s in (mean, inverse_std))
        dbias = dpixels.sum(1, dtype=torch.float32)
        products = (pixels * dpixels).sum(1, dtype=torch.float32)
        dweight = (products - mean * dbias) * inverse_std
        count = each * pixels.shape[1]
        shift, slope = (
            (weight * s).unflatten(1, (-1, each)).sum(-1).repeat_interleave(each, 1) / count
            for s in (dbias, dweight)
        )
        slope = slope * inverse_std.square()
        of_dy, of_x = (factor.to(x.dtype)[:, None] for factor in (inverse_std * weight, -slope))
        constant = (slope * mean - shift * inverse_std).to(x.dtype)[:, None]
        dx = torch.addcmul(constant, pixels, of_x).addcmul_(dpixels, of_dy)
        dx = dx.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)
        return dx, dweight.sum(0), dbias.sum(0), None, None


def _as_rows(x: Tensor) -> Tensor:
    """[B, H W, C] of [B, C, H, W]: a view where memory is in that order."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def normalize(norm: Norm, channels: int) -> nn.Module:
    """The layer of that name; instance and batch learn scale and shift as group does.

    `group` (up to 32 groups) is the default everywhere: a sample's statistics are its own, so that
    two processes train like one, evaluation like training, and a map of one pixel is no error
    (instance). `batch` is the classic recipe of Isola et al. 2017.
    """
    match norm:
        case "none":
            return nn.Identity()
        case "group":
            return GroupNorm(math.gcd(32, channels), channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "batch":
            return nn.BatchNorm2d(channels)
        case _:
            raise InputError(f"norm={norm}: use none, group, instance or batch")
