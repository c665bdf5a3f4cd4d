import csv
import hashlib
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from restore.evaluation import record, results
from restore.evaluation.cost import Cost
from restore.evaluation.method import SamplingRecord, sampling_of
from restore.metric.fid import FID
from restore.metric.label import OriginalLabelShare
from restore.metric.psnr import PSNR
from restore.types import InputError

HEADER = (
    "experiment,checkpoint,kind,benchmark,protocol,feature,definitions,n,seeds,sampler,"
    "sampler_settings,guidance,precision,nfe,parameters,seconds_per_image,device,commit,dirty,psnr,ssim,input_psnr,hole_psnr,hole_l1,known_error,"
    "original_label_share,diversity,colorfulness,colorfulness_difference,fid_flowers,kid_flowers,"
    "lpips_vgg,fid,kid,macs,cost_size,peak_memory_mib,intervals,lower_is_better"
)


@pytest.fixture(autouse=True)
def origin(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = {"device": "a processor", "commit": "0123456789ab", "dirty": False}
    monkeypatch.setattr(record, "provenance", lambda device: fixed)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "experiments" / "results.csv"


def test_a_row_says_what_was_measured_and_by_whom(make_report: Any, path: Path) -> None:
    report = make_report(
        "mine", {"psnr": [20.0, 31.0]}, kind="model", module=nn.Linear(3, 2), seed=7, num_calls=50
    )
    results.append(path, [report])
    assert path.read_text().splitlines()[0] == HEADER
    _, [row] = results.read(path)
    filled = {name: cell for name, cell in row.items() if cell}
    assert filled == {
        "experiment": "mine",
        "kind": "model",
        "benchmark": "bench",
        "protocol": "0123456789ab",
        "definitions": "psnr/rgb/uint8/per-image/v1",
        "precision": "32-true",
        "n": "2",
        "seeds": "7",
        "nfe": "50",
        "parameters": "8",
        "seconds_per_image": "0.25",
        "device": "a processor",
        "commit": "0123456789ab",
        "dirty": "False",
        "psnr": "25.5",
        "intervals": "psnr=20..31",
    }


def test_the_same_measurement_again_replaces_the_first(make_report: Any, path: Path) -> None:
    results.append(path, [make_report("a"), make_report("b")])
    results.append(path, [make_report("a", {"psnr": [1.0, 1.0]})])
    _, rows = results.read(path)
    # At the end: which protocol of a benchmark was measured last is known by the places of rows.
    assert [(row["experiment"], row["psnr"]) for row in rows] == [("b", "25"), ("a", "1")]
    results.append(path, [make_report("b", kind="function")])  # no baseline, but of its name
    assert len(results.read(path)[1]) == 3
    other = [make_report("a", protocol="f" * 12), make_report("a", benchmark="x")]
    results.append(path, [*other, make_report("a", num_calls=9)])  # another sampler
    assert len(results.read(path)[1]) == 6


def test_samplers_of_equal_cost_do_not_overwrite_each_other(make_report: Any, path: Path) -> None:
    ddim = {"num_calls": 50, "sampling": SamplingRecord("ddim", "eta=0.0;num_steps=50", "")}
    others = [
        ddim,
        ddim | {"sampling": SamplingRecord("renoise", "num_steps=50", "")},
        ddim | {"sampling": SamplingRecord("ddim", "eta=1.0;num_steps=50", "")},
        ddim | {"sampling": SamplingRecord("ddim", "eta=0.0;num_steps=50", "Replacement()")},
    ]
    results.append(path, [make_report("a", **one) for one in others])
    half = make_report("a", **ddim)
    half.precision = "bf16-mixed"
    results.append(path, [half, make_report("a", {"psnr": [1.0]}, **ddim)])  # fewer images
    assert len(results.read(path)[1]) == 6
    results.append(path, [make_report("a", **one) for one in others])
    assert len(results.read(path)[1]) == 6


def test_a_sampler_is_spelled_from_its_config() -> None:
    method = {"_target_": "restore.diffusion.sampler.ddim", "_partial_": True, "eta": 0.5}
    loop = {"_target_": "restore.diffusion.sampler.Sampling", "num_steps": 20, "method": method}
    guidance = {"_target_": "restore.diffusion.guidance.Replacement"}
    found = sampling_of({"sampler": loop, "guidance": guidance, "network": {}})
    assert found == SamplingRecord("ddim", "eta=0.5;num_steps=20", "Replacement()")
    assert str(found) == "ddim(eta=0.5, num_steps=20), Replacement()"
    assert sampling_of({"network": {}}) == SamplingRecord() and str(SamplingRecord()) == ""


def test_objects_within_the_method_of_a_sampler_keep_their_settings() -> None:
    """Of two with a setting of one name, the second took the place of the first."""
    grids = {
        key: {"_target_": f"own.{name}", "a": 1, "b": b}
        for key, name, b in (("first", "Even", 2), ("second", "Dense", 3))
    }
    loop = {"_target_": "own.Loop", "num_steps": 9, "method": {"_target_": "own.walk", **grids}}
    wanted = "first=Even(a=1;b=2);num_steps=9;second=Dense(a=1;b=3)"
    assert sampling_of({"sampler": loop}) == SamplingRecord("walk", wanted)


def test_older_definitions_are_told_apart(make_report: Any, path: Path) -> None:
    class Newer(PSNR):
        def __init__(self) -> None:
            super().__init__()
            self.definition = self.definition.replace("v1", "v2")

    results.append(path, [make_report("a"), make_report("a", metrics={"p": Newer()}, protocol="f")])
    definitions = [row["definitions"] for row in results.read(path)[1]]
    assert definitions == ["psnr/rgb/uint8/per-image/v1", "psnr/rgb/uint8/per-image/v2"]


def test_eight_digits_are_kept(make_report: Any, path: Path) -> None:
    results.append(path, [make_report("a", {"psnr": [31.2345678912]})])
    assert results.read(path)[1][0]["psnr"] == "31.234568"


def test_a_write_that_breaks_off_leaves_the_old_file(
    make_report: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.append(path, [make_report("a")])
    before, synced = path.read_bytes(), []

    def refuse(number: int) -> None:
        synced.append(number)
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="disk is full"):
        results.append(path, [make_report("b")])
    assert path.read_bytes() == before and synced
    with pytest.raises(OSError, match="disk is full"):
        record.write_json(path.with_name("result.json"), {})
    hidden = [one.name for one in path.parent.iterdir() if "lock" not in one.name]
    assert hidden == ["results.csv"]


def test_new_metrics_get_columns_and_old_ones_stay(make_report: Any, path: Path) -> None:
    results.append(path, [make_report("a", {"psnr": [1.0], "lpips_alex": [0.5]})])
    buckets = make_report("b", {"psnr": [1.0, 3.0]}, buckets=["1-10", "10-20"])
    results.append(path, [buckets])
    columns, (a, b) = results.read(path)
    added = ["lpips_alex", "psnr[1-10]", "psnr[10-20]"]
    assert columns == [*HEADER.split(","), *added]
    assert [a[name] for name in added] == ["0.5", "", ""]
    assert [b[name] for name in added] == ["", "1", "3"]


def test_undefined_is_not_the_same_as_not_measured(make_report: Any, path: Path) -> None:
    results.append(path, [make_report("a", {"psnr": [float("nan")]})])
    _, [row] = results.read(path)
    assert row["psnr"] == "nan" and row["ssim"] == ""


class Features(nn.Module):
    num_features = 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :2]


def test_feature_networks_are_named(make_report: Any, path: Path) -> None:
    label, fid = OriginalLabelShare("mnist"), FID(Features())
    report = make_report(metrics={"label": label, "fid": fid})
    results.append(path, [report])
    named = results.read(path)[1][0]["feature"].split(";")
    assert named == [fid.features, label.classifier.definition]


def test_no_path_of_a_machine_gets_into_the_file(make_report: Any, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    inside, elsewhere = repository / "outputs" / "run" / "best.ckpt", tmp_path / "x" / "best.ckpt"
    for number, file in enumerate((inside, elsewhere)):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"weights %d" % number)
    path = repository / "experiments" / "results.csv"
    results.append(path, [make_report(checkpoint=str(file)) for file in (inside, elsewhere)])
    digests = [hashlib.sha256(b"weights %d" % number).hexdigest()[:12] for number in (0, 1)]
    names = [row["checkpoint"] for row in results.read(path)[1]]
    assert names == [f"best.ckpt@{digest}" for digest in digests]
    assert str(tmp_path) not in path.read_text() and "outputs" not in path.read_text()


def test_four_processes_at_once_lose_no_row(make_report: Any, path: Path) -> None:
    """Each adds rows and columns of its own."""

    def work(worker: int) -> None:
        for k in range(6):
            results.append(path, [make_report(f"{worker}-{k}", {f"m{worker}{k}": [1.0]})])

    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    columns, rows = results.read(path)
    assert {row["experiment"] for row in rows} == {f"{w}-{k}" for w in range(4) for k in range(6)}
    assert all(row[f"m{row['experiment'].replace('-', '')}"] == "1" for row in rows)
    assert len(columns) == len(HEADER.split(",")) + 24


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("protocol", "protocole", 1),
        lambda text: text.replace("psnr,", "", 1),
        lambda text: text.replace("psnr,ssim", "psnr,psnr", 1),
        lambda text: "",
        lambda text: f"{text}<<<<<<< HEAD\n",
        lambda text: f'{text}"{"open " * 2**15}',
        lambda text: text.encode("utf-16"),  # as spreadsheets save "Unicode text"
    ],
)
def test_a_damaged_file_is_refused_and_kept(damage: Any, make_report: Any, path: Path) -> None:
    results.append(path, [make_report()])
    damaged = damage(path.read_text())
    path.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"results\.csv"):
        results.append(path, [make_report("other")])
    assert path.read_bytes() == before


def test_is_plain_csv(make_report: Any, path: Path) -> None:
    results.append(path, [make_report('quoted, "name"')])
    with path.open(newline="") as file:
        assert next(csv.DictReader(file))["experiment"] == 'quoted, "name"'
    assert b"\r" not in path.read_bytes()


def test_costs_and_intervals_are_columns_of_their_own(make_report: Any, path: Path) -> None:
    cost = Cost(seconds=0.5, macs=3_000_000, size="1x3x8x8", memory=5 * 2**20)
    results.append(path, [make_report("a", {"psnr": [1.0, 3.0, 2.0]}, cost=cost)])
    _, [row] = results.read(path)
    assert {key: row[key] for key in ("macs", "cost_size", "peak_memory_mib")} == {
        "macs": "3000000",
        "cost_size": "1x3x8x8",
        "peak_memory_mib": "5",
    }
    low, high = map(float, row["intervals"].removeprefix("psnr=").split(".."))
    assert 1 <= low < 2 < high <= 3


def test_what_a_method_of_outputs_costs_is_not_known(make_report: Any, path: Path) -> None:
    results.append(path, [make_report("a", kind="outputs", cost=Cost())])
    _, [row] = results.read(path)
    assert row["seconds_per_image"] == row["macs"] == row["peak_memory_mib"] == ""


def test_seconds_have_four_digits(make_report: Any, path: Path) -> None:
    results.append(path, [make_report(cost=Cost(seconds=0.01234567))])
    assert results.read(path)[1][0]["seconds_per_image"] == "0.01235"
