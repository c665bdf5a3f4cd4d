"""Every degradation of conf/ in its place: composed, built and put to work."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from entry import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from restore import build
from restore.degradation.composition import Curriculum
from restore.degradation.contract import Degradation

LEAVES = sorted(path.stem for path in (ROOT / "conf/degradation").glob("*.yaml"))
BLIND = {
    *("noise_any", "noise_blind", "noise_kinds", "noise_mixture"),
    *("poisson", "jpeg", "salt_pepper", "speckle", "unchanged"),
}
LINEAR = {"downsample", "blur", "motion_blur", "blur_downsample", "luma"}
KNOWN = {"noise", "noise_range", "kair_noise", "allinone_noise"}


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def composed(*overrides: str) -> dict[str, Any]:
    node = OmegaConf.to_container(compose("train", list(overrides)).data.degradation, resolve=True)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def built(*overrides: str) -> Degradation:
    made: Degradation = build.build(composed(*overrides), "data.degradation")
    return made


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf != "files"])
def test_leaf_degrades(leaf: str) -> None:
    target = torch.linspace(-1, 1, 4 * 3 * 32 * 32).view(4, 3, 32, 32)
    degradation = built(f"degradation={leaf}")
    degraded = degradation(target, torch.arange(4))
    assert degraded["input"].shape == (4, degradation.input_channels(3), 32, 32)
    assert degraded["input"].dtype == torch.float32 and degraded["target"] is target
    fields = {"sigma"} if leaf in KNOWN else set() if leaf in BLIND else {"hole"}
    fields = {"operator", "sigma"} if leaf in LINEAR else {"operator"} if leaf == "gray" else fields
    assert set(degraded) == {"target", "input"} | fields
    same = degraded["input"].shape == target.shape and degraded["input"].equal(target)
    assert same == (leaf == "unchanged")


def test_leaves_of_linear_operators_measure_what_they_say() -> None:
    target = torch.rand(2, 3, 32, 32) * 2 - 1
    seeds = torch.arange(2)

    def made(*overrides: str) -> Any:
        return built(*overrides, "data.degradation.sigma=0.0")(target, seeds)

    weights = torch.tensor([0.299, 0.587, 0.114])
    luma = torch.einsum("bchw,c->bhw", target, weights)[:, None]
    assert torch.allclose(made("degradation=luma")["input"], luma, atol=1e-6)
    level = made("degradation=motion_blur", "data.degradation.operator.angle=0.0")["input"]
    line = sum(target.roll(k, dims=-1) for k in range(-7, 8)) / 15  # beyond the borders periodic
    assert torch.allclose(level, line, atol=1e-5)
    both = made("degradation=blur_downsample")
    blurred = made("degradation=blur")["input"]
    small = torch.nn.functional.avg_pool2d(blurred, 4)
    assert torch.allclose(both["operator"].measured(both["input"]), small, atol=1e-4)


def test_the_ends_of_the_mask_curriculum_are_leaves() -> None:
    chosen = composed("degradation=mask_curriculum", "degradation@data.degradation.start=box")
    assert chosen["start"] == composed("degradation=box")
    assert chosen["stop"] == composed("degradation=strokes_thick")
    assert isinstance(built("degradation=mask_curriculum"), Curriculum)
