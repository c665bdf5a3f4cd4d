from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from restore import build
from restore.config.command import plain
from restore.evaluation import load
from restore.evaluation.published import Published
from restore.image import to_unit
from restore.network.dncnn import DnCNN
from restore.network.drunet import DRUNet
from restore.network.ffdnet import FFDNet
from restore.network.published_denoiser import PublishedDenoiser
from restore.types import Batch, InputError

BUILDERS = {
    "dncnn": lambda: DnCNN(3, width=4, depth=3),
    "ffdnet": lambda: FFDNet(3, width=4, depth=3),
    "drunet": lambda: DRUNet(3, width=2, num_blocks=1),
}


def noisy(size: tuple[int, int], channels: int = 3, sigma: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, channels, *size, generator=generator) * 2 - 1
    batch = Batch(target=target, input=target + 0.2, index=torch.arange(2), name=["a", "b"])
    if sigma:
        batch["sigma"] = torch.tensor([0.2, 0.4])
    return batch


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESTORE_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    return tmp_path


@pytest.mark.parametrize("name", BUILDERS)
def test_random_weights_round_trip(name: str, folder: Path) -> None:
    saved = BUILDERS[name]()
    torch.save(saved.state_dict(), folder / "w.pth")
    digest = sha256((folder / "w.pth").read_bytes()).hexdigest()
    published = Published(BUILDERS[name](), "w.pth", digest[:8])
    batch = noisy((16, 24))
    with torch.no_grad():
        expected = saved(to_unit(batch["input"]), batch["sigma"] / 2) * 2 - 1
    torch.testing.assert_close(published(batch), expected)
    assert not published.network.training
    assert not any(p.requires_grad for p in published.network.parameters())


@pytest.mark.parametrize("name", BUILDERS)
def test_sizes_that_are_no_multiple_are_padded_and_cut(name: str, folder: Path) -> None:
    network = BUILDERS[name]()
    torch.save(network.state_dict(), folder / "w.pth")
    batch = noisy((13, 17))
    assert Published(network, "w.pth")(batch).shape == batch["target"].shape


class Echo(PublishedDenoiser):
    """Returns the level in [0, 1] that it was told."""

    def __init__(self) -> None:
        super().__init__(3)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor, sigma: Tensor) -> Tensor:
        assert image.min() >= 0
        return self.scale * sigma.view(-1, 1, 1, 1).expand_as(image)


def test_levels_are_told_in_units_of_the_networks_range(folder: Path) -> None:
    torch.save(Echo().state_dict(), folder / "w.pth")
    restored = Published(Echo(), "w.pth")(noisy((8, 8)))
    torch.testing.assert_close(to_unit(restored[:, 0, 0, 0]), torch.tensor([0.1, 0.2]))


def test_method_is_of_its_own_kind_and_counts_parameters(folder: Path) -> None:
    torch.save(BUILDERS["dncnn"]().state_dict(), folder / "w.pth")
    method = Published(BUILDERS["dncnn"](), "w.pth").method("dncnn_25")
    assert (method.name, method.kind, method.num_calls) == ("dncnn_25", "published", 1)
    assert method.num_parameters == 3 * 9 * 4 + 4 + 4 * 9 * 4 + 4 + 4 * 9 * 3 + 3
    assert method.checkpoint == str(folder / "w.pth")
    assert method.restore(noisy((8, 8)), 3).shape == (2, 3, 3, 8, 8)


def test_a_self_ensemble_is_the_mean_over_turns_and_mirrors(folder: Path) -> None:
    network = FFDNet(3, width=4, depth=3)
    torch.save(network.state_dict(), folder / "w.pth")
    batch, published = noisy((12, 18)), Published(network, "w.pth")
    method = published.method("ours", self_ensemble=True)
    assert method.num_calls == 8 and str(method.sampling) == "self_ensemble(views=8)"
    views = []
    for flips in ((), (-1,), (-2,), (-1, -2)):
        for transposed in (False, True):
            seen = batch["input"].flip(flips)
            seen = seen.transpose(-1, -2) if transposed else seen
            made = published({**batch, "input": seen})
            views.append((made.transpose(-1, -2) if transposed else made).flip(flips))
    made = method.restore(batch, 1)[:, 0]
    torch.testing.assert_close(made, torch.stack(views).mean(0))
    assert not torch.allclose(made, published(batch), atol=1e-4)
    estimating = Published(network, "w.pth", level="estimated").method("ours", self_ensemble=True)
    assert str(estimating.sampling) == "estimated level(views=8)"


def test_missing_file_is_one_line_with_place_and_way_out(folder: Path) -> None:
    with pytest.raises(InputError) as error:
        Published(BUILDERS["drunet"](), "drunet_color.pth")
    assert "\n" not in str(error.value)
    for part in (str(folder / "drunet_color.pth"), "RESTORE_WEIGHTS"):
        assert part in str(error.value)


def test_other_hash_other_keys_and_other_files_are_refused(folder: Path) -> None:
    torch.save(BUILDERS["dncnn"]().state_dict(), folder / "w.pth")
    with pytest.raises(InputError, match="SHA-256"):
        Published(BUILDERS["dncnn"](), "w.pth", "0" * 8)
    with pytest.raises(InputError, match="SHA-256"):
        Published(BUILDERS["dncnn"](), "w.pth", "")
    with pytest.raises(InputError, match="does not fit DRUNet"):
        Published(BUILDERS["drunet"](), "w.pth")
    (folder / "w.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="no state dict"):
        Published(BUILDERS["dncnn"](), "w.pth")


def test_a_file_that_would_run_code_is_refused(folder: Path) -> None:
    torch.save(BUILDERS["dncnn"](), folder / "w.pth")  # the whole pickled module
    with pytest.raises(InputError, match="no state dict"):
        Published(BUILDERS["dncnn"](), "w.pth")


def test_benchmarks_that_it_cannot_serve_are_refused(folder: Path) -> None:
    for name, network in BUILDERS.items():
        torch.save(network().state_dict(), folder / f"{name}.pth")
    with pytest.raises(InputError, match="3 channels"):
        Published(BUILDERS["dncnn"](), "dncnn.pth")(noisy((8, 8), channels=1))
    with pytest.raises(InputError, match="needs sigma"):
        Published(BUILDERS["ffdnet"](), "ffdnet.pth")(noisy((8, 8), sigma=False))
    blind = Published(BUILDERS["dncnn"](), "dncnn.pth")(noisy((8, 8), sigma=False))
    assert torch.isfinite(blind).all()


CONF = Path(__file__).parents[2] / "conf"
COUNTS = {
    "dncnn_25": 555_137,
    "dncnn_color_blind": 668_227,
    "ffdnet_gray": 485_316,
    "ffdnet_color": 852_108,
    "drunet_gray": 32_638_656,
    "drunet_color": 32_640_960,
    "bf_cnn_color": 667_008,
    "bf_cnn_color_denoiser": 667_008,
    "bf_cnn_mnist": 664_704,
}


def composed(*names: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("evaluate", [f"published=[{','.join(names)}]"]))


def test_every_config_is_of_the_released_size_and_asks_for_its_file(folder: Path) -> None:
    assert {path.stem for path in (CONF / "published").glob("*.yaml")} == set(COUNTS)
    config = composed(*COUNTS)
    for name, count in COUNTS.items():
        node = config["published"][name]
        with torch.device("meta"):
            network = build.build(node["network"])
        assert sum(p.numel() for p in network.parameters()) == count
        with pytest.raises(InputError, match=rf"{node['path']}.*RESTORE_WEIGHTS"):
            load.published({"published": {name: node}})


def test_from_the_command_line_to_a_method(folder: Path) -> None:
    torch.save(DnCNN(1).state_dict(), folder / "dncnn_25.pth")
    [method] = load.published(composed("dncnn_25"))
    assert (method.name, method.kind, method.num_parameters) == ("dncnn_25", "published", 555_137)
