"""The geometric self-ensemble: eight views, one mean, and who may ask for it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from predicting import lines, runner
from small_models import write_model
from torch import Tensor, nn
from torch.nn import functional as F

import restore
from restore import job
from restore.chain import Settings
from restore.ensemble import SelfEnsemble
from restore.tiling import Tiled
from restore.types import InputError


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def symmetries(kernel: np.ndarray) -> list[np.ndarray]:
    """The eight symmetries of a square array, written out."""
    k, t = kernel, kernel.T
    return [k, k[::-1], k[:, ::-1], k[::-1, ::-1], t, t[::-1], t[:, ::-1], t[::-1, ::-1]]


class Convolution(nn.Module):
    """A kernel without any symmetry, and a level that is added."""

    factor = 4

    def __init__(self) -> None:
        super().__init__()
        self.kernel = image(1, 1, 3, 3, seed=1)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        made = F.conv2d(x, self.kernel, padding=1)
        return made if level is None else made + level.view(-1, 1, 1, 1)


def test_a_convolution_becomes_the_one_by_the_mean_kernel() -> None:
    x, level = image(2, 1, 5, 8), torch.tensor([0.5, -2.0])
    mean = np.mean(symmetries(Convolution().kernel[0, 0].numpy()), axis=0)
    expected = F.conv2d(x, torch.from_numpy(mean)[None, None], padding=1)
    torch.testing.assert_close(SelfEnsemble(Convolution())(x), expected)
    leveled = SelfEnsemble(Convolution())(x, level)
    torch.testing.assert_close(leveled, expected + level.view(-1, 1, 1, 1))
    assert SelfEnsemble(Convolution()).factor == 4


def test_maps_turn_with_the_image_and_the_last_output_is_kept() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
            return x, x * hole

    x, hole = image(2, 3, 5, 8), image(2, 1, 5, 8, seed=1)
    (made,) = SelfEnsemble(Pair())(x, hole)
    torch.testing.assert_close(made, x * hole)


def test_one_that_sees_places_sees_each_from_eight_sides() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    made = SelfEnsemble(lambda x: x + ramp)(torch.zeros(1, 1, 8, 8))
    whole = np.mean(symmetries(ramp[0, 0].numpy()), axis=0)
    torch.testing.assert_close(made[0, 0], torch.from_numpy(whole))


def test_tiles_that_are_needed_are_needed_in_every_view() -> None:
    """The corner that is to be filled lies in another corner of each view."""
    shown, hole = image(1, 1, 96, 96), torch.zeros(1, 1, 96, 96)
    hole[..., :20, :20] = 1
    made = SelfEnsemble(Tiled(nn.Identity(), side=32, margin=2, blend=4, needed=hole))(shown)
    torch.testing.assert_close(made * hole, shown * hole)


def test_half_precision_is_averaged_in_float32() -> None:
    made = SelfEnsemble(lambda x: x.bfloat16())(image(1, 1, 4, 4))
    assert made.dtype == torch.float32


def views_of(model: restore.Model, photo: np.ndarray, **more: Any) -> np.ndarray:
    """The mean over eight views by NumPy, each through the model as it is, of values in [0, 1]."""
    total = np.zeros(photo.shape)
    for turns in range(4):
        for step in (1, -1):
            maps = {key: np.rot90(one[:, ::step], turns).copy() for key, one in more.items()}
            made = model(np.rot90(photo[:, ::step], turns).copy(), **maps)
            total += np.rot90(made, -turns)[:, ::step]
    return total / 8


@pytest.mark.parametrize("side", [512, 24])  # whole, and in tiles
@pytest.mark.parametrize("name", ["blind", "inpainter"])
def test_a_model_means_its_eight_views(tmp_path: Path, name: str, side: int) -> None:
    model = restore.load(write_model(name, tmp_path), device="cpu", precision="32-true")
    photo = np.random.default_rng(0).random((20, 28, 3), dtype=np.float32) / 4 + 0.375
    hole = np.zeros((20, 28), np.float32)
    hole[4:9, 5:20] = 1
    given: dict[str, Any] = {"hole": hole} if name == "inpainter" else {}
    expected = views_of(model, photo, **given)
    model.side = side
    made = model(photo, **given, self_ensemble=True)
    assert np.abs(made - model(photo, **given)).max() > 1e-4
    if side == 512:
        # Values are cut to [0, 1] once by the ensemble, and eight times by hand.
        inside = (expected > 0.05) & (expected < 0.95)
        assert np.abs(made - expected)[inside].max() < 0.02
        assert np.median(np.abs(made - expected)[inside]) < 1e-6
    if name == "inpainter":
        assert np.array_equal(made[hole == 0], photo[hole == 0])


@pytest.mark.parametrize("name", ["blind", "inpainter"])
def test_views_in_tiles_are_the_views_of_the_whole(tmp_path: Path, name: str) -> None:
    """Sides that are no multiple of the network's factor: tiles that are turned one by one would
    be mirrored in other places than the image is."""
    model = restore.load(write_model(name, tmp_path), device="cpu", precision="32-true")
    photo = np.random.default_rng(0).random((237, 13, 3), dtype=np.float32) / 2 + 0.25
    hole = np.zeros((237, 13), np.float32)
    hole[4:9, 5:12] = hole[190:230, 2:5] = 1
    given: dict[str, Any] = {"hole": hole} if name == "inpainter" else {}
    whole = model(photo, **given, self_ensemble=True)
    plain = model(photo, **given)
    model.side = 96
    np.testing.assert_allclose(model(photo, **given), plain, atol=1e-4)
    np.testing.assert_allclose(model(photo, **given, self_ensemble=True), whole, atol=1e-4)


SMALL = ("benchmark=digits_half", "benchmark.digits_half.data.limit=4", "hydra.run.dir=run")


def test_an_evaluation_says_that_it_averaged(command: Any, tmp_path: Path) -> None:
    path = write_model("grey_inpainter", tmp_path / "model")
    for setting, calls, said in (("false", "1", ""), ("true", "8", "self_ensemble")):
        ended = command(*SMALL, f"checkpoint={path}", f"self_ensemble={setting}", script="evaluate")
        assert ended.code == 0, ended.err
        row = list(csv.DictReader((tmp_path / "run" / "results.csv").open()))[-1]
        assert (row["sampler"], row["nfe"]) == (said, calls)
    assert row["sampler_settings"] == "views=8"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("true", "self_ensemble=true: a result of Diffusion is not one call"),
        ("maybe", "self_ensemble='maybe' must be true or false"),
    ],
)
def test_what_cannot_be_averaged_is_refused(
    command: Any, tmp_path: Path, setting: str, says: str
) -> None:
    path = write_model("grey_prior", tmp_path / "model")
    ended = command(*SMALL, f"checkpoint={path}", f"self_ensemble={setting}", script="evaluate")
    assert ended.code == 2 and says in ended.err and ended.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return runner(tmp_path, monkeypatch, capsys)


def test_predict_writes_the_mean(run: Any, tmp_path: Path) -> None:
    path = write_model("blind", tmp_path / "model")
    photo = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "a.png")
    ended = run(str(path), "a.png", "-o", "out", "--self-ensemble")
    assert ended.code == 0 and "error" not in lines(ended)[0], ended.err
    model = restore.load(path, device="cpu", precision="32-true")
    made = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert np.array_equal(made, model(photo, self_ensemble=True))
    assert not np.array_equal(made, model(photo))


def test_predict_refuses_it_where_a_sampler_draws(run: Any, tmp_path: Path) -> None:
    path = write_model("sketcher", tmp_path / "model")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    ended = run(str(path), "a.png", "-o", "out", "--strength", "0.5", "--self-ensemble")
    assert ended.code == 2 and "--self-ensemble is of no use to sketcher" in ended.err
    ended = run(str(path), "-o", "out", "--self-ensemble", "--size", "16")
    assert ended.code == 2 and "--self-ensemble is of photos" in ended.err
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="averages no views"):
        restore.load(path)(np.zeros((16, 16, 3), np.uint8), strength=0.5, self_ensemble=True)


@pytest.mark.parametrize(("told", "holds"), [(True, True), (1, False), ("yes", False)])
def test_a_job_repeats_it(tmp_path: Path, told: Any, holds: bool) -> None:
    names = [job.ModelName("blind", "0" * 64)]
    packed = job.pack(job.Job(b"", None, names, Settings(self_ensemble=told), []))
    (tmp_path / "job.zip").write_bytes(packed)
    if holds:
        assert job.read(tmp_path / "job.zip").settings.self_ensemble is True
        return
    with pytest.raises(InputError, match=r"settings\.self_ensemble"):
        job.read(tmp_path / "job.zip")
