import importlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from restore.evaluation.baseline import (
    Baseline,
    Biharmonic,
    FrequencySelective,
    Grey,
    HoleFill,
    Identity,
    MeanFill,
    NavierStokes,
    PushPull,
    ShiftMap,
    Telea,
)
from restore.evaluation.noise_filter import (
    BM3D,
    Median,
    NoiseFilter,
    NonLocalMeans,
    TotalVariationFilter,
    Wavelet,
)
from restore.image import from_uint8, to_unit
from restore.metric.psnr import PSNR, HolePSNR, KnownError
from restore.types import Batch, InputError

FILLS = [
    MeanFill(),
    Telea(),
    NavierStokes(),
    Biharmonic(),
    PushPull(),
    ShiftMap(),
    FrequencySelective(),
]


def smooth(channels: int = 3, height: int = 24, width: int = 30) -> Tensor:
    """Two 8-bit images [2, C, H, W] in [-1, 1] without edges."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([torch.sin(rows / 9 + c) + torch.cos(columns / 8 - c) for c in range(3)])
    both = torch.stack([waves[:channels], -waves[:channels].flip(2)])
    return from_uint8((127 + 55 * both).round().to(torch.uint8))


def make(target: Tensor, degraded: Tensor | None = None, **keys: Any) -> Batch:
    batch: Any = {
        "target": target,
        "input": target if degraded is None else degraded,
        "index": torch.arange(len(target)),
        "name": [str(i) for i in range(len(target))],
    }
    return batch | keys


def with_hole(target: Tensor) -> Batch:
    hole = torch.zeros(len(target), 1, *target.shape[2:])
    hole[0, :, 8:14, 10:18] = 1
    hole[1, :, 4:16, 3:9] = 1
    return make(target, target.masked_fill(hole == 1, 0), hole=hole)


def with_noise(target: Tensor, sigmas: tuple[float, float] = (25.0, 50.0)) -> Batch:
    """Gaussian noise of so many grey levels, neither clipped nor rounded."""
    sigma = torch.tensor(sigmas) / 127.5
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(target.shape, generator=generator) * sigma.view(-1, 1, 1, 1)
    return make(target, target + noise, sigma=sigma)


def psnr(restored: Tensor, batch: Batch) -> Tensor:
    return PSNR()(to_unit(restored), to_unit(batch["target"]), batch)


def test_identity_is_the_input() -> None:
    batch = with_noise(smooth())
    assert torch.equal(Identity()(batch), batch["input"])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill", FILLS, ids=lambda one: one.name)
def test_fills_keep_known_pixels_bit_equal_and_fill_all_else(fill: HoleFill, channels: int) -> None:
    batch = with_hole(smooth(channels))
    # off the 8-bit grid: a round trip through OpenCV's uint8 would show
    batch["input"] = torch.where(batch["hole"] == 1, 0, batch["input"] + 1e-3)
    batch["target"] = batch["input"].clone()
    restored = fill(batch)
    assert restored.dtype == torch.float32 and restored.shape == batch["target"].shape
    unit, target = to_unit(restored), to_unit(batch["target"]).clamp(0, 1)
    assert KnownError()(unit, target, batch).tolist() == [0, 0]
    assert restored.abs().max() <= 1.002


SMOOTH = [fill for fill in FILLS[1:] if not isinstance(fill, ShiftMap)]


@pytest.mark.parametrize("fill", SMOOTH, ids=lambda one: one.name)
def test_fills_beat_the_mean_on_a_smooth_image(fill: HoleFill) -> None:
    batch = with_hole(smooth())
    target = to_unit(batch["target"])
    value = HolePSNR()(to_unit(fill(batch)), target, batch)
    beaten = HolePSNR()(to_unit(MeanFill()(batch)), target, batch)
    assert (value > beaten + 3).all()


def test_shift_map_continues_a_pattern_exactly() -> None:
    """A patch one period away is what the hole hides; no smooth fill can know it."""
    generator = torch.Generator().manual_seed(0)
    tile = torch.randint(0, 256, (1, 1, 12, 12), generator=generator, dtype=torch.uint8)
    batch = make(from_uint8(tile.repeat(1, 1, 5, 5)))
    batch["hole"] = torch.zeros(1, 1, 60, 60)
    batch["hole"][..., 24:38, 20:36] = 1
    batch["input"] = batch["target"].masked_fill(batch["hole"] == 1, 0)
    assert torch.equal(ShiftMap()(batch), batch["target"])
    assert psnr(Biharmonic()(batch), batch) < 20


def test_mean_fill_is_the_known_mean_of_each_channel() -> None:
    batch = with_hole(smooth())
    restored = MeanFill()(batch)
    known = batch["hole"][0, 0] == 0
    for channel in range(3):
        expected = batch["input"][0, channel][known].mean().item()
        assert restored[0, channel, 10, 12].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("fill", FILLS, ids=lambda one: one.name)
def test_full_hole_is_grey_and_empty_hole_is_the_input(fill: HoleFill) -> None:
    target = smooth()
    hole = torch.ones(2, 1, *target.shape[2:])
    hole[1] = 0
    restored = fill(make(target, target.masked_fill(hole == 1, 0), hole=hole))
    assert torch.equal(restored[0], torch.zeros_like(target[0]))
    assert torch.equal(restored[1], target[1])


@pytest.mark.parametrize("fill", FILLS, ids=lambda one: one.name)
def test_fills_ignore_what_the_hole_hides_and_the_other_samples(fill: HoleFill) -> None:
    batch = with_hole(smooth())
    alone: Any = {key: value[1:] for key, value in batch.items()}
    assert torch.equal(fill(alone)[0], fill(batch)[1])
    leaky = dict(batch, target=torch.rand_like(batch["target"]))
    assert torch.equal(fill(leaky), fill(batch))  # type: ignore[arg-type]


def test_total_variation_and_non_local_means_beat_identity_at_every_level() -> None:
    for channels in (1, 3):
        batch = with_noise(smooth(channels))
        beaten = psnr(Identity()(batch), batch)
        for method in (TotalVariationFilter(), NonLocalMeans()):
            restored = method(batch)
            assert restored.dtype == torch.float32
            assert (psnr(restored, batch) > beaten + 4).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "method", [TotalVariationFilter(), NonLocalMeans(), Wavelet()], ids=lambda one: one.name
)
def test_an_image_without_noise_stays_as_it_is(method: NoiseFilter, channels: int) -> None:
    batch = with_noise(smooth(channels))
    batch["sigma"] = torch.zeros(2)
    torch.testing.assert_close(method(batch), batch["input"])


def test_wavelets_of_a_photo_are_of_its_lightness_and_its_colours() -> None:
    """What three channels have in common is seen through less noise than in one of them."""
    from skimage.data import astronaut

    photo = torch.from_numpy(astronaut()).permute(2, 0, 1)[None]
    batch = with_noise(from_uint8(torch.cat([photo[..., :128, :128], photo[..., 64:192, 192:320]])))
    parts = [Wavelet()({**batch, "input": one}) for one in batch["input"].split(1, 1)]
    alone = psnr(torch.cat(parts, 1), batch)
    assert (alone > psnr(Identity()(batch), batch) + 3).all()
    assert (psnr(Wavelet()(batch), batch) > alone + 0.5).all()


def test_noise_filters_take_each_images_own_sigma_in_units_of_their_range() -> None:
    seen: list[float] = []

    class Spy(NoiseFilter):
        name = "spy"

        def denoise(self, image: Any, sigma: float) -> Any:
            seen.append(sigma)
            return image

    batch = with_noise(smooth())
    restored = Spy()(batch)
    assert seen == pytest.approx([25 / 255, 50 / 255])
    assert torch.allclose(restored, batch["input"], atol=1e-6)


def test_median_beats_identity_on_salt_and_pepper() -> None:
    target = smooth()
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand(2, 1, *target.shape[2:], generator=generator)
    degraded = torch.where(draw < 0.05, -1.0, torch.where(draw > 0.95, 1.0, target))
    batch = make(target, degraded)
    assert (psnr(Median()(batch), batch) > psnr(Identity()(batch), batch) + 10).all()
    for size in (1, 4):
        with pytest.raises(InputError, match=f"size={size}"):
            Median(size)


def test_the_median_is_of_one_channel() -> None:
    flat = torch.tensor([0.0, 0.9, -0.5]).view(1, 3, 1, 1).expand(1, 3, 6, 7)
    assert torch.equal(Median()(make(flat, flat)), flat)


@pytest.mark.parametrize("method", FILLS, ids=lambda one: one.name)
def test_fills_need_a_hole(method: Baseline) -> None:
    with pytest.raises(InputError, match=f"{method.name} needs a hole"):
        method(make(smooth()))


@pytest.mark.parametrize(
    "method", [TotalVariationFilter(), NonLocalMeans()], ids=lambda one: one.name
)
def test_noise_filters_need_sigma(method: Baseline) -> None:
    with pytest.raises(InputError, match=f"{method.name} needs sigma"):
        method(make(smooth()))


def test_grey_wants_lightness() -> None:
    with pytest.raises(InputError, match="L as input"):
        Grey()(make(smooth()))


@pytest.mark.parametrize(
    ("build", "module", "package"), [(BM3D, "bm3d", "bm3d"), (Wavelet, "pywt", "PyWavelets")]
)
def test_optional_packages_are_named(
    build: type[Baseline], module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"pip install {package}"):
        build()


@pytest.mark.parametrize(("build", "module"), [(BM3D, "bm3d"), (Wavelet, "pywt")])
def test_optional_packages_beat_identity_where_installed(
    build: type[Baseline], module: str
) -> None:
    pytest.importorskip(module)
    for channels in (1, 3):
        batch = with_noise(smooth(channels))
        assert (psnr(build()(batch), batch) > psnr(Identity()(batch), batch) + 3).all()


def test_bm3d_takes_colour_and_grey_by_their_own_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, tuple[int, ...], float]] = []

    def record(name: str) -> Any:
        def method(image: Any, sigma: float) -> Any:
            called.append((name, image.shape, round(255 * sigma)))
            return image

        return method

    package = types.ModuleType("bm3d")
    package.bm3d, package.bm3d_rgb = record("bm3d"), record("bm3d_rgb")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bm3d", package)
    for channels in (3, 1):
        batch = with_noise(smooth(channels))
        assert torch.allclose(BM3D()(batch), batch["input"], atol=1e-6)
    assert called == [
        ("bm3d_rgb", (24, 30, 3), 25),
        ("bm3d_rgb", (24, 30, 3), 50),
        ("bm3d", (24, 30), 25),
        ("bm3d", (24, 30), 50),
    ]


@pytest.mark.parametrize("build", [Telea, NavierStokes, TotalVariationFilter, NonLocalMeans])
def test_settings_must_be_positive(build: Any) -> None:
    with pytest.raises(InputError, match="more than 0"):
        build(0.0)


def test_every_config_names_a_baseline_of_its_own_name() -> None:
    leaves = sorted(Path(__file__).parents[2].glob("conf/baseline/*.yaml"))
    assert len(leaves) == 17
    for leaf in leaves:
        target = leaf.read_text().split("_target_: ")[1].split()[0]
        module, _, name = target.rpartition(".")
        assert getattr(importlib.import_module(module), name).name == leaf.stem
