"""Anybody's function on a benchmark: the numbers of the same method by name, and every slip."""

import csv
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import restore
from restore.evaluation.function import weights_of
from restore.network.ffdnet import FFDNet
from restore.types import InputError

HOLES = "benchmark.photos_masks.data={limit:2,repeat:1}"
NOISE = "benchmark.photos_sigma25.data={limit:2,repeat:1}"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows_of(folder: Path, method: str) -> list[dict[str, str]]:
    text = (folder / "per_image.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(text) if row["method"] == method]
    return [{key: cell for key, cell in row.items() if key != "method"} for row in rows]


def telea(image: Any, mask: Any) -> Any:
    return cv2.inpaint(image, mask, 3.0, cv2.INPAINT_TELEA)


def test_opencv_s_telea_is_the_baseline_to_the_last_digit(tmp_path: Path) -> None:
    found = restore.benchmark(telea, "photos_masks", HOLES, "baseline=[telea]", numpy=True,
                              method="mine")  # fmt: skip
    assert rows_of(found.folder, "mine") == rows_of(found.folder, "telea") != []
    assert [row["index"] for row in found.rows] == [0, 1]
    assert found.summary["known_error"] == 0
    assert found.summary["psnr"] == sum(row["psnr"] for row in found.rows) / 2
    names = {path.name for path in found.folder.iterdir()}
    assert {"config.yaml", "results.csv", "per_image.csv", "comparison.png"} <= names
    assert found.folder.parent == tmp_path / "outputs" / "evaluate"
    [row] = [
        row
        for row in csv.DictReader((found.folder / "results.csv").read_text().splitlines())
        if row["method"] == "mine"
    ]
    assert row["kind"] == "function" and row["checkpoint"] == ""


def test_a_network_is_counted_and_named_by_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers as published weights, whose range and padding it does by itself."""
    torch.manual_seed(0)
    network = FFDNet(3, width=4, depth=3)
    monkeypatch.setenv("RESTORE_WEIGHTS", str(tmp_path))
    torch.save(network.state_dict(), tmp_path / "w.pth")

    def denoise(observation: Any) -> Any:
        assert not network.training
        noisy, sigma = (observation["input"] + 1) / 2, observation["sigma"] / 2
        height, width = noisy.shape[-2:]
        padded = nn.functional.pad(noisy, (0, width % 2, 0, height % 2), mode="replicate")
        return (network(padded, sigma)[..., :height, :width] * 2 - 1).clamp(-1, 1)

    theirs = ("published=[ffdnet_color]", "published.ffdnet_color.path=w.pth",
              "published.ffdnet_color.network={width:4,depth:3}")  # fmt: skip
    found = restore.benchmark(
        denoise, "photos_sigma25", NOISE, *theirs, module=network, folder="here"
    )
    assert rows_of(found.folder, "denoise") == rows_of(found.folder, "ffdnet_color")
    rows = csv.DictReader((tmp_path / "here" / "results.csv").read_text().splitlines())
    own = next(row for row in rows if row["method"] == "denoise")
    assert own["checkpoint"] == weights_of(network) and own["nfe"] == "1"
    assert int(own["parameters"]) == sum(p.numel() for p in network.parameters())
    assert int(own["macs"]) > 0 and own["cost_size"] == "2x3x64x64"
    with pytest.raises(InputError, match="here is not empty"):
        restore.benchmark(denoise, "photos_sigma25", NOISE, folder="here")


def test_weights_have_a_hash_of_names_types_shapes_and_values() -> None:
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(2)
    first = weights_of(layer)
    assert first.startswith("weights@") and weights_of(nn.BatchNorm2d(2)) == first
    assert weights_of(layer.half()) != first
    with torch.no_grad():
        layer.float().weight[0] += 1
    assert weights_of(layer) != first
    assert weights_of(telea) == ""
    large = nn.Linear(100, 100)  # in print the middle of it is left out
    first = weights_of(large)
    with torch.no_grad():
        large.weight[50, 50] += 1e-7
    assert weights_of(large) != first


def _changes_input(observation: Any) -> Any:
    return observation["input"].clamp_(-1, 1)


def _adds_a_key(observation: Any) -> Any:
    observation["mine"] = 1
    return observation["input"].clamp(-1, 1)


def _paints(image: Any, mask: Any) -> Any:
    image[:] = 0
    return image


def _torch(change: Callable[[Tensor], Any]) -> Callable[[Any], Any]:
    return lambda observation: change(observation["input"].clamp(-1, 1))


def _array(change: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda image, mask: change(image.clip(0, 1))


SLIPS: dict[str, tuple[Any, bool, str]] = {
    "none": (_torch(lambda x: None), False, "returned a NoneType: return a float tensor"),
    "integers": (_torch(lambda x: x.int()), False, "a Tensor of torch.int32"),
    "one image": (_torch(lambda x: x[0]), False, "returned shape [3,"),
    "another size": (_torch(lambda x: x[..., 1:]), False, "does not serve this benchmark"),
    "grey": (_torch(lambda x: x[:, :1]), False, "does not serve this benchmark"),
    "nan": (_torch(lambda x: x * math.nan), False, "returned NaN"),
    "levels": (_torch(lambda x: x * 127), False, "clip them to [-1, 1]"),
    "unit": (_torch(lambda x: (x + 1) / 2), False, "values of [0, 1]: return images in [-1, 1]"),
    "input": (_changes_input, False, "changed its input"),
    "keys": (_adds_a_key, False, "changed the keys"),
    "array of levels": (_array(lambda x: x * 255), True, "clip them to [0, 1]"),
    "array of ints": (_array(lambda x: x.astype(int)), True, "a ndarray of int64"),
    "tensor": (_array(torch.from_numpy), True, "a Tensor of torch.float32"),
    "array nan": (_array(lambda x: x * np.nan), True, "returned NaN"),
    "array size": (_array(lambda x: x[1:]), True, "does not serve this benchmark"),
    "one line": (_array(lambda x: x.ravel()), True, "returned shape ["),
    "image": (_paints, True, "changed its image"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_one_line_and_leaves_nothing(slip: str, tmp_path: Path) -> None:
    function, numpy, message = SLIPS[slip]
    with pytest.raises(InputError) as error:
        restore.benchmark(function, "photos_sigma25", NOISE, numpy=numpy, method="mine")
    assert message in str(error.value) and "\n" not in str(error.value), error.value
    assert str(error.value).startswith("mine ")
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_function_itself_is_shown_as_it_is(tmp_path: Path) -> None:
    def broken(observation: Any) -> Tensor:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError):
        restore.benchmark(broken, "photos_sigma25", NOISE)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_the_measurement_and_not_the_program(tmp_path: Path) -> None:
    def stopped(observation: Any) -> Tensor:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("went on")

    before = signal.getsignal(signal.SIGINT)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            restore.benchmark(stopped, "photos_sigma25", NOISE)
        assert signal.getsignal(signal.SIGINT) is before and not list(tmp_path.iterdir())


def test_results_of_methods_before_it_outlive_a_function_that_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="changed its image"):
        restore.benchmark(_paints, "photos_masks", HOLES, "baseline=[mean_fill]", numpy=True)
    [kept] = (tmp_path / "outputs" / "evaluate").iterdir()
    assert f"kept: 1 of 2 results, in {kept}" in capsys.readouterr().out
    assert len(rows_of(kept, "mean_fill")) == 2


def test_what_is_no_function_or_no_benchmark() -> None:
    with pytest.raises(InputError, match="takes a function, not str"):
        restore.benchmark("telea", "photos_masks")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nope"):
        restore.benchmark(telea, "nope")


def test_a_function_may_compute_gradients() -> None:
    def descend(observation: Any) -> Any:
        with torch.enable_grad():
            x = observation["input"].clone().requires_grad_()
            (gradient,) = torch.autograd.grad((x**2).sum() / 2, x)
        return (x - 0.5 * gradient).detach().clamp(-1, 1)

    assert restore.benchmark(descend, "photos_sigma25", NOISE).summary["psnr"] > 0


def test_a_function_that_draws_is_asked_for_every_sample() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(observation: Any) -> Any:
        image = observation["input"]
        return torch.rand(image.shape, generator=generator) * 2 - 1

    whole = "benchmark.digits_half.data={limit:2,repeat:1}"
    found = restore.benchmark(draw, "digits_half", whole)
    assert found.summary["diversity"] > 0.1
