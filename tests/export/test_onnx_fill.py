"""The push-pull fill as a graph of fixed depth, against the one with the levels that it needs."""

import functools
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from restore.network.push_pull import OPERATOR, push_pull

SIZES = [(1, 1), (1, 7), (16, 16), (21, 34), (64, 64), (200, 3)]


class Fill(nn.Module):
    def __init__(self, relaxations: int) -> None:
        super().__init__()
        self.relaxations = relaxations

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        return push_pull(image, hole, self.relaxations)


@functools.cache
def session(relaxations: int) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    from restore.export.onnx_fill import push_pull as nodes

    axes = {0: Dim("batch"), 2: Dim("height"), 3: Dim("width")}
    with warnings.catch_warnings():  # names of axes that are said twice
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Fill(relaxations),
            (torch.zeros(2, 3, 5, 6), torch.zeros(2, 1, 5, 6)),
            dynamo=True,
            dynamic_shapes=(axes, axes),
            custom_translation_table={OPERATOR: nodes},
            verbose=False,
        )
    assert program is not None
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString())


def filled(run: Any, image: Tensor, hole: Tensor) -> Tensor:
    names = [one.name for one in run.get_inputs()]
    given = {name: one.numpy() for name, one in zip(names, (image, hole), strict=True)}
    return torch.from_numpy(run.run(None, given)[0])


@pytest.mark.parametrize("relaxations", [0, 4])
def test_levels_that_a_size_does_not_need_change_nothing(relaxations: int) -> None:
    run = session(relaxations)
    for height, width in SIZES:
        generator = torch.Generator().manual_seed(height * width)
        image = torch.rand(3, 3, height, width, generator=generator) * 2 - 1
        hole = (torch.rand(3, 1, height, width, generator=generator) < 0.8).float()
        hole[1] = 1  # nothing is known
        made, wanted = filled(run, image, hole), push_pull(image, hole, relaxations)
        torch.testing.assert_close(made, wanted, atol=1e-6, rtol=0)
        known = hole.expand_as(image) == 0
        assert torch.equal(made[known], image[known])


def test_one_known_corner_fills_the_longest_side() -> None:
    from restore.export.onnx_fill import MOST

    image, hole = torch.zeros(1, 3, MOST, 2), torch.ones(1, 1, MOST, 2)
    image[..., -1, -1], hole[..., -1, -1] = 0.25, 0
    made = filled(session(0), image, hole)
    assert torch.equal(made, torch.full_like(image, 0.25))
