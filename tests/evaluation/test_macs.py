"""Multiply-accumulates of older rows: of the layers of their record, against a count by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restore.evaluation import macs, record, results
from restore.evaluation.header import FIXED
from restore.evaluation.results import Row

OVERRIDES = ["experiment=denoise_photos_regression", "task.network.widths=[4,4,4]"]
COLUMNS = [*FIXED, "psnr", "macs", "cost_size"]


def products(network: Any, size: list[int]) -> int:
    """Of a zero image [B, C, H, W]: a convolution multiplies all its weights at every position of
    its output, a transposed one at every position of its input."""
    found: list[int] = []

    def note(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        met = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        found.append(layer.weight.numel() * met.shape[-2] * met.shape[-1])

    for layer in network.modules():
        assert not isinstance(layer, nn.Linear | nn.MultiheadAttention)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(note)
    with torch.no_grad():
        network(torch.zeros(size))
    return sum(found)


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    (tmp_path / "small").mkdir()
    record.write_json(tmp_path / "small" / "result.json", {"overrides": OVERRIDES})
    parameters = str(macs._method("small", tmp_path).num_parameters)
    row = dict.fromkeys(COLUMNS, "") | {"experiment": "small", "kind": "model", "psnr": "30.5"}
    row |= {"benchmark": "photos_sigma25", "parameters": parameters, "n": "4", "nfe": "1"}
    return [
        row,
        {**row, "macs": "7", "cost_size": "1x3x9x9"},
        {**row, "kind": "baseline"},
        {**row, "parameters": "1"},
        {**row, "sampler": "DDIM"},
        {**row, "experiment": "lost"},
    ]


def test_rows_without_macs_get_those_of_their_layers(rows: list[Row], tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    results.write(path, COLUMNS, rows)
    said = list(macs.fill(path))
    columns, (filled, *others) = results.read(path)
    assert columns == COLUMNS and others == rows[1:]
    assert filled == rows[0] | {key: filled[key] for key in ("macs", "cost_size")}
    size = [int(side) for side in filled["cost_size"].split("x")]
    counted = products(macs._method("small", tmp_path).module.network, size)
    assert int(filled["macs"]) == counted > 0
    assert said[0] == f"small on photos_sigma25: {filled['macs']} MACs"
    reasons = ("it had 1 parameters", "its sampler was DDIM", "no record")
    for line, reason in zip(said[1:], reasons, strict=True):
        assert "is left as it is" in line and reason in line
