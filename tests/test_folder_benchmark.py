"""benchmark=folder inherits what the training says of its data, and never measures its photos."""

import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from entry import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from restore.build import build
from restore.data.folder import Folder
from restore.data.framing import Whole
from restore.data.mask_files import MaskFiles
from restore.data.module import DataModule
from restore.data.source import Item, Split
from restore.degradation.noise import Gaussian
from restore.evaluation import load, measured_files
from restore.evaluation.benchmark import Benchmark, digest, fingerprint
from restore.metric.psnr import PSNR
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
        ["degradation=noise", "data.on_error=skip"],
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
    for key in ("degradation", "on_error"):
        assert measured["data"][key] == node["folder"]["data"][key]


def test_what_a_training_leaves_out_its_benchmark_does_not_stumble_over(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        Image.new("RGB", (12, 12)).save(tmp_path / split / "a.png")
        (tmp_path / split / "b.png").write_bytes(b"no image")
    settings = ["data=folder", f"data.root={tmp_path}", "degradation=noise", "data.on_error=skip"]
    node = composed("train", *settings)["benchmark"]["folder"]["data"]
    assert names(build(node, "benchmark.folder.data"), "test") == {"test/a.png"}


def test_what_is_named_already_is_not_named_again(tmp_path: Path) -> None:
    node = composed("train", "data=folder", f"data.root={tmp_path}", "degradation=noise")
    own = {"degradation@benchmark.folder.data.degradation"}
    own |= {"benchmark.folder.data.source.val_fraction"}
    assert next_command.inherited(node["benchmark"]["folder"], own) == []


def test_the_next_command_names_again_what_the_training_was_told(tmp_path: Path) -> None:
    """Settings of benchmarks, where their data lie, own packages and own configs, for a shell."""
    told = [
        "+benchmark.folder.data.root=/my photos",
        "degradation@benchmark.folder.data.degradation=noise",
        "benchmark.folder.data.source.mode=gray",
        "benchmark.holes.data.limit=3",
    ]
    source = {"folder": "a, b", "mode": "gray", "val_fraction": 1.0}
    data = {"root": "/my photos", "source": source, "degradation": {}}
    other = {"holes": {"data": {"root": "/it's"}}, "made": {"data": {}}}
    stored = tmp_path / ".hydra" / "hydra.yaml"
    stored.parent.mkdir()
    stored.write_text("hydra: {searchpath: ['file:///my configs', pkg://mylab]}")
    run: Any = SimpleNamespace(
        benchmarks=[SimpleNamespace(name=name) for name in ("folder", *other)],
        overrides=["seed=3", told[0], "data.root=/x", *told[1:], "experiment=mine"],
        config={
            "benchmark": {"folder": {"data": data}, **other},
            "packages": ["mylab"],
            "task": {"_target_": "other.Task"},
        },
        sample={"input": torch.zeros(1, 1, 4, 4), "target": torch.zeros(1, 1, 8, 8)},
        folder=tmp_path,
    )
    words = shlex.split(" ".join(next_command.arguments(run, tmp_path / "a=b.ckpt")))
    assert words == [
        f"checkpoint='{tmp_path / 'a=b.ckpt'}'",
        "baseline=grey",
        "benchmark=[folder,holes,made]",
        "packages=[mylab,other]",
        "hydra.searchpath=['file:///my configs',pkg://mylab]",
        *told,
        "benchmark.holes.data.root='/it\\'s'",
        "benchmark.folder.data.source.folder='a, b'",
    ]
    run.config = {"benchmark": other, "task": {}}
    run.benchmarks, run.overrides = run.benchmarks[2:], []
    stored.unlink()
    words = next_command.arguments(run, tmp_path)
    assert words[1:] == ["baseline=grey", "'benchmark=[made]'"]


def test_other_seeds_train_what_this_one_trained(tmp_path: Path) -> None:
    """What was set by hand is set again, so that no seed trains on other data or for longer."""
    own = ["+callback.mine={_target_: mylab.Mine}", "max_updates=20", "~benchmark", "packages=[it]"]
    stored = tmp_path / ".hydra" / "hydra.yaml"
    stored.parent.mkdir()
    stored.write_text("hydra: {searchpath: [pkg://mylab]}")
    told = ["experiment=mine", own[0], "seed=7", *own[1:], "resume.allow_inexact=true"]
    run: Any = SimpleNamespace(experiment="mine", overrides=told, folder=tmp_path)
    words = shlex.split(" ".join(next_command.other_seeds(run)))
    assert words == ["experiment=mine", *own, "hydra.searchpath=[pkg://mylab]", "seed=1,2,3"]


def hashes(folder: Path, *settings: str, degradation: str = "noise") -> tuple[str, str, str]:
    """The protocol, the task and the reference of the folder's benchmark."""
    root = f"benchmark.folder.data.root={folder}"
    named = f"+degradation@benchmark.folder.data.degradation={degradation}"
    [made] = load.benchmarks(composed("evaluate", root, named, *settings), 0)
    return made.protocol, made.task, made.reference


def test_other_photos_are_another_protocol_and_another_task(tmp_path: Path) -> None:
    for place in ("a", "b", "again"):
        (tmp_path / place).mkdir()
        level = 9 if place == "b" else 0
        for number in range(4):
            own = Image.new("RGB", (12, 12), (number, level, level))
            own.save(tmp_path / place / f"{'b' * (place == 'b')}{number}.png")
    first, other, again = (hashes(tmp_path / place)[:2] for place in ("a", "b", "again"))
    assert first == again and first[0] != other[0] and first[1] != other[1]
    (tmp_path / "again" / "3.png").unlink()
    assert hashes(tmp_path / "again")[0] != first[0]


def photos(folder: Path, level: int, size: int = 12) -> Path:
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (size, size), (number, level, level)).save(folder / f"{number}.bmp")
    return folder


def test_photos_that_were_skipped_leave_the_others_in_the_hashes(tmp_path: Path) -> None:
    skip = "benchmark.folder.data.on_error=skip"
    first, other = photos(tmp_path / "a", 0, size=12), photos(tmp_path / "b", 9, size=14)
    assert not set(hashes(first, skip)) & set(hashes(other, skip))
    for folder in (first, other):
        (folder / "1.bmp").write_bytes(b"no image")
    one, two = hashes(first, skip), hashes(other, skip)
    assert not set(one) & set(two)
    (first / "1.bmp").write_bytes(b"no image either")  # and not measured either
    assert hashes(first, skip) == one


def masks(folder: Path, first: int) -> Path:
    """Two masks of equal size, which are equally long as files, too."""
    folder.mkdir(parents=True)
    for number in range(2):
        mask = Image.new("L", (12, 12))
        mask.putpixel((first + number, 3), 255)
        mask.save(folder / f"{number}.bmp")
    return folder


@pytest.mark.parametrize("nested", [False, True])
def test_other_masks_are_another_protocol_and_another_task(tmp_path: Path, nested: bool) -> None:
    folder = photos(tmp_path / "photos", 0)
    node = composed("evaluate", "+degradation@benchmark.folder.data.degradation=files")
    shape = node["benchmark"]["folder"]["data"]["degradation"]["shape"]

    def hashes_with(root: Path) -> list[str]:
        one = {**shape, "folder": "masks", "root": str(root)}
        half = {"_target_": "restore.degradation.mask.Half", "side": "left"}
        mixed = {"_target_": "restore.degradation.mask.ShapeMixture", "shapes": [half, one]}
        mask = {"_target_": "restore.degradation.mask.Mask", "shape": mixed if nested else one}
        chain = {"_target_": "restore.degradation.composition.Chain", "steps": [mask]}
        config = composed("evaluate", f"benchmark.folder.data.root={folder}")
        config["benchmark"]["folder"]["data"]["degradation"] = chain if nested else mask
        [made] = load.benchmarks(config, 0)
        return [made.protocol, made.task, made.reference]

    masks(tmp_path / "a" / "masks", 0)
    masks(tmp_path / "b" / "masks", 5)
    first, other = hashes_with(tmp_path / "a"), hashes_with(tmp_path / "b")
    assert first[0] != other[0] and first[1] != other[1]
    assert first[2] == other[2]  # of the targets alone
    shutil.copytree(tmp_path / "a", tmp_path / "elsewhere")
    assert hashes_with(tmp_path / "elsewhere") == first


@pytest.mark.parametrize("side", ["left", "right"])
def test_without_mask_files_photos_alone_are_hashed(tmp_path: Path, side: str) -> None:
    """As they were before masks counted: rows on record keep their place."""
    half = f"benchmark.folder.data.degradation.shape.side={side}"
    photos(tmp_path / "photos", 0)
    root = f"benchmark.folder.data.root={tmp_path / 'photos'}"
    named = "+degradation@benchmark.folder.data.degradation=half"
    config = composed("evaluate", root, named, half)
    [made] = load.benchmarks(config, 0)
    files = [(path.name, path.stat().st_size) for path in sorted((tmp_path / "photos").iterdir())]
    definitions = sorted(one.definition for one in made.metrics)
    protocol = digest([fingerprint(config["benchmark"]["folder"]), definitions])
    assert made.protocol == digest([protocol, files])
    assert made.task == digest([fingerprint(config["benchmark"]["folder"]["data"]), files])


class Own:
    """A folder of photos of which restore knows nothing but the images."""

    channels, num_classes = 3, None

    def __init__(self, root: Path, split: Split) -> None:
        self.photos = Folder(root, split, val_fraction=1.0)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Item:
        return self.photos[index]


def test_an_image_of_another_shape_is_another_image() -> None:
    """Also where its bytes are the same, in the same order; and however they lie in memory."""
    image = torch.arange(24, dtype=torch.uint8).view(1, 4, 6)
    assert measured_files._digest(image) != measured_files._digest(image.view(1, 6, 4))
    turned = image.mT.contiguous().mT
    assert measured_files._digest(turned) == measured_files._digest(image)


def test_mask_files_are_found_in_whatever_a_degradation_is_made_of(tmp_path: Path) -> None:
    """In a mapping, too; once where it is met twice, and in the order in which it is met."""
    places = [masks(tmp_path / name / "m", first).parent for name, first in (("a", 0), ("b", 5))]
    one, two = (MaskFiles("m", root=str(place)) for place in places)

    class Made:
        def __init__(self) -> None:
            self.steps = {"a": one, "again": one, "b": [two], "self": self, "kind": Made}

        def __call__(self, target: Any, seeds: Any) -> Any:
            return target

    found = measured_files.masks(Made())
    assert found == [measured_files.masks(part)[0] for part in (one, two)]  # type: ignore[arg-type]


def test_other_images_of_an_own_source_are_another_protocol(tmp_path: Path) -> None:
    def hashes_of(folder: Path, by_files: bool = True) -> list[str]:
        data = DataModule(Own, Gaussian(25.0), Whole(), Whole(), 1, root=str(folder))
        made = Benchmark("own", data, {"psnr": PSNR()}, "p", "r", task="t", by_files=by_files)
        return [made.protocol, made.task]

    for number, level in enumerate((0, 9, 0)):
        photos(tmp_path / f"{number}", level)
    Image.new("RGB", (12, 12), (9, 9, 9)).save(tmp_path / "2" / "3.bmp")  # the last of them
    assert not set(hashes_of(tmp_path / "0")) & set(hashes_of(tmp_path / "2"))
    photos(tmp_path / "3", 0)
    first, other, again = (hashes_of(tmp_path / f"{number}") for number in (0, 1, 3))
    assert first == again and not set(first) & set(other)
    (tmp_path / "3" / "3.bmp").rename(tmp_path / "3" / "4.bmp")
    assert not set(hashes_of(tmp_path / "3")) & set(first)
    assert hashes_of(tmp_path / "0", by_files=False) == hashes_of(tmp_path / "1", by_files=False)
