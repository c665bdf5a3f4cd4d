"""A run in three steps: fit, evaluate the best checkpoint, write the record."""

import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from lightning.pytorch.profilers import SimpleProfiler

from restore import tracking
from restore.config.command import program
from restore.config.naming import go_on, packages_of
from restore.config.trust import foreign
from restore.data.survey import lines
from restore.evaluation import load, report, trained_on, upload
from restore.evaluation import record as origin
from restore.evaluation.curve import learning_curve
from restore.evaluation.runner import Report
from restore.evaluation.runner import evaluate as measure
from restore.folder import work_begins
from restore.picture import save
from restore.precision import exact
from restore.recovery import lock, preemption
from restore.recovery.on_checkpoint import OnCheckpoint
from restore.run_files import RESULT, read_metrics
from restore.training import lack, next_command
from restore.training.run import Run
from restore.types import InputError

PROFILED = 30  # lines of a profile: its head and what took longest

Numbers = dict[str, float]  # by name


def train(run: Run, again: str | None = None) -> dict[str, Any]:
    """Fits, evaluates, records; returns the record.

    again: what goes on with it if it is stopped, where more does than `resume.path`.
    """
    if run.trainer.is_global_zero:
        begin(run)
        for note in [*lines(run.data.summary("train", "val")), *run.notes]:
            print(note, flush=True)
    with tracking.finish_at_end(run.trainer.loggers):
        validation = fit(run, again)
        cost = spent(run)
        reports = evaluate(run)
        result = record(run, cost, validation, reports, answers(run))
    if run.trainer.is_global_zero:
        profiler = vars(run.trainer).get("profiler")
        if isinstance(profiler, SimpleProfiler):  # it tells a logger only, at a level that is off
            print("\n".join(profiler.summary().splitlines()[:PROFILED]))
        report.print_table(reports)
        print_end(run, validation)
    return result


def begin(run: Run) -> None:
    """Makes the folder this run's, which no other process may write in until it ends."""
    try:
        lock.hold(run.folder)
        if run.resumed is None or lock.identity(run.folder) is None:
            lock.write_identity(run.folder, run.id, run.experiment, run.overrides)
    except OSError as error:
        raise InputError(f"run folder {run.folder} cannot be written: {error.strerror}") from error
    work_begins(run.folder, yaml.safe_dump(run.config, sort_keys=False))


def fit(run: Run, again: str | None = None) -> Numbers:
    """Trains, or goes on; returns what the last validation logged. again: as of `train`."""
    checkpoint = None
    if run.resumed is not None:
        run.resumed.begin(run.trainer)
        checkpoint = str(run.resumed.checkpoint)
    try:
        with exact(str(run.trainer.precision)):
            run.trainer.fit(run.task, datamodule=run.data, ckpt_path=checkpoint, weights_only=True)
    except preemption.Preempted:
        if run.trainer.is_global_zero:
            print(f"to go on: {again or go_on(run.folder, run.config)}", flush=True)
        raise
    except Exception as error:
        known = lack.known(run, error)
        code = preemption.settle(run.trainer, known)
        if code is not None:
            sys.exit(code)
        if known is error:
            raise
        if run.trainer.is_global_zero and any(run.folder.glob("checkpoints/*.ckpt")):
            less = "resume.allow_inexact=true KEY=LESS"
            print(f"to go on: {go_on(run.folder, run.config)} {less}", flush=True)
        raise known from error
    logged = run.trainer.callback_metrics.items()
    return {name: float(value) for name, value in logged if name.startswith("val/")}


def spent(run: Run) -> dict[str, Any]:
    """What the training has cost, as long as nothing is evaluated, which counts its memory anew."""
    device = run.trainer.strategy.root_device.type  # the task itself is back on the processor
    return origin.training(run.callbacks["throughput"], run.task, device)


def evaluate(run: Run) -> list[Report]:
    """The best checkpoint on the benchmarks of the run."""
    if not run.benchmarks:
        return []
    best = load.method(best_checkpoint(run), {"packages": packages_of(run.config)})
    notes = [trained_on.note(best, benchmark) for benchmark in run.benchmarks]
    for note in filter(None, notes) if run.trainer.is_global_zero else ():
        print(note, flush=True)
    return [measure(run.tester, best, benchmark) for benchmark in run.benchmarks]


def answers(run: Run) -> Numbers:
    """What the command after the last checkpoint said; it had the time of the evaluation for it."""
    watched = run.callbacks.get("on_checkpoint")
    return watched.finish(run.trainer) if isinstance(watched, OnCheckpoint) else {}


def record(
    run: Run, cost: dict[str, Any], validation: Numbers, reports: list[Report], said: Numbers
) -> dict[str, Any]:
    """result.json with what was trained, how, at what cost, and what came out."""
    result = {
        "id": run.id,
        "experiment": run.experiment,
        "overrides": run.overrides,
        "seed": run.config["seed"],
        "training": cost,
        "init": run.init,
        "teacher": run.callbacks["config"].teacher,
        "data": run.data.summary("train", "val"),
        "validation": validation,
        "on_checkpoint": said,
        "resumed": run.callbacks["recovery"].history,
        "foreign": foreign(run.config),
        "evaluation": [report.describe(one) for one in reports],
        **origin.provenance(run.trainer.strategy.root_device.type),
    }
    if run.trainer.is_global_zero:
        lock.check_there(run.folder)
        report.write(run.folder, reports)
        origin.write_json(run.folder / RESULT, result)
        draw_curve(run.folder)
        files = {"best": best_checkpoint(run), "result": run.folder / RESULT}
        upload.track(run.trainer.loggers, reports, files)
    return result


def draw_curve(folder: Path) -> None:
    """curve.png of what metrics.csv has, where anything in it has a line."""
    picture = learning_curve(read_metrics(folder))
    if picture is not None:
        save(picture, folder / "curve.png")


def best_checkpoint(run: Run) -> Path:
    path = run.callbacks["best"].path
    assert isinstance(path, Path)
    return path


def print_end(run: Run, validation: Numbers) -> None:
    """The last validation where nothing else was measured, and a command that works next."""
    checkpoint = best_checkpoint(run)
    if run.benchmarks:
        print(f"next: {program('evaluate')} {' '.join(next_command.arguments(run, checkpoint))}")
        return
    for name, value in validation.items():
        print(f"{name:<24} {value:.4f}")
    print(f"checkpoint: {checkpoint}")
    print(f"next: {program('train')} -m {' '.join(next_command.other_seeds(run))}")
