"""Optimizers are fused where the config says nothing, and take the same steps."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam

from restore.task.learning import OptimizerFactory, make_optimizer


def steps(factory: OptimizerFactory, *, plain: bool = False) -> Tensor:
    weight = nn.Parameter(torch.linspace(-1, 1, 40))
    optimizer = factory([weight]) if plain else make_optimizer(factory, [weight])
    for number in range(1, 4):
        weight.grad = (number * weight.detach()).cos()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("kind", [Adam, AdamW, SGD, Adagrad])
def test_fused_steps_are_the_plain_ones(kind: type[torch.optim.Optimizer]) -> None:
    factory = partial(kind, lr=0.1)
    assert make_optimizer(factory, [nn.Parameter(torch.ones(1))]).defaults["fused"] is True
    torch.testing.assert_close(steps(factory), steps(factory, plain=True), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("said", ["fused", "foreach", "differentiable"])
def test_what_the_config_says_holds(said: str) -> None:
    made = make_optimizer(partial(Adam, **{said: False}), [nn.Parameter(torch.ones(1))])
    assert made.defaults["fused"] is (False if said == "fused" else None)


def test_an_optimizer_without_a_fused_step_is_made_as_it_is() -> None:
    factory = partial(NAdam, lr=0.1)
    torch.testing.assert_close(steps(factory), steps(factory, plain=True), rtol=0, atol=0)
