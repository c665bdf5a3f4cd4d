"""A job's own process, in this process: it trains, goes on, and ends early when told."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from entry import ROOT
from latents import write_autoencoder
from test_train import TINY

from restore import precision
from restore.config.command import plain
from restore.sweep import journal, study
from restore.sweep.job import SweepJob, _interrupted, _settled, _train
from restore.types import InputError

SETTINGS = ["max_updates=6", "callback.recovery.every_n_updates=1", "seed=3"]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweepJob]:
    """Composes a job of the tiny default experiment."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(sys, "path", [*sys.path])  # a job adds to it

    def make(*settings: str, **given: Any) -> SweepJob:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            overrides = ["~benchmark", *TINY, *SETTINGS, *settings]
            kept = [one for one in overrides if not one.startswith("benchmark.")]
            config = plain(compose("train", kept))
        return SweepJob(0, config, journal.hash_of(config), "ddpm_digits", kept, **given)

    return make


def test_every_rank_reads_the_same_job(job: Callable[..., SweepJob], tmp_path: Path) -> None:
    made = job()
    made.write(tmp_path)
    assert SweepJob.read(tmp_path) == made
    assert [path.name for path in (tmp_path / ".hydra").iterdir()] == ["job.json"]


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Trains a job, whose fourth update is the last before its machine goes down."""
    from restore.callback.progress import Throughput

    whole = Throughput.on_train_batch_end

    def fail(self: Any, trainer: Any, module: Any, *rest: Any) -> None:
        if module.updates == 4:
            raise KeyError("the machine went down")
        whole(self, trainer, module, *rest)

    def train(made: SweepJob, folder: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Throughput, "on_train_batch_end", fail)
            patch.setattr(precision, "choose", lambda device: ("32-true", "this machine"))
            with pytest.raises(KeyError):
                _train(made, folder)

    return train


@pytest.mark.parametrize(("second", "resumed"), [("seed=3", [3]), ("seed=4", [])])
def test_an_interrupted_job_goes_on_if_it_is_the_same(
    job: Callable[..., SweepJob],
    cut: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    second: str,
    resumed: list[int],
) -> None:
    cut(job(), tmp_path)
    monkeypatch.setattr(precision, "choose", lambda device: ("bf16-mixed", "another machine"))
    _train(job(second), tmp_path)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["trainer"]["precision"] == ("32-true" if resumed else "bf16-mixed")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["training"]["updates"] == 6
    assert [one["updates"] for one in result["resumed"]] == resumed


@pytest.mark.parametrize(
    ("given", "settled"), [("auto", "32-true"), (None, "32-true"), ("bf16-mixed", "bf16-mixed")]
)
def test_a_precision_that_was_left_open_is_that_of_the_checkpoint(given: Any, settled: str) -> None:
    """Else an interrupted job begins anew, since its config differs from its checkpoint's."""
    config: dict[str, Any] = {"task": {}, "trainer": {"precision": given, "devices": 1}}
    content = {"config": {"trainer": {"precision": "32-true"}}}
    assert _settled(config, content)["trainer"] == {"precision": settled, "devices": 1}


def test_an_interrupted_job_among_latents_goes_on_with_the_same_codec(
    job: Callable[..., SweepJob], cut: Callable[..., None], tmp_path: Path
) -> None:
    codec, folder = tmp_path / "codec", tmp_path / "run"
    folder.mkdir()
    made = job("codec=checkpoint", f"task.codec.path={codec}", "task.network.multipliers=[1,2]")
    write_autoencoder(codec, channels=1)
    cut(made, folder)
    write_autoencoder(codec, channels=1, seed=1)
    assert _interrupted(made, folder) is None
    write_autoencoder(codec, channels=1)
    _train(made, folder)
    result = json.loads((folder / "result.json").read_text())
    assert result["training"]["updates"] == 6
    assert [one["updates"] for one in result["resumed"]] == [3]


def test_what_a_job_goes_on_with_is_as_strict_as_its_own_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its packages are trusted, or it would begin anew; what differs is not."""

    def load(*given: Any, **named: Any) -> None:
        seen.append((*given, named))
        raise InputError("no whole checkpoint")

    seen: list[Any] = []
    monkeypatch.setattr("restore.training.resume.load", load)
    own = {"packages": ["mylab"], "task": {"_target_": "other.Task"}}
    assert _interrupted(SweepJob(0, own, "hash", "any", []), tmp_path) is None
    assert seen == [(tmp_path, {"packages": ["mylab", "other"]}, {"allow_inexact": False})]


def test_a_job_that_is_stopped_tells_what_goes_on_with_its_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr("restore.training.run.prepare", lambda *given: "a run")
    monkeypatch.setattr("restore.training.fit.train", lambda *given: told.extend(given))
    _train(SweepJob(0, {}, "hash", "any", [], again="with its sweep"), tmp_path)
    assert told == ["a run", "with its sweep"]


@pytest.mark.parametrize(("earlier", "pruned"), [(0.0, True), (1e9, False)])
def test_a_job_that_lags_behind_is_pruned(
    job: Callable[..., SweepJob], tmp_path: Path, earlier: float, pruned: bool
) -> None:
    (tmp_path / "run").mkdir()
    storage = str(tmp_path / "study")
    opened = study.open_study(storage, "s", "minimize")
    opened.add_trial(
        optuna.create_trial(value=earlier, intermediate_values={2: earlier, 4: earlier})
    )
    trial = opened.ask()
    given = {"storage": storage, "name": "s", "trial": trial.number, "monitor": "val/loss"}
    settings = {"pruner": "median", "num_startup_trials": 1, "warmup_updates": 3}
    made = job(study=given | settings)
    if pruned:
        with pytest.raises(SystemExit) as ended:
            _train(made, tmp_path / "run")
        assert ended.value.code == 3
        assert not (tmp_path / "run" / "result.json").exists()
    else:
        _train(made, tmp_path / "run")
    reported = study.open_study(storage, "s").trials[trial.number].intermediate_values
    assert [*reported] == ([2, 4] if pruned else [2, 4, 6])
