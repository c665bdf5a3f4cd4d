import itertools

import numpy as np
import pytest
import torch
from torch import nn

from restore.network.attention import (
    ContextualAttention,
    SelfAttention,
    _propagate,
    attend,
)
from restore.types import InputError


def project(conv: nn.Module, x: np.ndarray) -> np.ndarray:
    weight, bias = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
    return weight[:, :, 0, 0] @ x.reshape(len(x), -1) + bias[:, None]


def heads(tokens: int, dtype: torch.dtype) -> torch.Tensor:
    """Queries, keys and values [3, 1, 2, N, 8] as a 1x1 convolution leaves them: N lies last."""
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(3, 1, 2, 8, tokens, generator=generator).to(dtype)
    return made.transpose(-1, -2).requires_grad_()


@pytest.mark.parametrize("tokens", [3, 64, 256, 1024])
def test_attention_and_its_gradient_by_definition(tokens: int) -> None:
    qkv = heads(tokens, torch.float32)
    got = attend(*qkv)
    q, k, v = qkv.detach().double().requires_grad_().unbind(0)
    exact = [one.detach().requires_grad_() for one in (q, k, v)]
    weight = torch.exp(torch.einsum("bhnd,bhmd->bhnm", exact[0], exact[1]) / 8**0.5)
    expected = torch.einsum("bhnm,bhmd->bhnd", weight / weight.sum(-1, keepdim=True), exact[2])
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=2e-6)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (got * direction).sum().backward()
    (expected * direction).sum().backward()
    assert qkv.grad is not None
    for mine, one in zip(qkv.grad, exact, strict=True):
        torch.testing.assert_close(mine.double(), one.grad, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "tokens,dtype,fused",
    [
        (64, torch.float32, False),
        (256, torch.float32, True),
        (256, torch.bfloat16, False),
        (1024, torch.bfloat16, True),
    ],
)
def test_many_tokens_take_the_fused_kernel(tokens: int, dtype: torch.dtype, fused: bool) -> None:
    """It never holds the N x N weights; few tokens are faster by matrix products."""
    qkv = heads(tokens, dtype)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        attend(*qkv)
    called = {event.key for event in profile.key_averages()}
    assert ("aten::_scaled_dot_product_flash_attention_for_cpu" in called) == fused
    assert ("aten::softmax" in called) == (not fused)


def test_self_attention_by_definition() -> None:
    torch.manual_seed(0)
    layer, image = SelfAttention(16), torch.randn(1, 16, 4, 6)
    assert torch.equal(layer(image), image)  # gamma starts at zero
    nn.init.constant_(layer.gamma, 0.7)
    x = image[0].double().numpy()
    pooled = x.reshape(16, 2, 2, 3, 2).max(axis=(2, 4))
    weight = np.exp(project(layer.query, x).T @ project(layer.key, pooled))
    weight /= weight.sum(axis=1, keepdims=True)
    mixed = project(layer.value, pooled) @ weight.T
    expected = x + 0.7 * project(layer.out, mixed).reshape(x.shape)
    np.testing.assert_allclose(layer(image)[0].detach(), expected, atol=1e-5)


def test_self_attention_at_odd_sizes() -> None:
    assert SelfAttention(8)(torch.randn(2, 8, 5, 1)).shape == (2, 8, 5, 1)
    with pytest.raises(InputError, match="8 channels, got 4"):
        SelfAttention(4)


def test_propagation_sums_neighbours_with_equal_offsets() -> None:
    """Equation 3 of Yu et al. 2018, k = 3, by its definition."""
    h, w = 3, 4
    scores = torch.randn(2, h, w, h, w, dtype=torch.float64)
    padded = np.pad(scores.numpy(), [(0, 0)] + [(1, 1)] * 4)
    expected = np.zeros_like(scores)
    for b, y, x, v, u in itertools.product(range(2), range(h), range(w), range(h), range(w)):
        for i, j in itertools.product((0, 1, 2), repeat=2):
            expected[b, y, x, v, u] += padded[b, y + i, x + j, v + i, u + j]
    np.testing.assert_allclose(_propagate(scores), expected)


def square_hole(size: int) -> torch.Tensor:
    hole = torch.zeros(1, 1, size, size)
    hole[..., 6:10, 4:9] = 1
    return hole


def test_without_a_hole_every_patch_finds_itself() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 12, 8)
    rebuilt = ContextualAttention(scale=200.0)(x, torch.zeros(2, 1, 12, 8))
    torch.testing.assert_close(rebuilt, x, atol=1e-4, rtol=0)


def test_texture_is_completed_from_known_patches() -> None:
    torch.manual_seed(0)
    texture, hole = torch.randn(1, 8, 4, 4).repeat(1, 1, 5, 5), square_hole(20)
    guess = torch.where(hole > 0, texture + 0.3 * torch.randn_like(texture), texture)
    rebuilt = ContextualAttention(scale=50.0)(guess, hole)
    torch.testing.assert_close(rebuilt, texture, atol=1e-3, rtol=0)


def test_patches_at_the_border_paste_what_is_there() -> None:
    """Where the hole leaves the border alone, a flat map is filled from it and stays flat."""
    flat, hole = torch.ones(1, 4, 12, 12), torch.zeros(1, 1, 12, 12)
    hole[..., 4:8, 4:8] = 1
    torch.testing.assert_close(ContextualAttention()(flat, hole), flat)


def test_nothing_is_copied_out_of_the_hole() -> None:
    torch.manual_seed(0)
    hole = square_hole(16)
    x = torch.where(hole > 0, torch.full((1, 4, 16, 16), 1e3), 1 + torch.rand(1, 4, 16, 16))
    rebuilt = ContextualAttention()(x, hole)
    assert rebuilt.min() >= 1 - 1e-4 and rebuilt.max() <= 2 + 1e-4


def test_nothing_known_is_no_nan() -> None:
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    rebuilt = ContextualAttention()(x, torch.ones(1, 1, 8, 8))
    rebuilt.sum().backward()
    assert rebuilt.isfinite().all() and x.grad is not None and x.grad.isfinite().all()
    assert not list(ContextualAttention().parameters())


def test_patches_are_matched_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    x, hole = torch.randn(1, 8, 16, 16), square_hole(16)
    expected = ContextualAttention()(x, hole)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ContextualAttention()(x, hole), expected)
        half = ContextualAttention()(x.bfloat16(), hole)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.1, rtol=0.05)
