import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from restore.data.digits import Digits
from restore.data.folder import Folder
from restore.data.framing import CenterSquare, Whole
from restore.data.module import DataModule
from restore.degradation.mask import Half, Mask
from restore.degradation.noise import Gaussian
from restore.evaluation.baseline import Identity, Telea
from restore.evaluation.benchmark import SLOW, Benchmark, affordable, fingerprint
from restore.evaluation.method import Method, from_baseline
from restore.metric.base import Metric
from restore.metric.bucket import hole_side
from restore.metric.colorfulness import Colorfulness
from restore.metric.diversity import Diversity
from restore.metric.fid import FID
from restore.metric.psnr import PSNR, HolePSNR
from restore.metric.ssim import SSIM
from restore.types import InputError, Observation

CONFIG: dict[str, Any] = {
    "data": {
        "root": None,
        "batch_size": 4,
        "num_workers": 0,
        "seed": 0,
        "source": {"folder": "photos", "root": None},
        "degradation": {"sigma": 25.0},
    },
    "metric": {"psnr": {"border": 0}},
    "num_samples": 1,
}


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *parents, key = path.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    node[key] = value
    return config


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.root", "/elsewhere"),
        ("data.batch_size", 1),
        ("data.num_workers", 2),
        ("data.source.root", "/elsewhere"),
        ("data.degradation.root", "/elsewhere"),
        ("data.rotate", True),
        ("data.brightness", 0.2),
        ("data.augment", ["RandomInvert"]),
        ("data.cache_gb", 0.0),
        ("data.on_error", "error"),
    ],
)
def test_fingerprint_is_blind_to_place_speed_and_augmentation(path: str, value: Any) -> None:
    assert fingerprint(changed(path, value)) == fingerprint(CONFIG)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.seed", 1),
        ("data.limit", 5),
        ("data.on_error", "skip"),
        ("data.source.folder", "others"),
        ("data.degradation.sigma", 15.0),
        *((f"data.degradation.{key}", 0.5) for key in ("brightness", "rotate", "batch_size")),
        ("data.source.on_error", "error"),
        ("metric.psnr.border", 4),
        ("metric.ssim", {}),
        ("num_samples", 2),
        ("bucket", {"_target_": "b"}),
    ],
)
def test_fingerprint_sees_everything_else(path: str, value: Any) -> None:
    assert fingerprint(changed(path, value)) != fingerprint(CONFIG)


def make(
    metric: dict[str, Any] | None = None, degradation: Any = None, limit: int = 4, **more: Any
) -> Benchmark:
    data = DataModule(
        source=functools.partial(Digits),
        degradation=degradation or Mask(Half("right")),
        train_framing=CenterSquare(8),
        eval_framing=CenterSquare(8),
        batch_size=2,
        limit=limit,
        root=more.pop("root", None),
    )
    given = {"protocol": "p", "reference": "r", **more}
    return Benchmark("digits", data, metric or {"psnr": PSNR()}, **given)


class Renamed(PSNR):
    def __init__(self) -> None:
        super().__init__()
        self.definition = self.definition.replace("v1", "v2")


def photos(folder: Path, framing: Any, on_error: Any = "error") -> Benchmark:
    """Three photos of which one has 12x9 pixels; it is not the first."""
    for name, size in (("a", (20, 30)), ("b", (12, 9)), ("c", (20, 30))):
        Image.new("RGB", size, (9, 80, 200)).save(folder / f"{name}.png")
    data = DataModule(
        source=functools.partial(Folder, val_fraction=1.0),
        degradation=Gaussian(25),
        train_framing=framing,
        eval_framing=framing,
        batch_size=1,
        root=str(folder),
        on_error=on_error,
    )
    return Benchmark("mine", data, {"ssim": SSIM()}, "p", "r")


@pytest.mark.parametrize("on_error", ["error", "skip"])
def test_a_photo_too_small_for_a_metric_is_named_before_work(tmp_path: Path, on_error: str) -> None:
    if on_error == "skip":
        (tmp_path / "a-broken.png").write_bytes(b"no image")  # so that numbers move
    with pytest.raises(InputError, match=r"mine: b\.png: metric ssim needs .* got 9x12"):
        photos(tmp_path, Whole(), on_error).check()


def test_sizes_are_of_the_photos_that_are_measured(tmp_path: Path) -> None:
    """Broken ones come first, so that the numbers of all others move."""
    small = tmp_path / "a-small-and-cut.png"
    Image.new("RGB", (12, 9), (5, 80, 5)).save(small)
    small.write_bytes(small.read_bytes()[:-30])  # its header is whole
    (tmp_path / "a-broken.png").write_bytes(b"no image")
    Image.new("RGB", (40, 20), (5, 80, 5)).save(tmp_path / "z.png")
    benchmark = photos(tmp_path, Whole(), "skip")
    measured = [(name, height, width) for name, height, width in benchmark.data.sizes("test")]
    truth = []
    for path in sorted(tmp_path.glob("?.png")):
        with Image.open(path) as image:
            truth.append((path.name, image.height, image.width))
    assert measured == truth and len(truth) == 4


def test_framed_photos_are_not_looked_at(tmp_path: Path) -> None:
    photos(tmp_path, CenterSquare(16)).check()


def test_protocol_follows_the_definitions_of_metrics() -> None:
    assert make().protocol == make(root="/elsewhere").protocol
    assert make({"psnr": Renamed()}).protocol != make().protocol
    assert make(protocol="q").protocol != make().protocol


def test_reference_follows_the_place_of_the_data(tmp_path: Path) -> None:
    assert make(root=str(tmp_path)).reference != make().reference


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"ssim": SSIM()}, "needs images of 11 px"),
        ({"colorfulness": Colorfulness()}, "RGB images"),
        ({"diversity": Diversity()}, "draw 2 or more"),
        ({"a": PSNR(), "b": PSNR()}, "two of its metrics"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_before_work(
    metric: dict[str, Metric], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make(metric).check()


class Own(Metric):
    """Of somebody who forgot something."""

    def __init__(self, **said: Any) -> None:
        for key, value in said.items():
            setattr(self, key, value)

    def measure(self, restored: torch.Tensor, target: torch.Tensor, batch: Any) -> torch.Tensor:
        return (restored - target).abs().mean(dim=(1, 2, 3))


class Total(Own):
    def measure(self, restored: torch.Tensor, target: torch.Tensor, batch: Any) -> torch.Tensor:
        return (restored - target).abs().mean()


TOLD: dict[str, Any] = {"name": "own", "definition": "own/v1", "higher_is_better": False}


def test_a_metric_says_what_tables_need_to_know() -> None:
    make({"own": Own(**TOLD)}).check()


@pytest.mark.parametrize("key", [*TOLD])
@pytest.mark.parametrize("value", [None, "", 7])
def test_a_metric_that_says_too_little_is_refused_before_work(key: str, value: Any) -> None:
    said = {**TOLD, key: value}
    if value is None:
        del said[key]
    with pytest.raises(InputError, match=f"digits: metric Own .*give the class {key} = "):
        make({"own": Own(**said)})


@pytest.mark.parametrize("name", ["index", "bucket", "method", "benchmark", "n"])
def test_a_metric_with_the_name_of_a_column_is_refused_before_work(name: str) -> None:
    with pytest.raises(InputError, match=f"metric Own is named {name}, .*rename it"):
        make({"own": Own(**TOLD | {"name": name})})


def test_what_is_no_metric_is_refused() -> None:
    mean: Any = nn.L1Loss()
    with pytest.raises(InputError, match=r"L1Loss is no restore\.metric\.base\.Metric"):
        make({"own": mean})


def test_one_number_for_all_images_is_refused_before_work() -> None:
    with pytest.raises(InputError, match=r"own gives \[\] for 1 images: .* shape \[1\]"):
        make({"own": Total(**TOLD)}).check()


def test_holes_are_asked_for_before_work() -> None:
    noise = Gaussian(25.0)
    with pytest.raises(InputError, match="needs a hole"):
        make({"hole": HolePSNR()}, noise).check()
    with pytest.raises(InputError, match="bucket needs"):
        make(degradation=noise, bucket=hole_side).check()
    make({"hole": HolePSNR()}, bucket=hole_side).check()


class Flat(nn.Module):
    num_features = 64

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_fid_of_one_image_is_refused_before_work() -> None:
    with pytest.raises(InputError, match="2 images or more, got 1"):
        make({"fid": FID(Flat())}, limit=1).check()
    make({"fid": FID(Flat())}, limit=2).check()


def test_what_a_method_does_not_serve_is_refused_before_work() -> None:
    def check(observation: Observation) -> None:
        raise InputError(f"no {observation['input'].shape[1]} channels")

    method = Method("a", "model", lambda *_: torch.empty(0), check, "a.ckpt")
    with pytest.raises(InputError, match=r"a\.ckpt on benchmark .*: no 1 channels"):
        make().check_method(method)


def test_a_baseline_that_cannot_serve_is_refused_before_work() -> None:
    make().check_method(from_baseline("telea", Telea()))
    make(degradation=Gaussian(25.0)).check_method(from_baseline("identity", Identity()))
    with pytest.raises(InputError, match="needs a hole"):
        make(degradation=Gaussian(25.0)).check_method(from_baseline("telea", Telea()))


def test_a_checkpoint_is_not_run_before_work() -> None:
    def restore(*_: Any) -> torch.Tensor:
        raise AssertionError

    make().check_method(Method("slow", "model", restore))


def test_settings_are_checked() -> None:
    with pytest.raises(InputError, match="num_samples=0"):
        make(num_samples=0)


def test_fewer_photos_for_methods_of_many_calls() -> None:
    config = {"slow_limit": 3, "data": {"limit": 500, "seed": 0}}
    assert affordable(config, SLOW) is config
    assert affordable(config, SLOW + 1)["data"] == {"limit": 3, "seed": 0}
    assert affordable({"data": {}}, SLOW + 1) == {"data": {}}
    for limit, taken in ((2, 2), (None, 3)):
        config = {"slow_limit": 3, "data": {"limit": limit}}
        assert affordable(config, SLOW + 1)["data"] == {"limit": taken}


def test_a_baseline_whose_result_is_not_like_the_target_is_refused() -> None:
    coloured = from_baseline("coloured", lambda seen: seen["input"].repeat(1, 3, 1, 1))
    with pytest.raises(InputError, match="of 3 channels and the targets have 1"):
        make().check_method(coloured)
