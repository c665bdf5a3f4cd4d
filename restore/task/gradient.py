"""Between backward and step: the loss scale of fp16, the finite check and clipping."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from restore.types import NonFiniteError

_LEAST_SCALE = 2.0**-8  # fp16 starts at 2^16; gradients that are infinite here are no overflow


def clip(
    optimizer: Optimizer,
    named: Iterable[tuple[str, nn.Parameter]],
    clip_norm: float | None,
    scaler: GradScaler | None,
    updates: int,
) -> torch.Tensor:
    """Clips the gradients of an optimizer to the norm clip_norm, if it is not None.

    Returns their norm before, which is not finite where fp16 leaves a step out.

    To be called where Lightning has divided gradients by the loss scale of fp16. Lightning leaves
    that to a fused optimizer, which divides inside of its step, too late for a norm. `named`
    holds the parameters of `optimizer`, among others; updates is for the message.

    Raises:
        NonFiniteError: a gradient is not finite; the message names the first. With fp16 that is
            normal: the scaler leaves such a step out.
    """
    if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
        scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not torch.isfinite(norm):
        culprit = _not_finite(parameters, named)
        if scaler is not None and culprit is not None:
            return norm
        name = culprit or "all parameters together"
        raise NonFiniteError(f"gradient of {name} is not finite at update {updates}")
    if clip_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    return norm


def _not_finite(
    parameters: list[nn.Parameter], named: Iterable[tuple[str, nn.Parameter]]
) -> str | None:
    own = {id(p) for p in parameters}
    grads = ((name, p.grad) for name, p in named if id(p) in own)
    return next((name for name, grad in grads if grad is not None and not _finite(grad)), None)


def _finite(gradient: torch.Tensor) -> bool:
    return bool(gradient.isfinite().all())


def has_stepped(
    scaler: GradScaler, before: float, parameters: Iterable[nn.Parameter], updates: int
) -> bool:
    """Whether the scaler let the last step happen; its scale was `before` until then.

    A scale that fell means a step left out. The gradients that are left among `parameters`
    belong to the open window of the other player: they were made at the old scale and will be
    divided by the new one, so that they are brought to it here.

    Raises:
        NonFiniteError: the scale is so small that overflow is not the cause.
    """
    scale = scaler.get_scale()
    if scale < _LEAST_SCALE:
        raise NonFiniteError(
            f"gradients of fp16 are not finite at update {updates}, even with a loss scale of "
            f"{before}: use trainer.precision=bf16-mixed or 32-true"
        )
    if scale != before:
        for gradient in (p.grad for p in parameters if p.grad is not None):
            gradient.mul_(scale / before)
    return scale >= before
