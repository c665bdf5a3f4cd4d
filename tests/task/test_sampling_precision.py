"""Samples in bf16 are those of float32, but for rounding."""

from typing import Any

import pytest
import torch
from test_conditional_diffusion import GRAY, HALF, batch, tiny
from torch import Tensor

from restore.diffusion.classifier_free import ClassifierFree
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling, ddim, ddpm, dpm_solver_pp_2m, heun
from restore.task.diffusion import Diffusion

SAMPLERS = {
    "ddim": Sampling(ddim, 10),
    "ddpm": Sampling(ddpm, 10),
    "dpm_solver": Sampling(dpm_solver_pp_2m, 10),
    "heun": Sampling(heun, 10),
    "repaint": RePaint(8, 3, 2),
}


def restored(task: Diffusion, data: Any, precision: torch.dtype) -> Tensor:
    enabled = precision != torch.float32
    with torch.inference_mode(), torch.autocast("cpu", precision, enabled=enabled):
        return task.restore(data, 2)


@pytest.mark.parametrize("guidance", [None, ClassifierFree(2.0)], ids=["plain", "cfg"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_bf16_draws_what_float32_draws(name: str, guidance: Any) -> None:
    """Only the network rounds: states and coefficients stay in float32, so no error adds up."""
    task, data = tiny(HALF, sampler=SAMPLERS[name], guidance=guidance), batch(HALF, 4)
    exact, half = (restored(task, data, kind) for kind in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.float32
    difference = (half - exact)[..., 4:]
    spread = exact[..., 4:].std()
    assert difference.square().mean().sqrt() < 0.01 * spread
    assert torch.equal(half[..., :4], exact[..., :4])  # known pixels never pass the network


def test_it_is_the_network_that_rounds() -> None:
    task, data = tiny(GRAY), batch(GRAY, 2)
    exact, half = (restored(task, data, kind) for kind in (torch.float32, torch.bfloat16))
    assert not torch.equal(exact, half)
