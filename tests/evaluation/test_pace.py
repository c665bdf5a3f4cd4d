"""Calls of a network a second, counted where they are made."""

from typing import Any

import pytest
import torch
from torch import nn

from restore.callback import meter
from restore.callback.meter import Meter
from restore.evaluation import pace
from restore.evaluation.pace import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    for module in (meter, pace):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    return now


def test_calls_a_second_are_of_the_time_inside(clock: list[float], capsys: Any) -> None:
    network, made = nn.Identity(), Meter("image", 8, every=1.0)
    counted = Pace(network, made)
    assert counted.words() == ""
    for _ in range(2):  # two batches of 5 calls in 4 s, and 60 s of measuring between
        with counted:
            for _ in range(5):
                clock[0] += 0.8
                network(torch.zeros(1))
        clock[0] += 60
    network(torch.zeros(1))  # outside
    assert counted.calls == 10
    with counted:
        assert counted.words() == "10 calls, 1.25 calls/s"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "image: 0 of 8, 2 calls, 1.25 calls/s"  # in the middle of a batch
