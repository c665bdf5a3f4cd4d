"""What an evaluation takes from a checkpoint, against networks filled and called by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from entry import ROOT
from small_models import part, write_model
from torch import Tensor

from restore import checkpoint
from restore.evaluation import load
from restore.hashing import sha256_of
from restore.network.bias_free import BiasFreeUNet
from restore.types import InputError

DDIM = {
    "_target_": "restore.diffusion.sampler.Sampling",
    "num_steps": 3,
    "method": part("restore.diffusion.sampler.ddim", eta=0.0),
}


def observation(**more: Tensor) -> Any:
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return {"input": image, "index": torch.arange(2), "name": ["a", "b"], **more}


def test_averaged_weights_are_what_is_measured(tmp_path: Path) -> None:
    folder = write_model("blind", tmp_path)
    path = checkpoint.best_of(folder)
    content = checkpoint.read(path)
    live = {
        name.removeprefix("network."): value
        for name, value in content["state_dict"].items()
        if name.startswith("network.")
    }
    average = {name: 0.5 * value + 0.01 for name, value in live.items()}
    content["ema"] = {"updates": 1, "weights": average}
    checkpoint.write(content, path)

    by_hand = BiasFreeUNet(3, widths=[4, 4], num_blocks=1, noise_map=False)
    seen = observation()
    outputs = {}
    for name, weights in (("average", average), ("live", live)):
        by_hand.load_state_dict(weights)
        with torch.no_grad():
            outputs[name] = by_hand(seen["input"])
    assert not torch.allclose(outputs["average"], outputs["live"], atol=1e-3)
    with torch.no_grad():
        restored = load.method(folder, {}).restore(seen, 1)[:, 0]
    assert torch.equal(restored, outputs["average"])


def test_a_checkpoint_that_is_replaced_meanwhile_is_named_as_it_was_read(tmp_path: Path) -> None:
    path = checkpoint.best_of(write_model("blind", tmp_path))
    first = f"best.ckpt@{sha256_of(path)[:12]}"
    method = load.method(path, {})
    checkpoint.write({**checkpoint.read(path), "experiment": "later"}, path)
    assert not first.endswith(sha256_of(path)[:12])
    assert method.identity == first


def test_sampler_and_guidance_of_an_evaluation_replace_those_of_the_checkpoint(
    tmp_path: Path,
) -> None:
    folder = write_model("prior", tmp_path)
    own = load.method(folder, {})
    assert own.draws and not load.method(write_model("blind", tmp_path / "other"), {}).draws
    assert own.num_calls == 4 + 2  # RePaint: four steps, and one jump of two back
    assert own.sampling.sampler == "RePaint"

    hole = torch.zeros(2, 1, 8, 8)
    hole[..., 4:] = 1
    seen = observation(hole=hole)
    guidance = {"_target_": "restore.diffusion.guidance.Replacement"}
    given = load.method(folder, {"sampler": DDIM, "guidance": guidance})
    assert (given.num_calls, str(given.sampling)) == (
        3,
        "ddim(eta=0.0, num_steps=3), Replacement()",
    )
    led = checkpoint.read(checkpoint.best_of(folder))  # one that was trained with this guidance
    led["config"]["task"]["guidance"] = guidance
    checkpoint.write(led, tmp_path / "led.ckpt")
    for settings, said in (({}, "Replacement()"), ({"guidance": None}, "")):
        sampling = load.method(tmp_path / "led.ckpt", {"sampler": DDIM, **settings}).sampling
        assert sampling.guidance == said
    with torch.no_grad():
        restored = given.restore(seen, 1)[:, 0]
    assert torch.equal(restored[..., :4], seen["input"][..., :4])
    assert not torch.equal(restored[..., 4:], seen["input"][..., 4:])


def test_a_network_that_draws_nothing_takes_no_sampler(tmp_path: Path) -> None:
    folder = write_model("blind", tmp_path)
    with pytest.raises(InputError, match="blind: Denoiser draws no samples: leave out sampler="):
        load.method(folder, {"sampler": DDIM})
    assert not load.method(folder, {"guidance": None}).draws


def test_settings_of_ones_own_are_in_the_name_of_a_baseline() -> None:
    kind = "restore.evaluation.noise_filter.Median"
    given = {"median": {"_target_": kind, "size": 3}, "wide": {"_target_": kind, "size": 7}}
    made = load.baselines({"baseline": given})
    assert [one.name for one in made] == ["median", "wide(size=7)"]


@pytest.mark.parametrize("path", sorted(ROOT.glob("conf/baseline/*.yaml")), ids=lambda p: p.stem)
def test_a_baseline_as_it_comes_has_its_plain_name(path: Path) -> None:
    if path.stem == "bm3d":
        pytest.importorskip("bm3d")
    node = yaml.safe_load(path.read_text())
    [made] = load.baselines({"baseline": {path.stem: node}})
    assert made.name == path.stem
