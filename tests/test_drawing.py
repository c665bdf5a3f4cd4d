"""Strength, soft strength and means of samples, from the API and from evaluate.py."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import write_model

import restore
from restore.evaluation.method import averaged
from restore.types import InputError, Observation

IMAGE = np.random.default_rng(0).integers(0, 65536, (23, 32, 3), dtype=np.uint16)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> restore.Model:
    return restore.load(write_model("prior", tmp_path_factory.mktemp("models")), device="cpu")


def test_black_of_a_strength_map_comes_back_bit_for_bit_and_white_is_the_strength(
    prior: restore.Model,
) -> None:
    strength = np.zeros((23, 32), dtype=np.uint8)
    strength[:, 16:] = 255
    made = prior(IMAGE, strength=0.5, strength_map=strength)
    assert made.dtype == np.uint16 and np.array_equal(made[:, :16], IMAGE[:, :16])
    assert not np.array_equal(made[:, 16:], IMAGE[:, 16:])
    plain = prior(IMAGE, strength=0.5)
    assert np.array_equal(prior(IMAGE, strength=0.5, strength_map=np.ones((23, 32))), plain)
    assert np.array_equal(prior(IMAGE, strength_map=np.zeros((23, 32), dtype=bool)), IMAGE)


def test_a_map_without_a_strength_is_of_the_whole_of_it(prior: restore.Model) -> None:
    strength = np.linspace(0, 1, 32, dtype=np.float32)[None].repeat(23, 0)
    made = prior(IMAGE, strength_map=strength)
    assert np.array_equal(made, prior(IMAGE, strength=1.0, strength_map=strength))
    assert not np.array_equal(made, prior(IMAGE, strength=0.5, strength_map=strength))


def test_a_hole_and_a_strength_map_act_where_both_do(prior: restore.Model) -> None:
    hole, strength = np.zeros((23, 32), dtype=bool), np.zeros((23, 32))
    hole[4:12], strength[8:16] = True, 0.7
    made = prior(IMAGE, hole, strength_map=strength)
    changed = (made != IMAGE).any(axis=(1, 2))
    assert changed[8:12].all() and not changed[:8].any() and not changed[12:].any()


@pytest.mark.parametrize(
    ("strength", "says"),
    [
        (np.ones((23, 31)), "the strength_map has 1"),
        (np.full((23, 32), 1.5), r"strength_map spans \[1.5, 1.5\]"),
        (np.ones((23, 32, 3)), "the strength_map has 3 channel"),
    ],
)
def test_other_maps_are_refused(prior: restore.Model, strength: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        prior(IMAGE, strength_map=strength)


def test_a_mean_keeps_what_all_samples_agree_on() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(2, 6, 1, 2, 4, generator=generator)
    drawn[..., :2] = torch.rand(2, 1, 1, 2, 2, generator=generator)
    asked: list[int] = []

    def restored(observation: Observation, num_samples: int) -> torch.Tensor:
        asked.append(num_samples)
        return drawn

    nothing = Observation(input=drawn[:, 0], index=torch.arange(2), name=[])
    made = averaged(restored, 3, nothing, 2)
    assert asked == [6] and made.shape == (2, 2, 1, 2, 4)
    assert torch.equal(made[..., :2], drawn[:, :2, ..., :2])
    torch.testing.assert_close(made[:, 1], (drawn[:, 3] + drawn[:, 4] + drawn[:, 5]) / 3)


SMALL = ("benchmark=digits_half", "benchmark.digits_half.data.limit=4", "hydra.run.dir=run")


def test_evaluate_starts_and_averages_and_the_row_says_so(command: Any, tmp_path: Path) -> None:
    path = write_model("grey_prior", tmp_path / "model")
    settings = ("start=0.5", "mean_of=3", "sampler=ddim", "sampler.num_steps=8")
    ended = command(*SMALL, f"checkpoint={path}", *settings, script="evaluate")
    assert ended.code == 0, ended.err
    (row,) = csv.DictReader((tmp_path / "run" / "results.csv").open())
    assert row["sampler_settings"] == "eta=0.0;num_steps=8;start=0.5;mean_of=3"
    assert row["nfe"] == "12"  # the lower half of 8 steps, three times


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        ("grey_prior", ["start=1.5"], "start=1.5 must be above 0"),
        ("grey_prior", ["start=0"], "start=0 must be above 0"),
        ("grey_prior", ["start=0.01"], "leaves none of the sampler's 4 steps"),
        ("grey_prior", ["mean_of=0"], "mean_of=0 must be"),
        ("grey_denoiser", ["start=0.5"], "Denoiser has no sampler"),
        ("grey_denoiser", ["mean_of=4"], "Denoiser draws no samples"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    command: Any, tmp_path: Path, model: str, settings: list[str], says: str
) -> None:
    path = write_model(model, tmp_path / "model")
    ended = command(*SMALL, f"checkpoint={path}", *settings, script="evaluate")
    assert ended.code == 2 and says in ended.err and ended.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def one_prior(command: Any, tmp_path: Path, names: list[str]) -> None:
    path = write_model("prior", tmp_path / "model")
    few = ("limit=2", "repeat=1")
    limits = [f"benchmark.{name}.data.{setting}" for name in names for setting in few]
    ended = command(
        f"checkpoint={path}", f"benchmark=[{','.join(names)}]", *limits, "guidance=null_space",
        "hydra.run.dir=run", script="evaluate",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    rows = list(csv.DictReader((tmp_path / "run" / "results.csv").open()))
    assert [row["benchmark"] for row in rows] == names
    assert all(row["guidance"].startswith("NullSpace(") and row["n"] == "2" for row in rows)


def test_one_prior_serves_every_benchmark_by_one_command(command: Any, tmp_path: Path) -> None:
    one_prior(command, tmp_path, ["photos_masks", "photos_gray", "photos_sigma25"])


@pytest.mark.data
def test_one_prior_serves_every_benchmark_of_flowers(command: Any, tmp_path: Path) -> None:
    kinds = ("masks", "gray", "sr4", "blur", "sigma50")
    one_prior(command, tmp_path, [f"flowers_{kind}" for kind in kinds])
