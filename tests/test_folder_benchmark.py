"""benchmark=folder inherits what the training says of its data, and never measures its photos."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from restore.build import build
from restore.data.module import DataModule
from restore.evaluation import load
from restore.evaluation.benchmark import fingerprint
from restore.training import next_command
from restore.types import InputError


def composed(name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose(name, ["benchmark=folder", *overrides])
    node = OmegaConf.to_container(config, resolve=False)
    assert isinstance(node, dict)

    resolved = OmegaConf.to_container(OmegaConf.create(node), resolve=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def names(data: DataModule, split: Any) -> set[str]:
    samples = data.samples(split)
    return {samples.source[index].name for index in range(samples.num_photos)}


@pytest.mark.parametrize("tree", [[f"{n}.png" for n in range(40)], ["train/a.png", "val/b.png"]])
def test_no_photo_trained_on_is_measured(tmp_path: Path, tree: list[str]) -> None:
    for number, name in enumerate(tree):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 12), (number, 0, 0)).save(tmp_path / name)
    config = composed(
        "train", "data=folder", f"data.root={tmp_path}", "degradation=half",
        "data.source.val_fraction=0.3",
    )  # fmt: skip
    own = build(config["data"], "data")
    measured = build(config["benchmark"]["folder"]["data"], "benchmark.folder.data")
    assert names(measured, "test") == names(own, "val")
    assert not names(measured, "test") & names(own, "train")
    assert vars(measured.degradation.shape) == vars(own.degradation.shape)


def test_an_evaluation_takes_all_photos_under_a_named_degradation(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("RGB", (12, 12), (number, 0, 0)).save(tmp_path / f"{number}.png")
    root = f"benchmark.folder.data.root={tmp_path}"
    node = composed("evaluate", root)["benchmark"]["folder"]["data"]
    with pytest.raises(InputError, match="the degradation is not set"):
        build(node, "benchmark.folder.data")
    named = "+degradation@benchmark.folder.data.degradation=noise"
    node = composed("evaluate", root, named)["benchmark"]["folder"]["data"]
    assert build(node, "benchmark.folder.data").num_test == 4


def test_a_root_is_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (12, 12)).save(tmp_path / "a.png")
    monkeypatch.setenv("RESTORE_DATA", str(tmp_path))
    config = composed("train", "data=folder", "degradation=half")
    for node in (config["data"], config["benchmark"]["folder"]["data"]):
        with pytest.raises(InputError, match=r"data\.root is not set"):
            build(node, "data").check("val")


@pytest.mark.parametrize(
    "settings",
    [
        ["degradation=noise"],
        ["degradation=strokes_any", "data.source.mode=gray"],
        ["degradation=noise", "data.degradation.sigma=[5, 50]"],
        ["degradation=half", "data.source.folder='a, b'", "data.source.val_fraction=0.5"],
    ],
)
def test_the_next_command_measures_what_the_training_measured(
    tmp_path: Path, settings: list[str]
) -> None:
    node = composed("train", "data=folder", f"data.root={tmp_path}", *settings)["benchmark"]
    words = [shlex.split(one)[0] for one in next_command.inherited(node["folder"], set())]
    root = f"benchmark.folder.data.root={tmp_path}"
    measured = composed("evaluate", root, *words)["benchmark"]["folder"]
    assert fingerprint(measured) == fingerprint(node["folder"])
    assert measured["data"]["degradation"] == node["folder"]["data"]["degradation"]


def test_what_is_named_already_is_not_named_again(tmp_path: Path) -> None:
    node = composed("train", "data=folder", f"data.root={tmp_path}", "degradation=noise")
    own = {"degradation@benchmark.folder.data.degradation"}
    own |= {"benchmark.folder.data.source.val_fraction"}
    assert next_command.inherited(node["benchmark"]["folder"], own) == []


def test_other_photos_are_another_protocol_and_another_task(tmp_path: Path) -> None:
    def hashes(folder: Path) -> tuple[str, str]:
        root = f"benchmark.folder.data.root={folder}"
        named = "+degradation@benchmark.folder.data.degradation=noise"
        [made] = load.benchmarks(composed("evaluate", root, named), 0)
        return made.protocol, made.task

    for place in ("a", "b", "again"):
        (tmp_path / place).mkdir()
        level = 9 if place == "b" else 0
        for number in range(4):
            own = Image.new("RGB", (12, 12), (number, level, level))
            own.save(tmp_path / place / f"{'b' * (place == 'b')}{number}.png")
    first, other, again = (hashes(tmp_path / place) for place in ("a", "b", "again"))
    assert first == again and first[0] != other[0] and first[1] != other[1]
    (tmp_path / "again" / "3.png").unlink()
    assert hashes(tmp_path / "again")[0] != first[0]
