from pathlib import Path

import pytest
import torch
from line import Line, fit
from torch import Tensor

from restore.callback.power_average import decay, exponent
from restore.callback.power_ema import FOLDER, PowerEMA, rebuild, snapshots
from restore.callback.progress import MaxUpdates
from restore.types import InputError


def direct(history: list[Tensor], std: float) -> Tensor:
    """The average of the weights after updates 1 .. n, kept from the start."""
    average = torch.zeros(2)
    for t, weight in enumerate(history, start=1):
        average = torch.lerp(average, weight, 1 - decay(exponent(std), t))
    return average


def times(folder: Path) -> list[int]:
    return sorted({updates for updates, _, _ in snapshots(folder / FOLDER)})


def test_averages_and_snapshots_are_those_of_the_history(tmp_path: Path) -> None:
    task, ema = Line(), PowerEMA(every=4)
    fit(tmp_path, task, ema, MaxUpdates(10))
    for std, average in zip(ema.stds, ema.averages, strict=True):
        torch.testing.assert_close(average["weight"], direct(task.history, std))
    assert times(tmp_path) == [4, 8, 10]
    for std in (0.05, 0.1):
        weight = rebuild(tmp_path / FOLDER, std)["weight"]
        torch.testing.assert_close(weight, direct(task.history, std), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("std", [0.07, 0.15])
def test_another_length_is_rebuilt(tmp_path: Path, std: float) -> None:
    task = Line()
    fit(tmp_path, task, PowerEMA(every=1), MaxUpdates(24))
    wanted = direct(task.history, std)
    others = [direct(task.history, own) for own in (0.05, 0.1)]
    error = (rebuild(tmp_path / FOLDER, std)["weight"] - wanted).norm()
    assert error < 0.3 * min((other - wanted).norm() for other in others)


def test_files_stay_within_their_bytes_and_reach_back(tmp_path: Path) -> None:
    one = 2 * 2 * 2  # two averages of two float16 weights
    task, ema = Line(), PowerEMA(every=1, max_bytes=6 * one)
    fit(tmp_path, task, ema, MaxUpdates(41))
    found = times(tmp_path)
    assert ema.every == 16  # doubled at 7, 12 and 28, and for the last file
    assert len(found) <= 6 and found[-1] == 41 and found[0] <= 16
    assert all(t % ema.every == 0 for t in found[:-1])
    assert {path.suffix for path in (tmp_path / FOLDER).iterdir()} == {".safetensors"}


def test_resumed_averages_go_on_and_later_files_go(tmp_path: Path) -> None:
    half, rest = Line(), Line()
    first, second = PowerEMA(every=3), PowerEMA(every=3)
    fit(tmp_path, half, first, MaxUpdates(8))
    late = tmp_path / FOLDER / "00000099_0.05.safetensors"
    late.write_bytes(b"of a run that went further")
    rest.load_state_dict(half.state_dict())
    rest.updates = half.updates
    second.load_state_dict(first.state_dict())
    fit(tmp_path, rest, second, MaxUpdates(12))
    for std, average in zip(second.stds, second.averages, strict=True):
        torch.testing.assert_close(average["weight"], direct(half.history + rest.history, std))
    assert times(tmp_path) == [3, 6, 8, 9, 12]


def test_another_cadence_is_taken_and_a_doubled_one_is_kept() -> None:
    first = PowerEMA(every=2)
    first.every = 8  # doubled twice
    for every, wanted in ((2, 8), (1, 1), (5, 5)):
        again = PowerEMA(every=every)
        again.load_state_dict(first.state_dict())
        assert again.every == wanted
    older = first.state_dict()
    del older["first_every"]  # of an older restore
    again.load_state_dict(older)
    assert again.every == 8


def test_refuses_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two or more"):
        PowerEMA(stds=(0.05,))
    with pytest.raises(InputError, match="max_bytes=0"):
        PowerEMA(max_bytes=0)
    with pytest.raises(InputError, match="use 16 or more"):
        fit(tmp_path, Line(), PowerEMA(max_bytes=15), MaxUpdates(2))
    with pytest.raises(InputError, match="callback=power_ema"):
        rebuild(tmp_path / "none", 0.1)
    fit(tmp_path / "run", Line(), PowerEMA(), MaxUpdates(2))
    with pytest.raises(InputError, match=r"std=0\.4"):
        rebuild(tmp_path / "run" / FOLDER, 0.4)
    for _, _, path in snapshots(tmp_path / "run" / FOLDER):
        path.write_bytes(b"half a fi")
    with pytest.raises(InputError, match="is damaged"):
        rebuild(tmp_path / "run" / FOLDER, 0.1)


@pytest.mark.parametrize("stds", [(0.1, 0.2), (0.05, 0.1, 0.2)])
def test_other_lengths_cannot_begin_amid_a_run(tmp_path: Path, stds: tuple[float, ...]) -> None:
    first = PowerEMA()
    fit(tmp_path, Line(), first, MaxUpdates(2))
    with pytest.raises(InputError, match=r"keeps averages of \[0.05, 0.1\] since its start"):
        PowerEMA(stds=stds).load_state_dict(first.state_dict())
    older = first.state_dict()
    del older["stds"]  # of an older restore
    PowerEMA().load_state_dict(older)


def test_a_length_of_which_only_rounding_is_left_is_refused(tmp_path: Path) -> None:
    fit(tmp_path, Line(), PowerEMA(every=1), MaxUpdates(8))
    assert rebuild(tmp_path / FOLDER, 0.025)
    with pytest.raises(InputError, match=r"std=0.02 is less than half of 0.05"):
        rebuild(tmp_path / FOLDER, 0.02)
