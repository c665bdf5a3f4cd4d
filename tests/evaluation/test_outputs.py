"""Results of other programs: a benchmark as files, and what comes back."""

import csv
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from restore import cli
from restore.degradation.operator import Downsample
from restore.evaluation import assignment, outputs
from restore.hashing import sha256_of
from restore.types import InputError

LIMIT = "benchmark.photos_masks.data={limit:2,repeat:1}"
NOISE = "benchmark.photos_sigma25.data.limit=2"
Evaluated = tuple[list[dict[str, str]], str, str]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Task folders without outputs."""
    root = tmp_path_factory.mktemp("tasks")
    assignment.write("photos_masks", root / "masks", [LIMIT])
    assignment.write("photos_sigma25", root / "noise", [NOISE])
    return {"photos_masks": root / "masks", "photos_sigma25": root / "noise"}


@pytest.fixture
def masks(written: dict[str, Path], tmp_path: Path) -> Path:
    """A task of holes, filled by Telea's method through OpenCV."""
    folder = tmp_path / "lama"
    shutil.copytree(written["photos_masks"], folder)
    for path in (folder / "inputs").iterdir():
        hole = cv2.imread(str(folder / "masks" / path.name), cv2.IMREAD_GRAYSCALE) // 255
        filled = cv2.inpaint(cv2.imread(str(path)), hole, 3.0, cv2.INPAINT_TELEA)
        cv2.imwrite(str(folder / "outputs" / path.name), filled)
    return folder


def evaluated(command: Any, *arguments: str) -> Evaluated:
    ended = command(*arguments, "hydra.run.dir=run", script="evaluate")
    assert ended.code == 0, ended.err
    return (
        list(csv.DictReader(Path("run/per_image.csv").read_text().splitlines())),
        ended.out,
        ended.err,
    )


def test_files_of_opencv_measure_as_the_baseline(command: Any, masks: Path) -> None:
    arguments = ("benchmark=photos_masks", LIMIT, f"outputs={masks}", "outputs.name=others")
    rows, printed, _ = evaluated(command, *arguments, "baseline=telea")
    numbers = [key for key in rows[0] if key != "method"]
    of = {name: [[row[k] for k in numbers] for row in rows if row["method"] == name]
          for name in ("telea", "others")}  # fmt: skip
    assert of["telea"] == of["others"] and len(of["telea"]) == 2
    assert "known pixels moved" not in printed
    (row,) = [
        r
        for r in csv.DictReader(Path("run/results.csv").read_text().splitlines())
        if r["method"] == "others"
    ]
    assert row["kind"] == "outputs" and row["checkpoint"].startswith("outputs@")


def test_nothing_of_the_targets_is_written(written: dict[str, Path]) -> None:
    folder = written["photos_masks"]
    manifest = assignment.read(folder)
    assert manifest.n == 2 == len(manifest.images)
    for image in manifest.images:
        given = np.array(Image.open(folder / "inputs" / image["input"]))
        hole = np.array(Image.open(folder / "masks" / image["mask"])) == 255
        assert 0 < hole.mean() < 1 and (given[hole] == 128).all()
    files = {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()}
    assert files == {"inputs", "masks", "manifest.json"}


def test_float_inputs_are_arrays_and_go_through_unchanged(
    command: Any, written: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "same"
    shutil.copytree(written["photos_sigma25"], folder)
    for image in assignment.read(folder).images:
        noisy = np.load(folder / "inputs" / image["input"])
        assert noisy.dtype == np.float32 and noisy.min() < 0 and image["sigma"] == 25
        np.save(folder / "outputs" / image["input"], noisy.clip(0, 1))
    arguments = ("benchmark=photos_sigma25", NOISE, "baseline=identity", f"outputs={folder}")
    rows, *_ = evaluated(command, *arguments)
    assert {row["method"] for row in rows} == {"identity", "same"}
    for metric in ("psnr", "ssim"):
        ours, theirs = ([float(r[metric]) for r in rows if r["method"] == name]
                        for name in ("identity", "same"))  # fmt: skip
        assert theirs == pytest.approx(ours, abs=1e-4)


def test_a_smaller_measurement_is_written_as_it_is(tmp_path: Path) -> None:
    """An external program enlarges it, and need not know what the input is."""
    small = "degradation@benchmark.photos_sigma25.data.degradation=downsample"
    assert assignment.write("photos_sigma25", tmp_path / "sr4", [small, NOISE]) > 0
    given = np.load(tmp_path / "sr4/inputs/00000.npy")
    measured = np.load(tmp_path / "sr4/measured/00000.npy")
    assert measured.shape == (given.shape[0] // 4, given.shape[1] // 4, 3)
    operator, shown = Downsample(4), torch.from_numpy(given).permute(2, 0, 1)[None]
    np.testing.assert_allclose(
        operator.forward(shown)[0].permute(1, 2, 0).numpy(), measured, atol=1e-5
    )
    assert assignment.read(tmp_path / "sr4").images[0]["measured"] == "00000.npy"


def test_known_pixels_that_moved_are_counted_and_put_back(command: Any, masks: Path) -> None:
    path = masks / "outputs" / "00000.png"
    known = np.array(Image.open(masks / "masks" / "00000.png")) == 0
    levels = np.array(Image.open(path))
    moved = np.where(known[..., None] & (levels < 250), levels + 5, levels).astype(np.uint8)
    Image.fromarray(moved).save(path)
    arguments = ("benchmark=photos_masks", LIMIT, f"outputs={masks}", "baseline=telea")
    rows, printed, _ = evaluated(command, *arguments)
    assert "known pixels moved in 1 of 2 images, by 5 of 255" in printed
    telea, others = ([r["psnr"] for r in rows if r["method"] == n] for n in ("telea", "lama"))
    assert telea[0] != others[0] and telea[1] == others[1]
    rows, printed, _ = evaluated(command, *arguments, "outputs.composite=true")
    telea, others = ([r["psnr"] for r in rows if r["method"] == n] for n in ("telea", "lama"))
    assert telea == others and "put back" in printed


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_known_pixels_of_float_inputs_are_counted(tmp_path: Path, suffix: str) -> None:
    """An output holds no value beyond [0, 1], and a PNG 256 of them: neither has moved a pixel."""
    given = np.linspace(-0.2, 1.2, 16 * 16 * 3, dtype=np.float32).reshape(16, 16, 3)
    hole = np.zeros((16, 16), bool)
    hole[4:9] = True
    for name in ("inputs", "masks", "outputs"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "inputs/0.npy", given)
    Image.fromarray(hole.astype(np.uint8) * 255).save(tmp_path / "masks/0.png")
    hashes = {"sha256": sha256_of(tmp_path / "inputs/0.npy")}
    hashes["mask_sha256"] = sha256_of(tmp_path / "masks/0.png")
    said = {"name": "a", "size": [16, 16], "input": "0.npy", "mask": "0.png", **hashes}
    manifest = assignment.Manifest(1, "b", [], "task", "p", 3, 1, [said])
    (tmp_path / "manifest.json").write_text(json.dumps(manifest._asdict()))
    benchmark: Any = SimpleNamespace(name="b", task="task", data=SimpleNamespace(num_test=1))
    kept = np.where(hole[..., None], 0.5, given).clip(0, 1).astype(np.float32)
    for far in (0, 20):
        levels = np.where(hole[..., None] | (kept > 0.5), kept, kept + far / 255)
        if suffix == ".npy":
            np.save(tmp_path / "outputs/0.npy", levels)
        else:
            Image.fromarray((levels * 255).round().astype(np.uint8)).save(
                tmp_path / "outputs/0.png"
            )
        read = outputs.Outputs(benchmark, tmp_path)
        assert read.moved == (far > 0)
        assert read.largest == pytest.approx(far, abs=0.01)


def test_lossy_files_are_named_in_the_row(command: Any, masks: Path) -> None:
    for path in list((masks / "outputs").iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    arguments = ("benchmark=photos_masks", LIMIT, f"outputs={masks}")
    refused = command(*arguments, script="evaluate")
    assert refused.code == 2 and "is lossy" in refused.err
    evaluated(command, *arguments, "outputs.lossy=true")
    (row,) = csv.DictReader(Path("run/results.csv").read_text().splitlines())
    assert row["sampler"] == "lossy"


def _resize(folder: Path) -> None:
    path = folder / "outputs" / "00001.png"
    Image.open(path).resize((32, 48)).save(path)


def _array(values: Any) -> Any:
    def put(folder: Path) -> None:
        size = Image.open(folder / "outputs" / "00001.png").size
        (folder / "outputs" / "00001.png").unlink()
        np.save(folder / "outputs" / "00001.npy", values(np.zeros((size[1], size[0], 3))))

    return put


def _several(folder: Path) -> None:
    (folder / "outputs" / "00001.png").unlink()
    with (folder / "outputs" / "00001.npy").open("wb") as file:
        np.savez(file, np.zeros((2, 2, 3)))


def _manifest(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        said = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(said | changes))

    return change


FAULTS = {
    "missing": (lambda f: (f / "outputs" / "00001.png").unlink(), "00001.png is missing: 1 of 2"),
    "extra": (lambda f: shutil.copy(f / "outputs" / "00001.png", f / "outputs" / "x.png"), "x.png"),
    "twice": (lambda f: np.save(f / "outputs" / "00001.npy", np.zeros(3)), "keep one"),
    "resized": (_resize, "48 x 32 pixels, its input has"),
    "grey": (
        lambda f: Image.open(f / "outputs/00001.png").convert("L").save(f / "outputs/00001.png"),
        "mode L: save it as 8-bit RGB",
    ),
    "levels": (
        lambda f: Image.fromarray(np.array(Image.open(f / "outputs/00001.png")) // 200).save(
            f / "outputs/00001.png"
        ),
        "0 and 1 alone",
    ),
    "16 bits": (
        lambda f: cv2.imwrite(
            str(f / "outputs/00001.png"),
            np.array(Image.open(f / "outputs/00001.png"), np.uint16) * 257,
        ),
        "mode RGB with 16 bits: save it as 8-bit RGB",
    ),
    "broken": (lambda f: (f / "outputs" / "00001.png").write_bytes(b"x"), "cannot be read"),
    "nan": (_array(lambda a: a + np.nan), "NaN"),
    "range": (_array(lambda a: a + 255), "values from 255 to 255"),
    "minus one to one": (_array(lambda a: a * 2 - 1), "values from -1 to"),
    "integers": (_array(lambda a: a.astype(int)), "of type int64"),
    "several arrays": (_several, "of type npz: save float"),
    "channels": (_array(lambda a: a[..., :2]), "save [H, W, 3]"),
    "input": (lambda f: shutil.copy(f / "inputs/00000.png", f / "inputs/00001.png"), "not what"),
    "mask": (lambda f: (f / "masks" / "00001.png").unlink(), "masks/00001.png is missing"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "restore task BENCHMARK DIR"),
    "no json": (lambda f: (f / "manifest.json").write_text("{"), "no manifest"),
    "format": (_manifest(format=99), "has format 99"),
    "hash": (_manifest(task="0123456789ab"), "is of task 0123456789ab"),
    "no images": (_manifest(images=[{"index": 0}, {"index": 1}]), "image 0 lacks input, name, sha"),
    "other": (_manifest(benchmark="scenes_masks"), "for benchmark=scenes_masks, not photos_masks"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_answer_to_the_task_is_one_line(
    command: Any, masks: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = masks.parent / "results.csv"
    monkeypatch.setattr("restore.evaluation.evaluate.results_file", lambda: recorded)
    spoil, message = FAULTS[fault]
    spoil(masks)
    arguments = ("benchmark=photos_masks", LIMIT, f"outputs={masks}", "record=true")
    ended = command(*arguments, script="evaluate")
    assert ended.code == 2 and message in ended.err, ended.err
    assert ended.err.startswith("error: ") and ended.err.count("\n") == 1
    assert [path.name for path in masks.parent.iterdir()] == [masks.name]


def test_another_limit_is_another_task(command: Any, masks: Path) -> None:
    ended = command("benchmark=photos_masks", f"outputs={masks}", script="evaluate")
    assert ended.code == 2 and LIMIT in ended.err


@pytest.mark.parametrize(
    ("argument", "message"),
    [("outputs.name=x", "needs a folder"), ("outputs.lossy=1", "outputs.lossy=1"),
     ("outputs=nowhere", "manifest.json does not exist")],
)  # fmt: skip
def test_settings_that_cannot_be_meant(command: Any, argument: str, message: str) -> None:
    given = ("baseline=mean_fill", "benchmark=photos_masks", LIMIT, argument)
    ended = command(*given, script="evaluate")
    assert ended.code == 2 and message in ended.err, ended.err


def test_the_command_writes_and_says_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "task"
    monkeypatch.setattr(sys, "argv", ["restore", "task", "photos_masks", str(folder), LIMIT])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and f"benchmark=photos_masks outputs={folder} '{LIMIT}'" in printed
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and "is not empty" in capsys.readouterr().err


def test_an_unknown_benchmark_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nope"):
        assignment.write("nope", tmp_path / "task")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("has_mask", [False, True])
def test_what_has_no_known_pixels_gets_none_back(tmp_path: Path, has_mask: bool) -> None:
    """A grey input of coloured images would make its known pixels grey."""
    for name in ("inputs", "masks", "outputs"):
        (tmp_path / name).mkdir()
    grey = np.full((16, 16), 90, np.uint8)
    Image.fromarray(grey).save(tmp_path / "inputs/0.png")
    Image.fromarray(grey).convert("RGB").save(tmp_path / "outputs/0.png")
    Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(tmp_path / "masks/0.png")
    said = {"name": "a", "size": [16, 16], "input": "0.png"}
    said["sha256"] = sha256_of(tmp_path / "inputs/0.png")
    if has_mask:
        said |= {"mask": "0.png", "mask_sha256": sha256_of(tmp_path / "masks/0.png")}
    manifest = assignment.Manifest(1, "b", [], "task", "p", 3, 1, [said])
    (tmp_path / "manifest.json").write_text(json.dumps(manifest._asdict()))
    benchmark: Any = SimpleNamespace(name="b", task="task", data=SimpleNamespace(num_test=1))
    assert outputs.Outputs(benchmark, tmp_path).notes == []
    with pytest.raises(InputError, match="has no mask, or other channels than its"):
        outputs.Outputs(benchmark, tmp_path, composite=True)


def test_floats_of_any_size_and_byte_order_are_read(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 12).reshape(2, 2, 3)
    wanted = torch.from_numpy(values * 2 - 1).permute(2, 0, 1)
    for kind in ("<f2", "<f4", ">f4", "<f8", ">f8", np.longdouble):
        np.save(tmp_path / "a.npy", values.astype(kind))
        read = outputs._array(tmp_path / "a.npy", 3)
        assert read.dtype == torch.float32
        torch.testing.assert_close(read, wanted.float(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_task_that_was_not_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, there: bool
) -> None:
    """Else the next try would be refused, for a folder that is not empty."""

    def refuse(*given: object) -> None:
        raise error

    folder = tmp_path / "new" / "task"
    if there:
        folder.mkdir(parents=True)
    monkeypatch.setattr(assignment, "write_whole", refuse)  # of the last file
    with pytest.raises(type(error)):
        assignment.write("photos_masks", folder, [LIMIT])
    assert [*tmp_path.rglob("*")] == ([folder.parent, folder] if there else [])


def test_outputs_for_other_photos_are_refused(command: Any, masks: Path) -> None:
    place = masks / "manifest.json"
    said = json.loads(place.read_text())
    said["images"][1]["name"] = "another.png"
    place.write_text(json.dumps(said))
    ended = command("benchmark=photos_masks", LIMIT, f"outputs={masks}", script="evaluate")
    assert ended.code == 2 and "is of other photos: its input 1 was another.png" in ended.err
