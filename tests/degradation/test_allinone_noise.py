"""The corruption of the all-in-one tables: one generator over all photos, in 8 bits."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from entry import ROOT
from hydra import compose, initialize_config_dir
from PIL import Image
from torch import Tensor

from restore.build import build
from restore.config.command import plain
from restore.data.framing import Multiple
from restore.data.module import DataModule
from restore.data.order import EvalOrder
from restore.degradation.noise import AllInOneNoise
from restore.image import from_uint8, to_uint8
from restore.types import InputError

NUM_PHOTOS = 5


def photos() -> list[np.ndarray[Any, Any]]:
    """uint8 [H, W, 3], landscape and portrait, with one row or column too many."""
    generator = np.random.default_rng(3)
    sizes = [(33, 48), (48, 33), (33, 48), (33, 48), (48, 33)]
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def expected(sigma: float) -> list[np.ndarray[Any, Any]]:
    """As the tests of the field do it: a loop over the photos, one seed before it."""
    np.random.seed(0)
    noisy = []
    for photo in photos():
        clean = photo[: photo.shape[0] // 16 * 16, : photo.shape[1] // 16 * 16]
        noise = np.random.randn(*clean.shape)
        noisy.append(np.clip(clean + noise * sigma, 0, 255).astype(np.uint8))
    return noisy


def benchmark_data(root: Path, sigma: int) -> DataModule:
    name = f"cbsd68_allinone_sigma{sigma}"
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = plain(compose("evaluate", [f"benchmark={name}"]))
    made: DataModule = build({**config["benchmark"][name]["data"], "root": str(root)}, "data")
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "cbsd68").mkdir()
    for number, photo in reversed([*enumerate(photos())]):  # the order is that of the names
        Image.fromarray(photo).save(tmp_path / "cbsd68" / f"{number:02}.png")
    return tmp_path


def levels(image: Tensor) -> np.ndarray[Any, Any]:
    return to_uint8(image).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("sigma", [15, 25, 50])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_process_sees_the_noise_of_one_loop(root: Path, sigma: int, world: int) -> None:
    wanted = expected(sigma)
    for rank in range(world):
        data = benchmark_data(root, sigma)
        data.first("test")  # as every check before an evaluation
        order = EvalOrder(NUM_PHOTOS, data.seed, rank=rank, world=world)
        for index, seed in order:
            batch = data.to_batch(data.samples("test")[index, seed])
            np.testing.assert_array_equal(levels(batch["input"][0]), wanted[index])
            assert batch["sigma"].tolist() == pytest.approx([sigma / 127.5])


def test_batches_and_their_order_change_nothing() -> None:
    targets = from_uint8(
        torch.from_numpy(np.stack([photo.reshape(3, 33, 48) for photo in photos()]))
    )
    degrade = AllInOneNoise(25)
    together = degrade(targets, torch.arange(NUM_PHOTOS))["input"]
    for place in (3, 0, 4, 4, 1):
        alone = degrade(targets[place : place + 1], torch.tensor([place]))["input"]
        assert torch.equal(alone[0], together[place])
    assert not torch.equal(together[0] - targets[0], together[1] - targets[1])


def test_levels_are_cut_off_and_not_rounded() -> None:
    """The mean of the lost fractions is half a level; at the ends, values stay inside."""
    grey = from_uint8(torch.full((1, 1, 400, 400), 128, dtype=torch.uint8))
    shift = (AllInOneNoise(5)(grey, torch.tensor([0]))["input"] - grey).mean().item() * 127.5
    assert shift == pytest.approx(-0.5, abs=0.05)
    assert AllInOneNoise(500)(grey, torch.tensor([0]))["input"].abs().max() == 1
    assert torch.equal(AllInOneNoise(0)(grey, torch.tensor([0]))["input"], grey)


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(7)
    wanted = np.random.rand()
    np.random.seed(7)
    AllInOneNoise(25)(torch.zeros(1, 3, 4, 4), torch.tensor([2]))
    assert np.random.rand() == wanted


def test_what_has_no_place_in_the_stream_is_refused() -> None:
    degrade = AllInOneNoise(25)
    degrade(torch.zeros(1, 3, 16, 32), torch.tensor([0]))
    degrade(torch.zeros(1, 3, 32, 16), torch.tensor([1]))
    with pytest.raises(InputError, match="32 x 32 x 3 after one of 1536 values"):
        degrade(torch.zeros(1, 3, 32, 32), torch.tensor([2]))
    with pytest.raises(InputError, match=r"data\.seed=0"):
        degrade(torch.zeros(1, 3, 16, 32), torch.tensor([2**32]))
    for sigma in (-1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="sigma"):
            AllInOneNoise(sigma)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 63), (47, 50), (16, 16)])
def test_the_middle_of_a_photo_is_kept(height: int, width: int) -> None:
    photo = torch.arange(height * width, dtype=torch.int32).view(1, height, width)
    kept = Multiple(16)(photo, 5)
    assert torch.equal(Multiple()(photo, 0), kept)  # the factor of the tables is the default
    rows, columns = height % 16, width % 16
    assert kept.shape == (1, height - rows, width - columns)
    assert kept[0, 0, 0] == (rows // 2) * width + columns // 2
    assert torch.equal(kept[0, 0].diff(), torch.ones(kept.shape[2] - 1))
    assert torch.equal(kept[0, :, 0].diff(), torch.full((kept.shape[1] - 1,), width))


def test_a_photo_below_the_factor_is_refused() -> None:
    with pytest.raises(InputError, match="15 x 40"):
        Multiple(16)(torch.zeros(3, 15, 40, dtype=torch.uint8), 0)
    with pytest.raises(InputError, match="0"):
        Multiple(0)


@pytest.mark.data
def test_inputs_of_the_published_tables() -> None:
    """Three photos here by the loop of the field; all 68 by `restore doctor`."""
    root = Path(os.environ["RESTORE_DATA"])
    paths = sorted((root / "cbsd68").glob("*.png"))[:3]
    data = benchmark_data(root, 50)
    np.random.seed(0)
    for place, path in enumerate(paths):
        photo = np.array(Image.open(path).convert("RGB"))
        clean = photo[: photo.shape[0] // 16 * 16, : photo.shape[1] // 16 * 16]
        noisy = np.clip(clean + np.random.randn(*clean.shape) * 50, 0, 255).astype(np.uint8)
        batch = data.to_batch(data.samples("test")[place, place])
        np.testing.assert_array_equal(levels(batch["input"][0]), noisy)
        np.testing.assert_array_equal(levels(batch["target"][0]), clean)
