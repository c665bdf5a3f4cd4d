"""diffusers' AutoencoderKL: both ways, the same numbers, and latents of the same scale."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from latents import PIXELS, facts, write
from test_bundle import export
from torch import Tensor

from restore import zoo
from restore.build import build, restored
from restore.diffusers_folder import WEIGHTS
from restore.export.write import FORMATS
from restore.task.codec import Codec
from restore.types import Facts, InputError

PEERS: dict[str, dict[str, Any]] = {
    "attention": {"block_out_channels": (8, 16), "layers_per_block": 2, "norm_num_groups": 4},
    "plain": {
        **{"block_out_channels": (8, 8, 16), "norm_num_groups": 8, "in_channels": 1},
        **{"out_channels": 1, "mid_block_add_attention": False, "use_quant_conv": False},
        **{"use_post_quant_conv": False, "shift_factor": 0.25, "scaling_factor": 0.5},
    },
    "measured": {
        **{"block_out_channels": (4,), "norm_num_groups": 2, "latent_channels": 2},
        **{"latents_mean": [0.5, -1.0], "latents_std": [2.0, 3.0], "scaling_factor": 0.5},
    },
}


def image(*size: int) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def peer(**settings: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    levels = len(settings["block_out_channels"])
    made = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        **settings,
    ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made


def same(own: Any, theirs: Any) -> None:
    """Moments of an image of odd shape, and the decoded mean."""
    seen = image(2, theirs.config.in_channels, 16, 24)
    with torch.no_grad():
        moments = theirs.encode(seen).latent_dist
        mean, log_variance = own.encode(seen)
        pairs = ((mean, moments.mean), (log_variance, moments.logvar))
        pairs = (*pairs, (own.decode(moments.mean), theirs.decode(moments.mean).sample))
    for found, wanted in pairs:
        assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", PEERS)
def test_an_autoencoder_of_diffusers_is_a_codec(tmp_path: Path, name: str) -> None:
    made = peer(**PEERS[name])
    made.save_pretrained(tmp_path / "vae")
    same(restored(zoo.read(tmp_path / "vae").content).network, made)
    codec = Codec(path=str(tmp_path / "vae"))
    assert codec.factor == 2 ** (len(made.config.block_out_channels) - 1)
    with torch.no_grad():
        seen = image(1, made.config.in_channels, 16, 24)
        z = made.encode(seen).latent_dist.mean
        if name == "measured":
            wanted = (z - torch.tensor([0.5, -1.0]).view(1, 2, 1, 1)) * 0.5
            wanted = wanted / torch.tensor([2.0, 3.0]).view(1, 2, 1, 1)
        else:
            wanted = (z - (made.config.shift_factor or 0)) * made.config.scaling_factor
        assert torch.allclose(codec.encode(seen), wanted, atol=1e-5 * float(wanted.abs().max()))
        there_and_back = made.decode(z).sample
        found = codec.decode(codec.encode(seen))
        assert torch.allclose(found, there_and_back, atol=2e-5 * float(there_and_back.abs().max()))


NETWORK = {
    "_target_": "restore.network.autoencoder_kl2d.AutoencoderKL2D",
    "_partial_": True,
    "block_out_channels": [8, 16],
    "norm_num_groups": 4,
}


def trained(
    folder: Path, network: dict[str, Any], known: Facts | None = None, measured: bool = True
) -> Path:
    node = {
        "_target_": "restore.task.autoencoder.Autoencoder",
        "network": network,
        "loss": PIXELS,
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.001},
    }
    torch.manual_seed(0)
    known = known or facts()
    task = build(node, "task", facts=known)
    if measured:
        task.latent_mean.copy_(torch.arange(4) / 4)
        task.latent_std.copy_(torch.arange(1, 5) / 2)
    write(folder, node, task, known)
    return folder


@pytest.mark.parametrize(
    "more", [{}, {"mid_block_add_attention": False, "use_quant_conv": False}], ids=str
)
def test_an_autoencoder_leaves_for_diffusers_and_comes_back(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    diffusers = pytest.importorskip("diffusers")
    run = trained(tmp_path / "run", {**NETWORK, **more})
    folder = export(run, tmp_path / "vae", "--format", "diffusers")
    theirs = diffusers.AutoencoderKL.from_pretrained(folder).eval()
    own = restored(zoo.read(run).content)
    same(own.network, theirs)
    assert theirs.config.latents_mean == own.latent_mean.tolist()
    again = restored(zoo.read(folder).content)
    for name, tensor in own.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert {path.name for path in folder.iterdir()} <= {*FORMATS["diffusers"].FILES}
    modes = {(folder / one).stat().st_mode for one in (WEIGHTS, "config.json")}
    assert len(modes) == 1  # whoever reads one reads the other


def test_an_autoencoder_that_was_never_validated_leaves_with_latents_as_they_are(
    tmp_path: Path,
) -> None:
    network = {**NETWORK, "latent_channels": 2}
    run = trained(tmp_path / "run", network, Facts(1, 1, 16, None), measured=False)
    folder = export(run, tmp_path / "vae", "--format", "diffusers")
    again = restored(zoo.read(folder).content)
    assert again.latent_mean.tolist() == [0, 0] and again.latent_std.tolist() == [1, 1]
    assert again.facts.image_channels == 1


def test_a_file_that_says_no_scale_has_the_scale_of_diffusers(tmp_path: Path) -> None:
    """As those of Stable Diffusion 1, which are older than the key."""
    made = peer(**PEERS["attention"])
    made.save_pretrained(tmp_path)
    place = tmp_path / "config.json"
    said = json.loads(place.read_text())
    del said["scaling_factor"]
    place.write_text(json.dumps(said))
    scale = type(made).from_pretrained(tmp_path).config.scaling_factor
    std = restored(zoo.read(tmp_path).content).latent_std
    assert torch.allclose(1 / std, torch.full_like(std, scale))


def test_what_diffusers_has_no_place_for_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {**NETWORK, "_target_": "restore.network.autoencoder_kl.AutoencoderKL"}
    plain = {key: other[key] for key in ("_target_", "_partial_")} | {"width": 4}
    run = trained(tmp_path / "run", plain)
    export(run, tmp_path / "vae", "--format", "diffusers", code=2)
    said = capsys.readouterr().err
    assert "takes an autoencoder of network=autoencoder_kl2d, not AutoencoderKL" in said
    assert said.count("\n") == 1 and not (tmp_path / "vae").exists()
    folder = export(trained(tmp_path / "own", NETWORK), tmp_path / "two", "--format", "diffusers")
    config = json.loads((folder / "config.json").read_text())
    for change, says in (
        ({"act_fn": "mish"}, "act_fn='mish' is not served"),
        ({"out_channels": 6}, "out_channels=6 is not served"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 2}, "is not served"),
        ({"norm_num_groups": 3}, "are not in norm_num_groups=3 groups"),
        ({"block_out_channels": 3}, "block_out_channels=3 has the wrong type: it takes list"),
        ({"latents_std": 2.0}, "latents_std=2.0 has the wrong type"),
        ({"latents_mean": 2.0}, "latents_mean=2.0 has the wrong type"),
        ({"shift_factor": [1.0]}, "shift_factor=.1.0. has the wrong type"),
        ({"scaling_factor": "1"}, "scaling_factor='1' has the wrong type: it takes float or null"),
        ({"latent_channels": 0}, "latent_channels=0 must be at least 1"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=says):
            restored(zoo.read(folder).content)
