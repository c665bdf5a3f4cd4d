"""A model is not praised for photos that it was trained on, without a word."""

import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from PIL import Image

from restore.build import build
from restore.config.compose import composed
from restore.data.folder import Folder
from restore.data.webdataset import WebDataset
from restore.evaluation import load, trained_on
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.method import Method, from_baseline
from restore.training import fit


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(40):
        path = tmp_path / "photos" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
    return tmp_path / "photos"


def model(folder: Path, root: Path, fraction: float) -> Method:
    """A method with the run folder of a training on these photos."""
    overrides = [
        "experiment=denoise_photos",
        "data=folder",
        f"data.root={root}",
        "benchmark=folder",
    ]
    config = composed("train", [*overrides, f"data.source.val_fraction={fraction}"])
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    plain = from_baseline("mine", lambda seen: seen["input"])
    stored = {**config["data"], "root": None}  # as in checkpoints
    return replace(plain, checkpoint=str(folder / "checkpoints" / "best.ckpt"), data=stored)


def benchmark(root: Path, *more: str) -> Benchmark:
    named = "+degradation@benchmark.folder.data.degradation=noise"
    at = f"benchmark.folder.data.root={root}"
    [made] = load.benchmarks(composed("evaluate", ["benchmark=folder", at, named, *more]), 0)
    return made


def test_photos_in_both_are_counted_with_the_way_out(photos: Path, tmp_path: Path) -> None:
    method = model(tmp_path / "run", photos, 0.3)
    data = build({**(method.data or {}), "root": str(photos)}, "data")
    trained = data.samples("train").num_photos
    assert 0 < trained < 40
    said = trained_on.note(method, benchmark(photos))
    key = "benchmark.folder.data.source.val_fraction=0.3"
    assert said is not None and key in said
    assert f"mine ({method.checkpoint}) was trained on {trained} of the 40 photos of folder" in said
    assert trained_on.note(method, benchmark(photos, key)) is None


def test_a_training_says_so_of_its_own_benchmarks(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    method = model(tmp_path / "run", photos, 0.3)
    for name, known in (("load.method", method), ("measure", "report"), ("best_checkpoint", "")):
        monkeypatch.setattr(f"restore.training.fit.{name}", lambda *_, known=known: known)
    trainer = SimpleNamespace(is_global_zero=True)
    run: Any = SimpleNamespace(benchmarks=[benchmark(photos)], trainer=trainer, tester=None)
    run.config = composed("train", [])
    assert fit.evaluate(run) == ["report"]
    assert "was trained on" in capsys.readouterr().out


@pytest.mark.parametrize("broken", [False, True])
def test_photos_in_both_are_counted_where_broken_ones_are_skipped(
    photos: Path, tmp_path: Path, broken: bool
) -> None:
    method = model(tmp_path / "run", photos, 0.3)
    data = build({**(method.data or {}), "root": str(photos)}, "data")
    names = [data.samples("train").source[k].name for k in range(data.samples("train").num_photos)]
    if broken:
        (photos / names[0]).write_bytes(b"no image")
    said = trained_on.note(method, benchmark(photos, "benchmark.folder.data.on_error=skip"))
    assert said is not None
    assert f"was trained on {len(names) - broken} of the {40 - broken} photos of folder" in said


def test_nothing_is_said_of_others(photos: Path, tmp_path: Path) -> None:
    method = model(tmp_path / "run", photos, 0.3)
    others = tmp_path / "others"
    others.mkdir()
    Image.new("RGB", (16, 16)).save(others / "00.png")
    assert trained_on.note(method, benchmark(others)) is None
    own = benchmark(photos)
    assert trained_on.note(replace(method, data=None), own) is None
    fixed = cast(Any, SimpleNamespace(by_files=False, name="bsds", data=own.data))
    assert trained_on.note(method, fixed) is None
    (tmp_path / "run" / "config.yaml").write_text("- no: [config")
    assert trained_on.note(method, own) is None
    (tmp_path / "run" / "config.yaml").unlink()  # as of a bundle
    assert trained_on.note(method, own) is None


def test_folders_among_several_sources_are_counted_and_shards_are_not_read(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for path in photos.iterdir():
            shard.add(path, path.name)
    read: list[int] = []
    content = WebDataset.content

    def counted(shards: WebDataset, index: int) -> bytes:
        read.append(index)
        return content(shards, index)

    monkeypatch.setattr(WebDataset, "content", counted)
    partly = {"_partial_": True}
    shards = {"_target_": "restore.data.webdataset.WebDataset", "train": "shard.tar", **partly}
    folder = {"_target_": "restore.data.folder.Folder", "folder": "photos", **partly}
    several = {"_target_": "restore.data.several.Several", **partly}
    method = model(tmp_path / "run", tmp_path, 0.3)
    data = {**(method.data or {}), "source": {**several, "sources": {"a": shards, "b": folder}}}
    said = trained_on.note(replace(method, data=data), benchmark(photos))
    trained = len(Folder(tmp_path, "train", "photos"))
    assert said is not None and f"was trained on {trained} of the 40 photos of folder" in said
    assert len(read) <= 1
    data = {**(method.data or {}), "source": shards}
    assert trained_on.note(replace(method, data=data), benchmark(photos)) is None
    assert len(read) <= 2
