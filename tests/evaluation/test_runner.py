import csv
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import Tensor, nn

from restore.data.digits import Digits
from restore.data.folder import Folder
from restore.data.framing import CenterSquare
from restore.data.module import DataModule
from restore.degradation.mask import Half, Mask
from restore.evaluation import loop
from restore.evaluation.baseline import MeanFill
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.loop import NUM_PICTURES, Evaluation
from restore.evaluation.method import Method, from_baseline
from restore.evaluation.report import describe, print_table, write_per_image
from restore.evaluation.results import row_of
from restore.evaluation.runner import evaluate
from restore.image import to_unit
from restore.metric.base import Metric
from restore.metric.bucket import hole_side
from restore.metric.distribution import DistributionMetric
from restore.metric.fid import FID
from restore.metric.kid import KID
from restore.metric.psnr import PSNR, HolePSNR
from restore.picture import Spread
from restore.types import Batch, InputError

CASES = [(5, 1), (5, 2), (5, 5), (7, 1), (7, 2), (7, 5), (1, 2)]  # images, batch size


class Flat(nn.Module):
    """Sixteen pixels as features."""

    num_features = 16

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 2:6, 2:6].flatten(1)


def make(num_images: int, batch_size: int) -> Benchmark:
    metrics: dict[str, Metric | DistributionMetric] = {"psnr": PSNR(), "hole": HolePSNR()}
    if num_images > 1:
        metrics |= {"fid": FID(Flat()), "kid": KID(Flat(), subset_size=3, num_subsets=4)}
    data = DataModule(
        source=functools.partial(Digits),
        degradation=Mask(Half("alternate")),
        train_framing=CenterSquare(8),
        eval_framing=CenterSquare(8),
        batch_size=batch_size,
        limit=num_images,
    )
    return Benchmark("digits", data, metrics, "protocol", f"digits {num_images}", bucket=hole_side)


def make_trainer(devices: int = 1, limit: float | int = 1.0) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        use_distributed_sampler=False,
        limit_test_batches=limit,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def run_cases(folder: Path, devices: int) -> None:
    """Every case with one trainer, as evaluate.py does: per-image CSV and summary."""
    trainer = make_trainer(devices)
    for num_images, batch_size in CASES:
        method = from_baseline("mean_fill", MeanFill())
        report = evaluate(trainer, method, make(num_images, batch_size))
        if trainer.is_global_zero:
            name = f"{num_images}_{batch_size}"
            write_per_image(folder / f"{name}.csv", [report])
            (folder / f"{name}.json").write_text(json.dumps(report.summary))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESTORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def single(tmp_path: Path) -> Path:
    folder = tmp_path / "single"
    folder.mkdir()
    run_cases(folder, 1)
    return folder


def test_every_image_once_whatever_the_batch_size(single: Path) -> None:
    for num_images in (5, 7):
        texts = {(single / f"{n}_{b}.csv").read_bytes() for n, b in CASES if n == num_images}
        assert len(texts) == 1
        rows = list(csv.DictReader(texts.pop().decode().splitlines()))
        assert [int(row["index"]) for row in rows] == list(range(num_images))
        summaries = [json.loads((single / f"{num_images}_{b}.json").read_text()) for b in (1, 2, 5)]
        for other in summaries[1:]:
            assert other == pytest.approx(summaries[0], rel=1e-6, abs=1e-9)


@pytest.mark.slow
@pytest.mark.ci
def test_two_processes_write_the_bytes_of_one(
    single: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    double = tmp_path / "double"
    double.mkdir()
    script = tmp_path / "child.py"
    script.write_text(
        "from pathlib import Path; from restore import errors; from test_runner import run_cases\n"
        f"errors.run(lambda: run_cases(Path({str(double)!r}), 2))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), environment["PYTHONPATH"]])
    environment |= {"PYTHONPATH": path, "RESTORE_CACHE": str(tmp_path / "other")}
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=400)
    for num_images, batch_size in CASES:
        name = f"{num_images}_{batch_size}"
        assert (double / f"{name}.csv").read_bytes() == (single / f"{name}.csv").read_bytes()
        one, two = (json.loads((f / f"{name}.json").read_text()) for f in (single, double))
        # The features are added in another order, and the matrix root of FID makes of a rounding
        # error eps up to sqrt(eps) where there are fewer images than features.
        sums = {key for key in one if key.startswith(("fid", "kid"))}
        assert {key: two[key] for key in two.keys() - sums} == {
            key: one[key] for key in one.keys() - sums
        }
        for key in sums:
            assert two[key] == pytest.approx(one[key], rel=1e-6, abs=1e-9)


def test_summary_holds_means_buckets_and_distributions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    benchmark = make(6, 4)
    method = from_baseline("mean_fill", MeanFill())
    report = evaluate(make_trainer(), method, benchmark)
    psnr = [row["psnr"] for row in report.rows]
    assert report.summary["psnr"] == pytest.approx(sum(psnr) / 6)
    assert report.summary["psnr[right]"] == pytest.approx(sum(psnr[::2]) / 3)
    assert report.summary["psnr[bottom]"] == pytest.approx(sum(psnr[1::2]) / 3)
    samples = benchmark.data.samples("test")
    alone = FID(Flat())
    for k in range(6):
        batch = benchmark.data.to_batch(samples[k, k])
        alone.update(to_unit(method.restore(batch, 1)), to_unit(batch["target"]), batch["index"])
    assert report.summary["fid_flat"] == pytest.approx(alone.compute(), rel=1e-9)
    assert len(report.notes) == 2 and all("2048" in note for note in report.notes)
    print_table([report])
    assert all(note in capsys.readouterr().out for note in report.notes[:1])


def test_a_second_run_takes_the_targets_from_the_cache(cache: Path) -> None:
    method = from_baseline("mean_fill", MeanFill())
    first = evaluate(make_trainer(), method, make(6, 4)).summary
    assert len(list(cache.rglob("*.safetensors"))) == 2
    benchmark = make(6, 4)
    assert evaluate(make_trainer(), method, benchmark).summary == first
    assert evaluate(make_trainer(), method, benchmark).summary == first


def test_an_early_stop_leaves_no_reference_in_the_cache(cache: Path) -> None:
    report = evaluate(make_trainer(limit=1), from_baseline("m", MeanFill()), make(6, 2))
    assert len(report.rows) == 2 and not list(cache.rglob("*.safetensors"))


def test_the_first_images_alone_are_another_protocol() -> None:
    method = from_baseline("m", MeanFill())
    some, others = (evaluate(make_trainer(limit=1), method, make(6, size)) for size in (2, 3))
    whole = evaluate(make_trainer(), method, make(6, 2))
    assert whole.protocol == whole.benchmark.protocol
    assert len({some.protocol, others.protocol, whole.protocol}) == 3
    assert row_of(some)["protocol"] == describe(some)["protocol"] == some.protocol
    everything = evaluate(make_trainer(limit=1), method, make(6, 6))
    assert everything.protocol == whole.protocol


def test_float32_is_all_of_float32_while_a_method_and_its_metrics_compute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, bool] = {}

    def seeing(name: str, compute: Any) -> Any:
        def look(*given: Any) -> Any:
            seen[name] = torch.backends.cudnn.allow_tf32
            return compute(*given)

        return look

    monkeypatch.setattr(Flat, "forward", seeing("features", Flat.forward))
    method = Method("m", "model", seeing("method", from_baseline("m", MeanFill()).restore))
    evaluate(make_trainer(), method, make(2, 2))
    assert seen == {"features": False, "method": False} and torch.backends.cudnn.allow_tf32


def test_pictures_are_the_first_images_across_batches() -> None:
    method = from_baseline("mean_fill", MeanFill())
    small = evaluate(make_trainer(), method, make(10, 1)).pictures
    large = evaluate(make_trainer(), method, make(10, 10)).pictures
    assert len(small) == 8 and torch.equal(small, large)


def test_pictures_are_of_one_size_whatever_photos_come() -> None:
    """They are shown below each other, at the end of a pass."""
    pass_ = Evaluation(from_baseline("mean_fill", MeanFill()), make(10, 1))
    pass_._spread = Spread(4, NUM_PICTURES)
    for index, width in enumerate((8, 9, 8, 7)):
        image = torch.full((1, 1, 8, width), index / 4)
        batch: Any = {"target": image, "input": image, "index": torch.tensor([index])}
        pass_._keep_pictures(batch, image[:, None])
    assert [one.shape[-1] for one in pass_.pictures] == [8, 8]
    assert [float(one.max()) for one in pass_.pictures] == [0, 0.5]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda batch: batch["target"] * torch.nan, "NaN or infinite"),
        (lambda batch: batch["target"][:, :, :-1], "does not serve"),
        (lambda batch: batch["target"] * 127.5 + 127.5, r"metrics take images in \[0, 1\]"),
    ],
)
def test_what_is_no_result_is_refused(result: object, message: str) -> None:
    def restore(batch: Batch, num_samples: int) -> Tensor:
        restored: Tensor = result(batch)  # type: ignore[operator]
        return restored[:, None]

    with pytest.raises(InputError, match=message):
        evaluate(make_trainer(), Method("broken", "model", restore), make(3, 2))


@pytest.mark.parametrize("limit", [0, 0.0, 0.1])
def test_a_limit_that_leaves_no_image_is_refused(limit: float | int) -> None:
    method = from_baseline("m", MeanFill())
    with pytest.raises(InputError, match="leaves no image of digits"):
        evaluate(make_trainer(limit=limit), method, make(6, 2))


class Some(Metric):
    """A number for images of an even index alone."""

    name = "some"
    definition = "some/v1"
    higher_is_better = True

    def measure(self, restored: Tensor, target: Tensor, batch: Batch) -> Tensor:
        return torch.where(batch["index"] % 2 == 0, 2.0, torch.nan).double()


def test_a_mean_over_some_images_says_so() -> None:
    benchmark = make(5, 2)
    benchmark.metrics.append(Some())
    report = evaluate(make_trainer(), from_baseline("m", MeanFill()), benchmark)
    assert report.summary["some"] == 2.0
    assert "some: not defined for 2 of 5 images, which its mean leaves out" in report.notes


def test_a_changed_file_is_another_reference(tmp_path: Path) -> None:
    for name, size in (("a.png", 16), ("b.png", 16)):
        Image.new("RGB", (size, size)).save(tmp_path / name)

    def reference() -> str:
        source = functools.partial(Folder, folder=".", mode="rgb")
        framing = CenterSquare(16)
        data = DataModule(
            source=source,
            degradation=Mask(Half("alternate")),
            train_framing=framing,
            eval_framing=framing,
            batch_size=2,
            root=str(tmp_path),
        )
        return Benchmark("own", data, {"psnr": PSNR()}, "protocol", "reference").reference

    first = reference()
    assert reference() == first
    Image.effect_noise((16, 16), 50).convert("RGB").save(tmp_path / "b.png")
    assert reference() != first


@pytest.mark.parametrize(("others", "stays"), [(7, True), (8, False), (None, False)])
def test_statistics_that_one_process_alone_has_kept_are_measured_anew(
    monkeypatch: pytest.MonkeyPatch, others: int | None, stays: bool
) -> None:
    """Each looks into a cache of its machine; one that had none knows its own targets alone."""
    metric = SimpleNamespace(kept=7, forget_kept=lambda: setattr(metric, "kept", None))
    benchmark = SimpleNamespace(distribution_metrics=[metric])
    monkeypatch.setattr(loop, "gather", lambda own, world: [own, [others]])
    monkeypatch.setattr(Evaluation, "trainer", SimpleNamespace(world_size=2))
    method = SimpleNamespace(module=None, name="m", kind="model")
    Evaluation(cast(Any, method), cast(Any, benchmark)).setup("test")
    assert metric.kept == (7 if stays else None)
