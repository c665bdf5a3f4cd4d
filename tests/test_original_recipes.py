"""What the described systems set, and one step of each at its own size of 256 px."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from entry import Command
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image
from test_conf import CONF
from test_restoration_runs import PLAIN

from restore import build


def composed(experiment: str) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"experiment={experiment}"])
    node = OmegaConf.to_container(config, resolve=True)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def test_the_ddpm_predicts_noise_on_linear_betas() -> None:
    config = composed("ddpm_original")
    task, betas = config["task"], build.build(config["task"]["schedule"]).betas
    assert (task["parameterization"], task["min_snr_gamma"]) == ("eps", None)
    assert (len(betas), float(betas[0]), float(betas[-1])) == (1000, 1e-4, 0.02)
    assert task["optimizer"]["_target_"] == "torch.optim.Adam" and task["optimizer"]["lr"] == 1e-4


def test_the_gans_train_by_cross_entropy() -> None:
    tasks = {
        name: composed(f"{name}_original")["task"] for name in ("inpaint", "colorize", "denoise")
    }
    assert {task["adversary"]["loss"] for task in tasks.values()} == {"bce"}
    assert tasks["inpaint"]["adversary"]["input_noise"] > 0
    assert tasks["inpaint"]["network"]["upsampling"] == "transposed"
    assert tasks["colorize"]["loss"]["pixels"]["weight"] == 100
    players = tasks["colorize"], tasks["colorize"]["adversary"]
    assert {(p["scheduler"]["step_size"], p["scheduler"]["gamma"]) for p in players} == {(30, 0.1)}
    assert tasks["colorize"]["scheduler_interval"] == "epoch"
    assert not tasks["denoise"]["adversary"]["conditional"]
    assert tasks["denoise"]["network"]["norm"] == "batch"


@pytest.mark.slow
@pytest.mark.parametrize(
    "experiment", ["colorize", "denoise", pytest.param("inpaint", marks=pytest.mark.ci)]
)
def test_one_step_at_256_px(command: Command, tmp_path: Path, experiment: str) -> None:
    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(6):
        levels = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        photo = Image.fromarray(levels).resize((320, 280), Image.Resampling.BICUBIC)
        photo.save(tmp_path / "photos" / f"{number}.png")
    ended = command(
        *(f"experiment={experiment}_original", "debug=smoke", "trainer=cpu", "max_updates=1"),
        *(f"data.root={tmp_path / 'photos'}", "data.source.val_fraction=0.34", "benchmark=[]"),
        *(f"hydra.run.dir={tmp_path / 'run'}", *PLAIN),
    )
    assert ended.code == 0, ended.err
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["training"]["updates"] == 1
    logged = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    terms = {"train/adversarial", "train/discriminator", "train/l1"}
    terms |= {"train/perceptual"} if experiment != "colorize" else set()
    terms |= {"train/style", "train/total_variation"} if experiment == "inpaint" else set()
    assert terms <= set(logged)
