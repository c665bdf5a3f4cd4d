"""evaluate.py from its command line to its files."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import write_model

from restore import checkpoint
from restore.config.compose import composed
from restore.evaluation import evaluate as evaluation
from restore.evaluation import runner
from restore.evaluation.baseline import MeanFill
from restore.evaluation.method import from_baseline
from restore.folder import make
from restore.types import InputError

BENCHMARKS = sorted(path.stem for path in Path(__file__).parents[1].glob("conf/benchmark/*.yaml"))
SMALL = ("baseline=mean_fill", "benchmark=digits_half", "benchmark.digits_half.data.limit=6")


def test_a_baseline_on_embedded_data(command: Any, tmp_path: Path) -> None:
    ended = command(*SMALL, "hydra.run.dir=run", script="evaluate")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0] == str(tmp_path / "run")
    assert "mean_fill" in ended.out and ended.err == ""
    rows = list(csv.DictReader((tmp_path / "run" / "per_image.csv").open()))
    assert [int(row["index"]) for row in rows] == list(range(6))
    assert (tmp_path / "run" / "comparison.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["baseline=identity", "benchmark=nope"], "benchmark=nope does not exist"),
        (["baseline=nope", "benchmark=digits_half"], "baseline=nope does not exist"),
        (["baseline=identity"], "benchmark=NAME"),
        (["benchmark=digits_half"], "checkpoint=PATH"),
        ([*SMALL, "batch_size=0"], "batch_size=0"),
        ([*SMALL, "trainer.precision=nonsense"], "trainer.precision='nonsense': an evaluation"),
        ([*SMALL, "trainer.precision=bf16-true"], "trainer.precision='bf16-true': an evaluation"),
        ([*SMALL, "checkpoint=nowhere.ckpt"], "nowhere.ckpt does not exist"),
        (["baseline=grey", "benchmark=digits_half"], "grey"),
        (["baseline=identity", "benchmark=cbsd68_sigma25"], "RESTORE_DATA"),
        ([*SMALL, "+metric@benchmark.digits_half.metric.fid=fid"], "RESTORE_WEIGHTS"),
        ([*SMALL, "+metric@benchmark.digits_half.metric.psnr=psnr_y"], "psnr of Y needs RGB"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    command: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    for variable in ("RESTORE_DATA", "RESTORE_WEIGHTS"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing"))
    ended = command(*arguments, script="evaluate")
    assert ended.code == 2 and message in ended.err
    assert ended.err.startswith("error: ") and ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spelled", ["guidance=null", "~guidance"])
def test_a_guidance_can_be_left_out(command: Any, tmp_path: Path, spelled: str) -> None:
    led = checkpoint.read(checkpoint.best_of(write_model("grey_prior", tmp_path)))
    led["config"]["task"]["guidance"] = {"_target_": "restore.diffusion.guidance.Replacement"}
    checkpoint.write(led, tmp_path / "led.ckpt")
    asked = ("checkpoint=led.ckpt", "benchmark=digits_half", "sampler=ddim", spelled)
    ended = command(*asked, script="evaluate")
    assert ended.code == 2 and "this sampler would ignore what is known" in ended.err


def test_a_sweep_of_evaluations_has_one_process_a_job(command: Any, tmp_path: Path) -> None:
    ended = command("-m", *SMALL, "trainer=ddp_cpu", "batch_size=4,6", script="evaluate")
    assert ended.code == 2 and "error: trainer.devices=2: evaluate.py -m" in ended.err
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.parametrize("precision", [None, "bf16-mixed"])
def test_precision_is_of_the_method_alone_and_written(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str | None
) -> None:
    from restore.evaluation import baseline, loop

    seen: list[tuple[str, bool]] = []

    def noted(owner: type, name: str) -> None:
        own = getattr(owner, name)

        def call(self: Any, *given: Any) -> Any:
            seen.append((name, torch.is_autocast_enabled("cpu")))
            return own(self, *given)

        monkeypatch.setattr(owner, name, call)

    noted(baseline.HoleFill, "__call__")
    noted(loop.Evaluation, "_measure")
    given = () if precision is None else (f"trainer.precision={precision}",)
    ended = command(*SMALL, *given, "hydra.run.dir=run", script="evaluate")
    assert ended.code == 0, ended.err
    assert (("__call__", True) in seen) == (precision is not None)
    assert ("_measure", True) not in seen and ("_measure", False) in seen
    (row,) = csv.DictReader((tmp_path / "run" / "results.csv").open())
    assert row["precision"] == (precision or "32-true")


def test_a_foreign_checkpoint_is_refused(command: Any, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    ended = command("checkpoint=other.ckpt", "benchmark=digits_half", script="evaluate")
    assert ended.code == 2 and "not written by restore" in ended.err


@pytest.mark.data
@pytest.mark.parametrize("name", [n for n in BENCHMARKS if n != "folder"])
def test_every_benchmark_builds_and_has_its_data(name: str) -> None:
    from hydra import compose, initialize_config_dir

    from restore.config.command import plain
    from restore.evaluation import load

    folder = str(Path(__file__).parents[1] / "conf")
    shipped = Path(folder).parent / "restore" / "metric" / "weights"
    if "flowers" in name and not (shipped / "flowers.safetensors").is_file():
        pytest.skip("the flowers classifier is not trained")
    with initialize_config_dir(folder, version_base="1.3"):
        config = plain(compose("evaluate", [f"benchmark={name}"]))
    (benchmark,) = load.benchmarks(config, 1)
    benchmark.check()
    counts = {"cbsd68": 68, "bsd68": 68, "set12": 12, "flowers": 368, "mnist": 500}
    expected = next((n for prefix, n in counts.items() if name.startswith(prefix)), None)
    assert expected in (None, benchmark.data.num_test)


@pytest.mark.data
def test_the_published_protocol_on_three_photos(command: Any, tmp_path: Path) -> None:
    limit = "benchmark.cbsd68_sigma25.data.limit=3"
    arguments = ("baseline=identity", "benchmark=cbsd68_sigma25", limit, "hydra.run.dir=run")
    assert command(*arguments, script="evaluate").code == 0
    (row,) = csv.DictReader((tmp_path / "run" / "results.csv").open())
    # White noise of 25 grey levels is 20.17 dB; rounding and clamping take a part of it away.
    assert float(row["input_psnr"]) == pytest.approx(20.17, abs=0.03)
    assert float(row["psnr"]) > float(row["input_psnr"]) + 0.1


def test_what_was_measured_before_an_error_is_kept(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, recorded = runner.evaluate, tmp_path / "results.csv"

    def second_fails(trainer: Any, method: Any, *rest: Any) -> Any:
        if method.name == "telea":
            raise InputError("telea returned NaN")
        return measure(trainer, method, *rest)

    monkeypatch.setattr(runner, "evaluate", second_fails)
    monkeypatch.setattr(evaluation, "results_file", lambda: recorded)
    several = ("baseline=[mean_fill,telea]", *SMALL[1:], "record=true", "hydra.run.dir=run")
    ended = command(*several, script="evaluate")
    assert (ended.code, ended.err) == (2, "error: telea returned NaN\n")
    assert f"kept: 1 of 2 results, in {tmp_path / 'run'}" in ended.out
    assert [row["method"] for row in csv.DictReader((tmp_path / "run/results.csv").open())] == [
        "mean_fill"
    ]
    assert [row["experiment"] for row in csv.DictReader(recorded.open())] == ["mean_fill"]
    assert f"recorded: {recorded}" in ended.out


def test_a_damaged_record_is_refused_before_work(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = tmp_path / "results.csv"
    recorded.write_text("<<<<<<< HEAD\n")
    monkeypatch.setattr(evaluation, "results_file", lambda: recorded)
    ended = command(*SMALL, "record=true", "hydra.run.dir=run", script="evaluate")
    assert ended.code == 2 and "its header must start with" in ended.err
    assert "mean_fill" not in ended.out and [*tmp_path.iterdir()] == [recorded]


def test_pictures_of_methods_that_measure_fewer_images_are_of_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One method takes many calls, for which slow_limit takes three of the ten images."""
    slow = replace(from_baseline("slow", MeanFill()), num_calls=501)
    overrides = ["benchmark=digits_half", "baseline=mean_fill", "trainer.accelerator=cpu"]
    config = composed("evaluate", overrides)
    config["benchmark"]["digits_half"] |= {
        "slow_limit": 3,
        "metric": {"psnr": {"_target_": "restore.metric.psnr.PSNR"}},
    }
    config["benchmark"]["digits_half"]["data"]["limit"] = 10
    reports = evaluation.evaluate(config, make(str(tmp_path / "run")), [slow])
    assert [len(report.rows) for report in reports] == [10, 3]
    assert torch.equal(reports[0].pictures, reports[1].pictures)
    assert len(reports[0].pictures) == 3
