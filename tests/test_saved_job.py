"""Jobs: what they hold, what is refused in a stranger's, and `restore predict --job`."""

import hashlib
import io
import json
import os
import shutil
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from predicting import runner
from small_models import write_model

from restore import bundle, chain, checkpoint, job, released, shelf
from restore.api import load
from restore.data.photo_file import write_png
from restore.types import InputError


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return runner(tmp_path, monkeypatch, capsys)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


PHOTO = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)
HOLE = np.zeros((20, 28), np.uint8)
HOLE[4:12, 5:20] = 255
TEXT = {
    "format": 1,
    "models": [{"name": "prior", "sha256": "0" * 64}],
    "settings": {"seed": 3},
    "results": [],
}


def made(
    folder: Path,
    names: list[str],
    settings: chain.Settings,
    soft: bool = False,
    precision: str = "auto",
) -> tuple[job.Job, list[Path]]:
    """A job as the app makes it, and the models' run folders. soft: with a strength map."""
    runs = [write_model(name, folder / "outputs") for name in names]
    (folder / "image.png").write_bytes(png(PHOTO))
    (folder / "mask.png").write_bytes(png(HOLE))
    models = [load(path, device="cpu", precision=precision) for path in runs]
    mask = folder / "mask.png" if any(model.fills_holes for model in models) else None
    drawn = folder / "strength.png" if soft else None
    if drawn is not None:
        drawn.write_bytes(png(HOLE // 2))
    restored = chain.restore(models, folder / "image.png", mask, settings, strength_map=drawn)
    digests = []
    for image in restored.images:
        write_png(image, folder / "result.png", restored.profile)
        digests.append(job.digest((folder / "result.png").read_bytes()))
    named = [
        job.ModelName(name, shelf.digest(path)) for name, path in zip(names, runs, strict=True)
    ]
    content = None if mask is None else mask.read_bytes()
    map_content = None if drawn is None else drawn.read_bytes()
    precisions = [model.precision for model in models]
    return job.Job(png(PHOTO), content, named, settings, digests, map_content, precisions), runs


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_job_is_repeated_in_its_own_precision(run: Any, tmp_path: Path, precision: str) -> None:
    whole, _ = made(tmp_path, ["prior"], chain.Settings(), precision=precision)
    (tmp_path / "one.zip").write_bytes(job.pack(whole))
    assert json.loads(run("--job", "one.zip", "-o", "out").out)["repeated"]
    other = {"32-true": "bf16-mixed", "bf16-mixed": "32-true"}[precision]
    changed = replace(whole, precisions=[other])
    (tmp_path / "two.zip").write_bytes(job.pack(changed))
    assert not json.loads(run("--job", "two.zip", "-o", "out").out)["repeated"]


def test_a_job_of_before_precisions_was_exact(tmp_path: Path) -> None:
    whole, _ = made(tmp_path, ["prior"], chain.Settings(), precision="32-true")
    (tmp_path / "old.zip").write_bytes(job.pack(replace(whole, precisions=())))
    assert job.read(tmp_path / "old.zip") == whole


CHAINS = [
    (["prior"], chain.Settings(seed=5, num_samples=2, steps=3), False),
    (["denoiser", "inpainter", "colorizer"], chain.Settings(sigma=12.5), False),
    (["sketcher"], chain.Settings(strength=0.5, seed=7), False),
    (["sketcher"], chain.Settings(seed=7), True),
]


@pytest.mark.parametrize(("names", "settings", "soft"), CHAINS, ids=lambda one: str(one)[:20])
def test_a_job_is_repeated_byte_for_byte(
    run: Any, tmp_path: Path, names: list[str], settings: chain.Settings, soft: bool
) -> None:
    whole, runs = made(tmp_path, names, settings, soft)
    (tmp_path / "one.zip").write_bytes(job.pack(whole))
    assert job.read(tmp_path / "one.zip") == whole
    ended = run("--job", "one.zip", "-o", "out")
    assert ended.code == 0, ended.err
    line = json.loads(ended.out)
    assert line["repeated"] and line["input"] == "one.zip" and line["models"] == names
    found = [job.digest((tmp_path / output).read_bytes()) for output in line["outputs"]]
    assert found == whole.results and len(found) == settings.num_samples
    shutil.move(tmp_path / "outputs", tmp_path / "away")
    ended = run("--job", "one.zip", "-o", "again")
    assert ended.code == 2 and "give its run folder" in ended.err
    moved = ",".join(str(tmp_path / "away" / path.name) for path in runs)
    assert json.loads(run(moved, "--job", "one.zip", "-o", "again").out)["repeated"]


def test_a_repeated_job_has_its_name_and_overwrites_no_photo(run: Any, tmp_path: Path) -> None:
    whole, _ = made(tmp_path, ["blind"], chain.Settings())
    for name in ("a.1", "a.2"):
        (tmp_path / f"{name}.zip").write_bytes(job.pack(whole))
        ended = run("--job", f"{name}.zip", "-o", "out")
        assert json.loads(ended.out)["outputs"] == [f"out/{name}.png"]
    (tmp_path / "a.1.png").write_bytes(b"the photo")
    ended = run("--job", "a.1.zip", "-o", ".")
    assert ended.code == 2 and "would overwrite a.1.png: choose another" in ended.err
    assert (tmp_path / "a.1.png").read_bytes() == b"the photo"


def test_what_is_not_repeated_is_said(run: Any, tmp_path: Path) -> None:
    whole, _ = made(tmp_path, ["blind"], chain.Settings())
    other = job.Job(whole.image, None, whole.models, whole.settings, ["0" * 64])
    (tmp_path / "one.zip").write_bytes(job.pack(other))
    assert json.loads(run("--job", "one.zip", "-o", "out").out)["repeated"] is False


def test_another_model_is_refused(run: Any, tmp_path: Path) -> None:
    whole, _ = made(tmp_path, ["blind"], chain.Settings())
    (tmp_path / "one.zip").write_bytes(job.pack(whole))
    other = write_model("denoiser", tmp_path / "outputs")
    ended = run(str(other), "--job", "one.zip", "-o", "out")
    assert ended.code == 2 and "is another model" in ended.err and not (tmp_path / "out").exists()
    for more in (("x.png",), ("--seed", "3")):
        ended = run(str(other), *more, "--job", "one.zip", "-o", "out")
        assert ended.code == 2 and "give no others" in ended.err


def archive(path: Path, entries: dict[str, bytes], **info: Any) -> Path:
    with zipfile.ZipFile(path, "w", info.get("compression", zipfile.ZIP_STORED)) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def text(**changed: Any) -> bytes:
    return json.dumps({**TEXT, **changed}).encode()


IMAGE = png(PHOTO)
STRANGE: list[tuple[dict[str, bytes], str]] = [
    ({"job.json": text(), "image.png": IMAGE, "../evil": b"x"}, "../evil has no place"),
    ({"job.json": text(), "image.png": IMAGE, "/etc/evil": b"x"}, "/etc/evil has no place"),
    ({"job.json": text(), "image.png": IMAGE, "model.pkl": b"x"}, "model.pkl has no place"),
    ({"job.json": text(), "image.png": IMAGE, "sub/": b""}, "sub/ has no place"),
    ({"job.json": text()}, "image.png is missing"),
    ({"image.png": IMAGE}, "job.json is missing"),
    ({"job.json": b"x" * 70_000, "image.png": IMAGE}, "job.json has more than 65536 bytes"),
    ({"job.json": b"[" * 60_000, "image.png": IMAGE}, "cannot be read as a job"),
    ({"job.json": b"\xff", "image.png": IMAGE}, "cannot be read as a job"),
    ({"job.json": b"[]", "image.png": IMAGE}, "is no record"),
    ({"job.json": text(format=2), "image.png": IMAGE}, "it has format 2"),
    ({"job.json": text(models=[]), "image.png": IMAGE}, "models of job.json"),
    ({"job.json": text(models=[{"name": "x"}]), "image.png": IMAGE}, "models of job.json"),
    (
        {"job.json": text(models=[{"name": "x", "sha256": "../../x"}]), "image.png": IMAGE},
        "models.sha256 of job.json",
    ),
    ({"job.json": text(results=["x"]), "image.png": IMAGE}, "results of job.json"),
    ({"job.json": text(precisions=["half"]), "image.png": IMAGE}, "precisions of job.json"),
    ({"job.json": text(precisions=["32-true"] * 2), "image.png": IMAGE}, "precisions of"),
    ({"job.json": text(precisions={"a": 1}), "image.png": IMAGE}, "precisions of job.json"),
    ({"job.json": text(settings={"seed": "1"}), "image.png": IMAGE}, "settings.seed"),
    ({"job.json": text(settings={"seed": True}), "image.png": IMAGE}, "settings.seed"),
    ({"job.json": text(settings={"seed": 10**30}), "image.png": IMAGE}, "settings.seed"),
    ({"job.json": text(settings={"sigma": float("nan")}), "image.png": IMAGE}, "settings.sigma"),
    ({"job.json": text(settings={"num_samples": 10**9}), "image.png": IMAGE}, "num_samples"),
    ({"job.json": text(settings={"mask": "/etc"}), "image.png": IMAGE}, "settings.mask is not"),
]


@pytest.mark.parametrize(("entries", "says"), STRANGE, ids=[says for _, says in STRANGE])
def test_a_strangers_job_is_refused(
    run: Any, tmp_path: Path, entries: dict[str, bytes], says: str
) -> None:
    archive(tmp_path / "one.zip", entries)
    ended = run("--job", "one.zip", "-o", "out")
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert ended.err.startswith("error: --job one.zip") and ended.err.count("\n") == 1
    assert says in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["one.zip"]


def test_a_bomb_is_read_no_further_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers may lie: what counts is how many bytes come out."""
    monkeypatch.setitem(job.LARGEST, job.MASK, 1000)
    most: list[int | None] = []
    read = zipfile.ZipExtFile.read

    def counted(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        if self.name == job.MASK:
            most.append(n)
        return read(self, n)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    entries = {"job.json": text(), "image.png": IMAGE, "mask.png": bytes(10**7)}
    path = archive(tmp_path / "one.zip", entries, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 50_000
    with pytest.raises(InputError, match=r"mask.png has more than 1000 bytes"):
        job.read(path)
    assert most == [1001]
    lying = path.read_bytes().replace(struct.pack("<I", 10**7), struct.pack("<I", 10))
    path.write_bytes(lying)
    with pytest.raises(InputError, match=r"--job"):
        job.read(path)


def test_twice_the_same_entry_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "one.zip"
    with zipfile.ZipFile(path, "w") as file, pytest.warns(UserWarning):
        for name, content in (("job.json", text()), ("image.png", IMAGE), ("image.png", b"x")):
            file.writestr(name, content)
    with pytest.raises(InputError, match="an entry is there twice"):
        job.read(path)
    whole = job.pack(job.Job(IMAGE, None, [job.ModelName("x", "0" * 64)], chain.Settings(), []))
    draw = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(whole[: int(draw.integers(1, len(whole)))])
        for place in draw.integers(0, len(broken), 3):
            broken[place] = int(draw.integers(0, 256))
        path.write_bytes(bytes(broken))
        with pytest.raises(InputError, match="--job"):
            job.read(path)
    with pytest.raises(InputError, match="no such file"):
        job.read(tmp_path / "none.zip")


def test_damage_of_what_is_compressed_is_one_line(tmp_path: Path) -> None:
    """Whoever passes a job on may have packed it anew."""
    entries, path = {"job.json": text(), "image.png": IMAGE}, tmp_path / "one.zip"
    packed = bytearray(archive(path, entries, compression=zipfile.ZIP_DEFLATED).read_bytes())
    packed[30 + len("job.json")] = 0xFF  # behind the header of the first entry: no kind of block
    path.write_bytes(bytes(packed))
    with pytest.raises(InputError, match=r"one\.zip cannot be read as a job"):
        job.read(path)


def test_an_image_of_another_kind_is_one_line(run: Any, tmp_path: Path) -> None:
    whole, _ = made(tmp_path, ["blind"], chain.Settings())
    archive(
        tmp_path / "one.zip",
        {
            "job.json": text(models=[{"name": "x", "sha256": whole.models[0].sha256}]),
            "image.png": b"no image",
        },
    )
    ended = run("--job", "one.zip", "-o", "out")
    assert ended.code == 1 and "failed: " in ended.err
    assert not list((tmp_path / "out").iterdir())


def test_the_default_of_each_task_is_offered_before_other_released_models(tmp_path: Path) -> None:
    """`inpaint_any` before `ddpm_flowers`, which fills holes of 64 px flowers alone."""
    offered, first = list(shelf.models([tmp_path])), list(released.defaults().values())
    assert first and offered[: len(first)] == first
    assert sorted(offered) == released.names()


def test_models_have_short_names_and_the_newest_is_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(released, "names", lambda: [])
    one, two = write_model("blind", tmp_path / "a"), write_model("blind", tmp_path / "b")
    os.utime(two / "checkpoints" / "best.ckpt", (0, 0))
    assert list(shelf.models([tmp_path])) == ["a/blind", "b/blind"]
    file = two / "checkpoints" / "best.ckpt"
    assert list(shelf.models([one, two, file])) == ["blind", "blind (2)", "best.ckpt"]
    assert list(shelf.models([tmp_path, tmp_path / "a"])) == ["a/blind", "b/blind"]
    assert shelf.models([tmp_path / "nothing"]) == {}
    assert shelf.with_digest(shelf.digest(two), [tmp_path / "b"]) == file
    assert shelf.with_digest("0" * 64, [tmp_path]) is None
    with pytest.raises(InputError, match="does not exist"):
        shelf.digest(tmp_path / "none")


def test_a_bundle_is_found_by_its_weights_and_a_damaged_one_is_refused(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose model is kept as a bundle alone is repeated; other weights do not pass as it."""
    monkeypatch.setattr(released, "names", lambda: [])
    whole, (source,) = made(tmp_path / "a", ["blind"], chain.Settings())
    kept = tmp_path / "outputs" / "kept"
    kept.mkdir(parents=True)
    bundle.write(checkpoint.read(source / "checkpoints" / "best.ckpt"), kept, {})
    assert list(shelf.models([tmp_path / "outputs"])) == ["kept"]
    sha256 = hashlib.sha256((kept / "model.safetensors").read_bytes()).hexdigest()
    for place in (kept, kept / "model.safetensors"):
        assert shelf.digest(place) == sha256
    assert shelf.with_digest(sha256, [tmp_path / "outputs"]) == kept
    named = [job.ModelName("blind", sha256)]
    packed = job.pack(job.Job(whole.image, None, named, whole.settings, whole.results))
    (tmp_path / "one.zip").write_bytes(packed)
    assert json.loads(run("--job", "one.zip", "-o", "out").out)["repeated"]
    weights = bytearray((kept / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (kept / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(InputError, match="is damaged, or belongs to another"):
        shelf.digest(kept)
    for more in ([str(kept)], []):
        ended = run(*more, "--job", "one.zip", "-o", "two")
        assert ended.code == 2 and "is damaged" in ended.err and not (tmp_path / "two").exists()
    (kept / "model.json").write_text("{}")
    assert shelf.models([tmp_path / "outputs"]) == {}
    assert shelf.with_digest(sha256, [tmp_path / "outputs"]) is None


def test_released_models_are_offered_under_their_names(tmp_path: Path) -> None:
    found = shelf.models([tmp_path])
    assert sorted(found) == sorted(released.names()) and found
    for model in released.released():
        sha256 = shelf.digest(found[model.name])
        assert sha256 == model.said["sha256"]
        assert shelf.with_digest(sha256, [tmp_path]) == model.folder
