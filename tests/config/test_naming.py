"""What a stored config names beyond a checkpoint's reach, named anew by whoever reads it."""

from typing import Any

import pytest

from restore.config.naming import Packages, PackagesOption, check_named, packages_of
from restore.config.trust import Trust
from restore.types import InputError

INSIDE = [
    "restore.network.unet.UNet",
    "torch.optim.NAdam",
    "torch.nn.L1Loss",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.profilers.SimpleProfiler",
]
BEYOND = [
    "mylab.network.Net",
    "lightning.pytorch.callbacks.LambdaCallback",
    "lightning.pytorch.profilers.PyTorchProfiler",
    "torchmetrics.image.StructuralSimilarityIndexMeasure",
    "kornia.losses.CharbonnierLoss",
]


def config(target: str) -> dict[str, Any]:
    return {"task": {"loss": [{"deep": {"_target_": target}}]}, "packages": []}


@pytest.mark.parametrize("target", INSIDE)
def test_a_checkpoint_s_own_reach_needs_no_name(target: str) -> None:
    check_named(config(target), {}, Trust())
    assert packages_of(config(target)) == []


@pytest.mark.parametrize("target", BEYOND)
def test_what_lies_beyond_wants_its_package(target: str) -> None:
    root = target.partition(".")[0]
    says = rf"names {target} \(of x 1\): .*packages=\[{root}\]"
    with pytest.raises(InputError, match=says):
        check_named(config(target), {target: "x 1"}, Trust(libraries=True))
    with pytest.raises(InputError, match=says):
        check_named(config(target), {target: "x 1"}, Trust(("other",)), typed=["other.Thing"])
    check_named(config(target), {}, Trust((root,)))
    check_named(config(target), {}, Trust(), typed=[target])
    assert packages_of(config(target)) == [root]


def test_packages_of_a_run_stand_first_and_once() -> None:
    both = {"packages": ["b", "a"], "task": {"_target_": "a.B"}, "data": {"_target_": "kornia.x.Y"}}
    assert packages_of(both) == ["b", "a"]  # no class of kornia.x is one of a library
    both["data"] = {"_target_": BEYOND[-1]}
    assert packages_of(both) == ["b", "a", "kornia"]
    both["packages"] = "mylab"  # as packages=mylab, without brackets
    assert packages_of(both) == ["mylab", "a", "kornia"]


def test_names_are_listed_or_have_commas_between_them() -> None:
    for names in ("mylab,other", ["mylab", "other"], ("mylab", "other")):
        assert Packages(names) == ("mylab", "other")
    assert PackagesOption("mylab") == ("mylab",) and PackagesOption("") == () == Packages()
