"""What a W&B run holds is read back from its file; what wandb does wrong leaves the training."""

import contextlib
import csv
import json
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import wandb
from entry import ROOT, Command
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from line import Line, batches
from PIL import Image

from restore.callback.progress import MaxUpdates
from restore.callback.samples import Samples
from restore.evaluation import upload
from restore.recovery.best import Checkpoint, ConfigInCheckpoint
from restore.recovery.points import Recovery
from restore.tracking import WandB, finish_at_end
from restore.types import InputError

CORE = Path(wandb.__file__).parent / "bin" / "wandb-core"
CONFIG = {
    "seed": 7,
    "task": {"_target_": "restore.task.diffusion.Diffusion", "accumulate": 1},
    "data": {"root": "/somewhere", "source": {"_target_": "restore.data.mnist.MNIST"}},
}


def fit(tracker: WandB, task: Line, *callbacks: Callback, resume: Path | None = None) -> None:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=-1,
        default_root_dir=tracker.folder,
        callbacks=[ConfigInCheckpoint("lines", CONFIG, {}), Recovery(), *callbacks, tracker],
        logger=[CSVLogger(str(tracker.folder), name="", version=""), tracker],
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        val_check_interval=4,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with finish_at_end(trainer.loggers):
        trainer.fit(task, batches(), batches(1), ckpt_path=resume, weights_only=True)


def records(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of the only run in `folder`, by type."""
    (run,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    ended = subprocess.run(
        [CORE, "leet", "inspect", "--json", "--run-file", run, run.parent],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for line in ended.stdout.splitlines():
        record = json.loads(line)
        found.setdefault(record["type"], []).append(record[record["type"]])
    return found


def logged(folder: Path, key: str) -> dict[int, Any]:
    """Update -> value of a metric."""
    items = [record["item"] for record in records(folder)["history"]]
    return {int(item["step"]): item[key] for item in items if key in item}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of a sweep, 8 updates, two validations."""
    sweep = tmp_path_factory.mktemp("sweeps") / "monday"
    (sweep / "lr" / "3").mkdir(parents=True)
    (sweep / "sweep.json").write_text("{}")
    tracker = WandB(str(sweep / "lr" / "3"), project="lines")

    class Keep(Callback):
        def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
            upload.track([tracker], [], {"best": tracker.folder / "checkpoints" / "best.ckpt"})

    called = (Samples("val/score", num_images=1), Checkpoint("best", "val/score"), MaxUpdates(8))
    fit(tracker, Line(scores=(0.5, 0.25)), *called, Keep())
    return tracker.folder


def test_run_says_what_it_is(run: Path) -> None:
    (first, *_) = records(run)["run"]
    assert (first["project"], first["run_group"], first["job_type"]) == ("lines", "monday", "train")
    assert sorted(first["tags"]) == ["Diffusion", "MNIST", "lines"]
    assert first["display_name"] == "lines-3"
    config = first["config"]["update"]
    assert config["seed"] == 7 and config["task"] == CONFIG["task"]
    assert "/somewhere" not in json.dumps(config)  # as in checkpoints


def test_every_metric_is_against_updates(run: Path) -> None:
    metrics = {
        record.get("name") or record["glob_name"]: record for record in records(run)["metric"]
    }
    assert metrics["*"]["step_metric"] == "step"
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for key in ("train/square", "val/score"):
        expected = {int(row["step"]): float(row[key]) for row in rows if row[key]}
        assert logged(run, key) == pytest.approx(expected)
    assert list(logged(run, "val/score")) == [4, 8]


def test_steps_and_the_best_so_far_are_logged(run: Path) -> None:
    """Line's gradient is 2 (w - 3), and a step of 0.1 leaves 0.8 of the distance from (1, -2)."""
    distance = {update: (4 + 25) ** 0.5 * 0.8 ** (update - 1) for update in range(1, 9)}
    by_hand = {update: 2 * one for update, one in distance.items()}
    assert logged(run, "optimizer/gradient_norm") == pytest.approx(by_hand)
    assert logged(run, "optimizer/learning_rate") == pytest.approx(dict.fromkeys(by_hand, 0.1))
    assert logged(run, "best/score") == {4: 0.5, 8: 0.25}


def test_pictures_are_the_eight_bit_files(run: Path) -> None:
    (folder,) = (run / "wandb").glob("offline-run-*")
    assert logged(run, "samples._type") == {4: "image-file", 8: "image-file"}
    pixels = np.asarray(Image.open(folder / "files" / logged(run, "samples.path")[8]))
    assert pixels.dtype == np.uint8 and pixels.max() == 255
    assert np.array_equal(pixels, np.asarray(Image.open(run / "samples" / "last.png")))


def test_best_checkpoint_is_an_artifact(run: Path) -> None:
    (artifact,) = records(run)["artifact"]
    assert (artifact["name"], artifact["type"]) == ("lines-best", "model")
    (content,) = artifact["manifest"]["contents"]
    assert content["local_path"] == str(run / "checkpoints" / "best.ckpt")


def test_id_is_in_the_checkpoint_and_goes_on(run: Path, tmp_path: Path) -> None:
    (first, *_) = records(run)["run"]
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert torch.load(checkpoint, weights_only=True)["tracking"] == {"id": first["run_id"]}
    fit(WandB(str(tmp_path)), Line(), MaxUpdates(12), resume=checkpoint)
    (again, *_) = records(tmp_path)["run"]
    assert again["run_id"] == first["run_id"]
    assert min(logged(tmp_path, "train/square")) == 9


def test_all_parts_of_a_resumed_run_are_to_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("offline-run-2-x", "offline-run-1-x", "offline-run-1-y"):
        (tmp_path / name / "files").mkdir(parents=True)
    tracker = WandB(str(tmp_path))
    own = {"dir": str(tmp_path / "offline-run-2-x" / "files"), "id": "x", "offline": True}
    tracker._run = SimpleNamespace(**own, define_metric=lambda *a, **k: None)
    tracker._announce()
    parts = f"{tmp_path / 'offline-run-1-x'} {tmp_path / 'offline-run-2-x'}"
    assert capsys.readouterr().out == f"tracked: wandb sync {parts}\n"


def test_job_that_ended_well_says_so(run: Path) -> None:
    (ended,) = records(run)["exit"]
    assert ended.get("exit_code", 0) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [(RuntimeError("x"), 1), (InputError("x"), 2), (SystemExit(143), 143), (SystemExit("x"), 1)],
    ids=repr,
)
def test_job_that_failed_says_so(tmp_path: Path, error: BaseException, code: int) -> None:
    tracker = WandB(str(tmp_path))
    with pytest.raises(type(error)), finish_at_end([None, tracker]):
        tracker.begin("train", "lines", {}, [])
        raise error
    assert how_it_ended(tmp_path)["exit_code"] == code


def how_it_ended(folder: Path) -> dict[str, Any]:
    """The exit record, which wandb's own process may write a moment after the run has ended."""
    for _ in range(20):
        if found := records(folder).get("exit"):
            return found[0]
        time.sleep(0.5)
    raise AssertionError("no exit record was written")


def test_runs_of_one_process_do_not_mix(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    trackers = []
    for number, folder in enumerate(folders):
        folder.mkdir()
        trackers.append(WandB(str(folder)))
        trackers[-1].begin("train", "lines", {}, [])
        trackers[-1].log_metrics({"number": float(number)}, 1)
    with finish_at_end(trackers):
        pass
    assert [logged(folder, "number") for folder in folders] == [{1: 0}, {1: 1}]


def test_only_rank_0_has_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    monkeypatch.setattr(wandb, "init", lambda **given: begun.append(given))
    tracker = WandB(str(tmp_path))
    other: Any = SimpleNamespace(is_global_zero=False, sanity_checking=False)
    task: Any = SimpleNamespace(updates=1)
    with finish_at_end([tracker]):
        tracker.on_fit_start(other, task)
        tracker.log_metrics({"x": 1.0}, 1)
        tracker.on_validation_end(other, task)
    assert not begun and not list(tmp_path.iterdir())


def broken(*args: object, **kwargs: object) -> None:
    raise RuntimeError("server said no\nand more")


@contextlib.contextmanager
def one_warning(says: str) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    found = [str(one.message) for one in caught if "W&B" in str(one.message)]
    assert found == [f"W&B: {says}; the run goes on, its own folder has everything"]


@pytest.mark.parametrize("place", ["init", "Run.log", "Run.finish", "Run.define_metric", "Image"])
def test_what_wandb_raises_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(f"wandb.{place}", broken)
    with one_warning("server said no"):
        fit(WandB(str(tmp_path)), Line(), Samples("val/score", num_images=1), MaxUpdates(8))
    with (tmp_path / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/square"]]
    assert steps == list(range(1, 9))


def test_without_wandb_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with one_warning("import of wandb halted; None in sys.modules"):
        fit(WandB(str(tmp_path)), Line(), MaxUpdates(4))


def test_without_a_key_it_goes_on_offline_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr("wandb.errors.term.can_use_terminput", lambda: True)
    monkeypatch.setattr("wandb.errors.term._terminput", pytest.fail)
    with one_warning("no API key, set WANDB_API_KEY or call `wandb login`"):
        fit(WandB(str(tmp_path), offline=False), Line(), MaxUpdates(4))
    assert list(logged(tmp_path, "train/square")) == [1, 2, 3, 4]


@pytest.mark.parametrize("setting", ["timeout", "upload_timeout"])
def test_impossible_numbers(setting: str) -> None:
    with pytest.raises(InputError, match="must be positive seconds"):
        WandB("", **{setting: 0.0})


CHILD = """
import sys, time
from pathlib import Path
from restore.callback.progress import MaxUpdates
from test_tracking import Line, WandB, fit
print(time.monotonic(), flush=True)
fit(WandB(sys.argv[1], offline=sys.argv[2] == "offline", timeout=2.0), Line(), MaxUpdates(4))
"""


WANDB_WAITS = 90  # seconds, where nothing shortens its patience (wandb.Settings.init_timeout)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_server_that_never_answers(tmp_path: Path, environment: dict[str, str], mode: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)  # the kernel accepts; nobody answers
        own = {
            "WANDB_BASE_URL": f"http://127.0.0.1:{server.getsockname()[1]}",
            "WANDB_API_KEY": "a" * 40,
            "HOME": str(tmp_path / "home"),
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, Path(__file__).parent, ROOT / "tests"))),
        }
        ended = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path), mode],
            env=environment | own,
            capture_output=True,
            text=True,
            timeout=300,
        )
        seconds = time.monotonic() - float(ended.stdout.split()[0])
    assert ended.returncode == 0, ended.stderr
    assert seconds < WANDB_WAITS  # 4 are meant; a machine with other work takes some times as many
    assert ended.stderr.count("UserWarning: W&B:") == (mode == "online")
    assert list(logged(tmp_path, "train/square")) == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.ci
def test_training_and_evaluation_from_the_command_line(command: Command, tmp_path: Path) -> None:
    few = ("task.network.width=4", "task.network.attention=[]", "data.limit=32")
    run, again = tmp_path / "run", tmp_path / "again"
    ended = command(*few, "logger=wandb", "debug=smoke", f"hydra.run.dir={run}")
    assert ended.code == 0, ended.err
    assert "wandb sync" in ended.out and (run / "metrics.csv").exists()
    check_report(run, "ddpm_digits", run / "per_image.csv")
    assert [one["name"] for one in records(run)["artifact"] if one["type"] != "run_table"] == [
        "ddpm_digits-best",
        "ddpm_digits-result",
    ]
    own = (f"checkpoint={run}/checkpoints/best.ckpt", "benchmark=digits_half", "logger=wandb")
    less = ("benchmark.digits_half.data.limit=4", f"hydra.run.dir={again}")
    ended = command(*own, *less, script="evaluate")
    assert ended.code == 0, ended.err
    check_report(again, "ddpm_digits", again / "per_image.csv")
    assert records(again)["run"][0]["job_type"] == "evaluate"


def check_report(folder: Path, method: str, per_image: Path) -> None:
    """Tables and pictures of the report in `folder` are in its W&B run."""
    (run,) = (folder / "wandb").glob("offline-run-*")
    (items,) = [
        record["item"]
        for record in records(folder)["history"]
        if "digits_half/per_image.path" in record["item"]
    ]
    table = json.loads((run / "files" / items["digits_half/per_image.path"]).read_text())
    with per_image.open() as file:
        rows = list(csv.DictReader(file))
    assert [str(row[1]) for row in table["data"]] == [row["index"] for row in rows]
    assert items[f"digits_half/{method}/images._type"] == "images/separated"
    for kind in ("comparison",):
        pixels = np.asarray(Image.open(run / "files" / items[f"digits_half/{kind}.path"]))
        assert np.array_equal(pixels, np.asarray(Image.open(folder / f"{kind}.png")))


@pytest.mark.parametrize("mode", ["disabled", "offline"])
def test_the_mode_of_the_environment_is_obeyed_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder, mode: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_NAME", "mine")
    monkeypatch.setenv("WANDB_TAGS", "a,b")
    made = WandB(str(tmp_path), offline=False, tags=["c"], group="g")
    started: list[dict[str, Any]] = []
    start = made._start

    def noted(offline: bool, described: dict[str, Any]) -> Any:
        started.append(described)
        return start(offline, described)

    monkeypatch.setattr(made, "_start", noted)
    made.begin("train", "ddpm", {}, ["own"])
    made.finish(0)
    assert (tmp_path / "wandb").exists() == (mode == "offline")
    assert not [one for one in recwarn if "W&B" in str(one.message)]
    for described in started:
        assert (described["name"], described["group"]) == ("mine", "g")
        assert described["tags"] == ["c", "a", "b", "own"]
