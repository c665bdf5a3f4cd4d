import argparse
import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from entry import ROOT
from latents import write_autoencoder
from torch import Tensor, nn

from restore.describe import arguments, describe, markdown, show
from restore.types import InputError

PAGE = (ROOT / "experiments" / "networks" / "README.md").read_text()
LEAVES = sorted(path.stem for path in (ROOT / "conf" / "network").glob("*.yaml"))


@pytest.mark.parametrize("name", LEAVES)
def test_every_parameter_stands_in_one_layer_and_on_the_page(name: str) -> None:
    layers, total = describe([f"network={name}"], 64)
    section = f"## {name}\n\n{markdown(layers, total, 64)}"
    assert section in PAGE, "python experiments/networks/make.py writes the page anew"
    assert sum(layer.parameters for layer in layers) == total
    assert len({layer.name for layer in layers}) == len(layers)


def test_an_image_of_256_px_is_what_nobody_asks_for() -> None:
    parser = argparse.ArgumentParser()
    arguments(parser)
    assert parser.parse_args(["network=inpainting"]).size == 256


def test_the_page_has_no_other_network() -> None:
    assert sorted(re.findall("^## (.*)$", PAGE, re.M)) == LEAVES


def test_the_described_generator_has_16_and_9_gated_layers() -> None:
    layers, _ = describe(["network=inpainting"], 64)
    gated = [layer.name for layer in layers if layer.name.endswith(".conv")]
    assert sum(name.startswith("coarse") for name in gated) == 16
    assert sum(name.startswith("refinement") for name in gated) == 9
    assert {layer.dilation for layer in layers if layer.name.startswith("coarse")} == {
        f"{d}x{d}" for d in (1, 2, 4, 8, 16)
    }


def test_the_table_of_the_first_u_net(capsys: pytest.CaptureFixture[str]) -> None:
    assert show(["network=unet_classic", "task.network.widths=[8]"], 16) == 0
    rows = capsys.readouterr().out.splitlines()
    assert "| down.0.first | Conv2d | 3x3 | 1x1 | 1x1 | 3 to 8 | 16x16 | 224 |" in rows
    total = 224 + (8 * 8 * 9 + 8) + (64 + 64) + (64 * 64 + 64) + (64 * 8 + 8) + (8 * 3 + 3)
    assert rows[-1] == f"{total:,} parameters in 6 layers, for an image of 16 px"


def test_a_layer_that_runs_twice_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x))

    made = Twice()
    call = partial(made, torch.zeros(1, 3, 4, 4))
    monkeypatch.setattr("restore.describe._alone", lambda config, size: (made, call))
    layers, total = describe([], 4)
    assert [layer.name for layer in layers] == ["layer"] and total == 12


def test_a_size_that_no_network_takes() -> None:
    with pytest.raises(InputError):
        describe(["network=unet", "task.network.multipliers=[1,2,4]"], 6)


@pytest.mark.parametrize("network", ["network=null", "task.network=unet"])
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(InputError, match="has no layers: choose it by network=NAME"):
        describe([network])


def test_a_network_of_a_package_that_is_named_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirlayers.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Conv2d):\n"  # with weights at its root, and stages
        "    def __init__(self, image_channels: int):\n"
        "        super().__init__(image_channels, 2, 3)\n"
        "    def forward(self, masked, hole):\n"
        "        return super().forward(masked), super().forward(masked)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    named = ["network=plain", "~task.network", "+task.network={_target_: theirlayers.Net}"]
    (layer,), total = describe([*named, "packages=[theirlayers]"], 16)
    assert layer.cells() == ("", "Net", "3x3", "1x1", "1x1", "3 to 2", "14x14", f"{total}")
    with pytest.raises(InputError, match=r"task\.network\._target_=theirlayers\.Net: only restore"):
        describe(named, 16)


@pytest.mark.parametrize("size", [0, -5])
def test_no_image_is_smaller_than_a_pixel(size: int) -> None:
    with pytest.raises(InputError, match=f"--size {size} must be at least 1"):
        describe(["network=inpainting"], size)


@pytest.mark.parametrize("name", ["ddpm_mnist_masked", "inpaint_any"])
def test_an_experiment_has_the_layers_of_its_training(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("RESTORE_DATA", "nowhere")
    said = json.loads((ROOT / "experiments" / name / "model.json").read_text())
    layers, total = describe([f"experiment={name}"], 32)
    assert sum(layer.parameters for layer in layers) == total == said["parameters"]


def test_an_experiment_among_latents_has_their_channels(tmp_path: Path) -> None:
    autoencoder = write_autoencoder(tmp_path / "autoencoder")  # of 4 latents, half as large
    given = ["experiment=latent_flowers", f"task.codec.path={autoencoder}"]
    layers, _ = describe(given, 32)
    named = {layer.name: layer for layer in layers}
    assert (named["conv_in"].channels, named["conv_in"].output) == ("9 to 48", "16x16")
    assert named["conv_out"].channels == "48 to 4"
    with pytest.raises(InputError, match="--size 2: the network cannot run on that"):
        describe(given, 2)


def test_layers_need_no_published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTORE_WEIGHTS", "nowhere")
    layers, total = describe(["experiment=inpaint_256", "task.network.width=4"], 64)
    assert sum(layer.parameters for layer in layers) == total
