"""Released models: found by name everywhere, whole, within their bytes, and as good as recorded."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from entry import ROOT, Command
from small_models import write_model
from test_bundle import export

import restore
from restore import released, trainer, zoo
from restore.config.compose import composed
from restore.evaluation import load, runner
from restore.export import card, check
from restore.released import MODEL, WEIGHTS
from restore.types import InputError

LARGEST, ALL = 8_000_000, 48_000_000  # bytes of one file of weights, and of all together
NAMES = [one.name for one in released.released()]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of released models: a denoiser, a blind one and an inpainter."""
    place = tmp_path / "experiments"
    (place / "no_model").mkdir(parents=True)
    for name, model in (("denoise_any", "denoiser"), ("blind_one", "blind"), ("fill", "inpainter")):
        export(write_model(model, tmp_path / "runs"), place / name)
    for module in (released, zoo):
        monkeypatch.setattr(module, "folder", lambda: place)
    yield place


def test_what_is_released_is_listed(shelf: Path) -> None:
    found = released.released()
    assert [one.name for one in found] == ["blind_one", "denoise_any", "fill"]
    assert [one.task for one in found] == ["Denoiser", "Denoiser", "InpaintingGAN"]
    network = restore.load("blind_one").task.network
    assert found[0].said["parameters"] == sum(one.numel() for one in network.parameters())
    assert released.defaults() == {"denoise": "denoise_any"}


def test_a_name_stands_where_a_path_stands(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert zoo.find("fill") == shelf / "fill" and zoo.find("denoise") == shelf / "denoise_any"
    assert restore.load("denoise").name == "denoiser"
    assert load.method("blind_one", {}).checkpoint == str(shelf / "blind_one" / WEIGHTS)
    (tmp_path / "fill").mkdir()  # photos, perhaps
    assert zoo.find("fill") == shelf / "fill"
    run = write_model("blind", tmp_path)
    run.rename(tmp_path / "blind_one")
    assert zoo.read("blind_one").path == Path("blind_one/checkpoints/best.ckpt")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("denoise_anny", "the nearest are denoise_any"),
        ("fil", "the nearest are fill"),
        ("zzz", "released are blind_one, denoise_any, fill"),
        ("colorize", "no model that can colorize is released yet"),
    ],
)
def test_unknown_names_are_one_line(shelf: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        restore.load(name)
    assert "\n" not in str(refused.value)


def test_paths_are_no_names(shelf: Path) -> None:
    for path in ("fill/no.ckpt", "no.ckpt", "./fill"):
        with pytest.raises(InputError, match="does not exist"):
            zoo.read(path)


def test_evaluate_and_predict_take_names(
    shelf: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from restore.predict import PredictionSettings, predict

    given = (
        "checkpoint=blind_one",
        "benchmark=photos_sigma25",
        "benchmark.photos_sigma25.data.limit=1",
    )
    ended = command(*given, "hydra.run.dir=out", script="evaluate")
    assert ended.code == 0 and "blind on photos_sigma25: " in ended.out
    assert "model.safetensors@" in (tmp_path / "out" / "results.csv").read_text()
    ended = command("checkpoint=blind_two", *given[1:], script="evaluate")
    assert ended.code == 2 and "the nearest are blind_one" in ended.err
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save("a.png")
    assert (
        predict(["denoise"], ["a.png"], Path("restored"), PredictionSettings(sigma=5, device="cpu"))
        == 0
    )
    made = np.asarray(Image.open("restored/a.png"))
    assert np.array_equal(made, restore.load("denoise_any", device="cpu")(noise, sigma=5))


@pytest.mark.parametrize("name", NAMES)
def test_a_released_model_is_whole_and_says_its_terms(name: str) -> None:
    place = ROOT / "experiments" / name
    said = json.loads((place / MODEL).read_text())
    assert (place / WEIGHTS).stat().st_size == said["bytes"] <= LARGEST
    loaded = restore.load(name, device="cpu")
    assert loaded.name == said["experiment"]
    assert said["licence"] and said["data"] and said["record"] and said["check"]
    for one in said["check"].values():
        assert one["lost_db"] <= check.LIMIT
    assert (place / "README.md").read_text() == card.text(name, said, loaded)
    loaded.check(hole=loaded.fills_holes, strength=0.5 if loaded.needs_strength else None)
    limited = {"photos", "bsds430", "masks300"} & said["data"].keys()
    assert ("non-commercial" in said["licence"]) == bool(limited)


def test_released_models_stay_small() -> None:
    assert sum(int(one.said["bytes"]) for one in released.released()) <= ALL


@pytest.mark.data
@pytest.mark.parametrize("name", NAMES)
def test_a_released_model_gives_its_recorded_numbers(name: str) -> None:
    """On the first images of each benchmark that it was checked on, photo by photo."""
    said = json.loads((ROOT / "experiments" / name / MODEL).read_text())
    for benchmark, wanted in said["check"].items():
        limit = f"benchmark.{benchmark}.data.limit={wanted['first']}"
        config = composed("evaluate", [f"benchmark={benchmark}", limit])
        method = load.method(name, check.sampling(wanted.get("with", [])))
        (made,) = load.benchmarks(config, method.num_calls)
        report = runner.evaluate(trainer.tester(config), method, made)
        for metric, value in wanted["first_metrics"].items():
            assert report.summary[metric] == pytest.approx(value, abs=2e-3), metric


def test_the_list_is_there_without_torch() -> None:
    code = "import sys; from restore.released import released; released();"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_card_of_a_training_without_benchmarks_says_what_the_check_measured() -> None:
    said = json.loads((ROOT / "experiments" / "ddpm_flowers" / MODEL).read_text())
    said["record"]["evaluation"] = []
    said["check"] = {"flowers_sr4": {"metric": "psnr", "value": 20.12345, "lost_db": 0.001}}
    loaded = restore.load("ddpm_flowers", device="cpu")
    lines = card.text("own", said, loaded).splitlines()
    assert "- Answer: flowers_sr4: psnr 20.12" in lines
    assert any("checkpoint=own benchmark=flowers_sr4`" in line for line in lines)
    del said["check"]
    assert "- Answer: not measured on a benchmark" in card.text("own", said).splitlines()
