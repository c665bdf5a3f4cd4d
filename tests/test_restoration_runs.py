"""The restoration experiments through their command line: smoke, two processes, what is learned."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import Command
from safetensors.torch import load_file
from test_train import child

import restore
from restore import zoo
from restore.export import write

PHOTOS = ("inpaint_photos", "colorize_photos", "denoise_photos")
FILES = ("inpaint_flowers", "colorize_flowers", "denoise_bsds", "denoise_bsds_psnr")
BENCHMARK = {
    "inpaint_photos": "photos_masks",
    "colorize_photos": "photos_gray",
    "denoise_photos": "photos_sigma25",
}
SMALL = {
    "inpaint_photos": ["task.network.width=4"],
    "colorize_photos": ["task.network.widths=[8,8,8]"],
    "denoise_photos": ["task.network.widths=[8,8,8]"],
}
PLAIN = ("+trainer.enable_progress_bar=false", "~callback.progress")


BEATEN = {"inpaint": "mean_fill", "colorize": "grey", "denoise": "identity", "ddpm": "mean_fill"}
BEATEN |= {"latent": "mean_fill"}


def smoke(command: Command, folder: Path, experiment: str, *settings: str) -> dict[str, Any]:
    arguments = (f"experiment={experiment}", "debug=smoke", f"hydra.run.dir={folder}", *settings)
    ended = command(*arguments, *PLAIN)
    assert ended.code == 0, ended.err
    beaten = "grey" if experiment.endswith("_gray") else BEATEN.get(experiment.partition("_")[0])
    if beaten is not None:
        assert f" baseline={beaten} 'benchmark=[" in ended.out.splitlines()[-1]
    for name in ("best.ckpt", "last.ckpt"):
        assert (folder / "checkpoints" / name).stat().st_size > 0
    assert (folder / "samples" / "last.png").stat().st_size > 0
    assert "train/loss" in (folder / "metrics.csv").read_text()
    record: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert record["training"]["updates"] == 2
    return record


@pytest.mark.parametrize("experiment", PHOTOS)
def test_smoke_of_a_gan(command: Command, tmp_path: Path, experiment: str) -> None:
    record = smoke(command, tmp_path / "run", experiment, *SMALL[experiment])
    (measured,) = record["evaluation"]
    assert measured["benchmark"] == BENCHMARK[experiment]
    assert measured["metrics"]["psnr"] > 0
    logged = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/adversarial", "train/discriminator", "train/l1", "val/l1"} <= set(logged)


@pytest.mark.parametrize("experiment", PHOTOS)
def test_smoke_of_its_regression(command: Command, tmp_path: Path, experiment: str) -> None:
    smoke(command, tmp_path / "run", f"{experiment}_regression", *SMALL[experiment])
    logged = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert not any("adversarial" in name or "discriminator" in name for name in logged)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("experiment", [*FILES, *(f"{name}_regression" for name in FILES[:3])])
def test_smoke_on_files(command: Command, tmp_path: Path, experiment: str) -> None:
    smoke(command, tmp_path / "run", experiment)


DIFFUSIONS = ("ddpm_flowers_masked", "ddpm_flowers_gray", "ddpm_mnist_masked", "ddpm_scenes")
LIMIT = "benchmark.{}.data.limit=4"


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("experiment", ["ddpm_flowers", *DIFFUSIONS])
def test_smoke_of_a_diffusion_on_files(command: Command, tmp_path: Path, experiment: str) -> None:
    own = {"ddpm_flowers_gray": "flowers_gray", "ddpm_mnist_masked": "mnist_half"}
    benchmark = own.get(experiment, "scenes_masks" if "scenes" in experiment else "flowers_masks")
    small = ("task.network.width=8", "task.network.attention=[]", LIMIT.format(benchmark))
    smoke(command, tmp_path / "run", experiment, *small)


@pytest.mark.slow
@pytest.mark.data
def test_smoke_of_latents_on_files(command: Command, tmp_path: Path) -> None:
    smoke(command, tmp_path / "codec", "autoencoder_flowers", "task.network.width=8")
    path = f"task.codec.path={tmp_path / 'codec'}"
    limit = LIMIT.format("flowers_masks")
    smoke(command, tmp_path / "run", "latent_flowers", path, "task.network.width=16", limit)


PHOTO = ("data=photos", "~data.train_framing.smallest", "data.train_framing.size=32")
PHOTO += ("data.train_framing._target_=restore.data.framing.RandomPatch", "benchmark=[]")


def test_a_latent_diffusion_outlives_its_autoencoder(command: Command, tmp_path: Path) -> None:
    """Both are trained on the embedded photos; then the autoencoder is gone."""
    first = ("experiment=autoencoder_flowers", "debug=smoke", "task.network.width=4", *PHOTO)
    ended = command(*first, f"hydra.run.dir={tmp_path / 'codec'}", *PLAIN)
    assert ended.code == 0, ended.err
    second = ("experiment=latent_flowers", "debug=smoke", "task.network.width=4", *PHOTO)
    second += ("scheduler=constant", "task.network.attention=[]", "sampler.num_steps=2")
    settings = (*second, *PLAIN)
    refused = command(*settings, f"hydra.run.dir={tmp_path / 'none'}")
    assert refused.code == 2 and "task.codec.path is needed" in refused.err
    assert not (tmp_path / "none").exists()
    path = f"task.codec.path={tmp_path / 'codec'}"
    ended = command(*settings, path, f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.code == 0, ended.err
    assert "codec" in (tmp_path / "run" / "config.yaml").read_text()
    assert str(tmp_path / "codec") not in (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "codec").rename(tmp_path / "gone")
    resumed = command(f"resume.path={tmp_path / 'run'}", "max_updates=3")
    assert resumed.code == 0, resumed.err
    last = zoo.read(tmp_path / "run" / "checkpoints" / "last.ckpt").content
    assert last["progress"]["updates"] == 3
    assert last["codec"]["experiment"] == "autoencoder_flowers"  # for the terms of its data
    model = restore.load(tmp_path / "run", device="cpu")
    image = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8)
    hole = torch.zeros(32, 48, dtype=torch.bool)
    hole[4:20, 5:30] = True
    filled = model(image, hole=hole)
    assert torch.equal(filled[:, ~hole], image[:, ~hole])
    assert not torch.equal(filled[:, hole], image[:, hole])
    write.bundled(str(tmp_path / "run"), tmp_path / "small", write.ExportSettings(kind="int8"))
    kept = load_file(tmp_path / "small" / "model.safetensors")
    own, read = (zoo.read(tmp_path / one).content["state_dict"] for one in ("run", "small"))
    name = "codec.network.decoder.0.weight"
    assert kept[name].dtype == kept["network.conv_in.weight"].dtype == torch.int8
    assert (read[name] - own[name]).abs().max() <= 0.501 * own[name].abs().max() / 127
    small = restore.load(tmp_path / "small", device="cpu")(image, hole=hole)
    assert torch.equal(small[:, ~hole], image[:, ~hole])


def test_adversary_null_on_the_command_line_is_regression(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    smoke(command, folder, "denoise_photos", "adversary=null", *SMALL["denoise_photos"])
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert not any(name.startswith("adversary") for name in state)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = content["state_dict"]
    return state


# Adam turns rounding errors of tiny gradients into whole steps; plain descent does not.
DESCENT = [
    setting
    for player in ("task.optimizer", "task.adversary.optimizer")
    for setting in (f"{player}._target_=torch.optim.SGD", f"~{player}.betas", f"{player}.lr=0.01")
]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [pytest.param(PHOTOS[0], marks=pytest.mark.ci), *PHOTOS[1:]])
def test_two_processes_are_one_with_twice_the_batch(
    command: Command, tmp_path: Path, environment: dict[str, str], experiment: str
) -> None:
    shared = [f"experiment={experiment}", "max_updates=3", *DESCENT, *SMALL[experiment]]
    shared += [f"~benchmark.{BENCHMARK[experiment]}", "trainer.precision=32-true", *PLAIN]
    shared += ["data.repeat=15"]  # validation: an odd number
    ended = command(*shared, "data.batch_size=8", f"hydra.run.dir={tmp_path / 'one'}")
    assert ended.code == 0, ended.err
    two = [*shared, "trainer=ddp_cpu", "data.batch_size=4", f"hydra.run.dir={tmp_path / 'two'}"]
    both = child(two, tmp_path, environment, tiny=())
    assert both.returncode == 0, both.stderr
    one, two_weights = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert any(name.startswith("adversary") for name in one)
    for name, value in one.items():
        assert (value - two_weights[name]).abs().max() <= 1e-5, name
    validated = [
        json.loads((tmp_path / name / "result.json").read_text())["validation"]["val/loss"]
        for name in ("one", "two")
    ]
    assert validated[0] == pytest.approx(validated[1], rel=1e-4)


def test_plain_ddp_is_refused_for_two_players(command: Command, tmp_path: Path) -> None:
    settings = ("experiment=denoise_photos", "trainer=ddp_cpu", "trainer.strategy=ddp")
    ended = command(*settings, f"hydra.run.dir={tmp_path / 'run'}")
    assert ended.code == 2
    assert "use trainer.strategy=auto" in ended.err
    assert not (tmp_path / "run").exists()
