"""An evaluation from its config to its files: every method on every benchmark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from lightning.pytorch import Trainer

from restore import busy, launch, precision, tracking, workers
from restore.config import rules
from restore.config.command import as_list
from restore.evaluation import load, report, results, runner, trained_on, upload
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.method import Method
from restore.evaluation.outputs import Outputs
from restore.folder import work_begins
from restore.recovery.preemption import Interrupted
from restore.trainer import tester

_CHECKOUT = Path(__file__).parents[2] / "experiments"


def results_file() -> Path:
    """Where records go: into the checkout, or below the working folder of an installed restore."""
    return (_CHECKOUT if _CHECKOUT.is_dir() else Path("experiments")) / "results.csv"


def evaluate(
    config: dict[str, Any], folder: Path, functions: Sequence[Method] = ()
) -> list[runner.Report]:
    """Reports of all methods on all benchmarks, and their files in `folder`.

    functions: methods that no config can name.
    """
    rules.check_evaluation(config, named=bool(functions))
    if config["record"]:
        results.read(results_file())  # a damaged one is refused now rather than behind the work
    launch.ready(config["trainer"])
    config, notes = workers.settle(*precision.settle(config))
    notes = [*notes, *busy.notes(config["trainer"])]
    pairs, noted = _pairs(config, functions)
    trainer = tester(config, config["trainer"]["precision"], is_called=bool(functions))
    tracker = tracking.tracker(config, folder)
    if trainer.is_global_zero:
        work_begins(folder, yaml.safe_dump(config, sort_keys=False))
        for note in (*notes, *noted):
            print(note, flush=True)
        if tracker is not None:
            tracker.begin("evaluate", "evaluate", config, config["benchmark"])
        print("\n".join(plan(pairs)), flush=True)
    with tracking.finish_at_end([tracker]):
        reports = _measured(trainer, pairs, config, folder)
        if trainer.is_global_zero:
            upload.track([tracker], reports, {})
    if trainer.is_global_zero:
        report.print_table(reports)
    return reports


def _measured(
    trainer: Trainer, pairs: list[tuple[Method, Benchmark]], config: dict[str, Any], folder: Path
) -> list[runner.Report]:
    """The reports of all pairs, written; where one fails, those before it are."""
    reports: list[runner.Report] = []
    try:
        for method, benchmark in pairs:
            shared = min(other.data.num_test for _, other in pairs if other.name == benchmark.name)
            size = config["batch_size"]
            reports.append(runner.evaluate(trainer, method, benchmark, size, shared))
    except (Exception, KeyboardInterrupt, Interrupted):
        if trainer.is_global_zero and reports:
            _write(config, folder, reports)
            print(f"kept: {len(reports)} of {len(pairs)} results, in {folder}", flush=True)
        raise
    if trainer.is_global_zero:
        _write(config, folder, reports)
    return reports


def _write(config: dict[str, Any], folder: Path, reports: list[runner.Report]) -> None:
    report.write(folder, reports)
    if config["record"]:
        results.append(results_file(), reports)
        print(f"recorded: {results_file().absolute()}", flush=True)


def plan(pairs: list[tuple[Method, Benchmark]]) -> list[str]:
    """A line for each pair of method and benchmark, and one for the network calls of all."""
    lines, total = [], 0
    for method, benchmark in pairs:
        images, samples, calls = benchmark.data.num_test, benchmark.num_samples, method.num_calls
        total += images * samples * calls
        cost = f", {samples} samples each, {calls} network calls a sample" if calls else ""
        lines.append(f"{method.name} on {benchmark.name}: {images} images{cost}")
    return [*lines, f"{total} network calls in all"] if total else lines


def _pairs(
    config: dict[str, Any], functions: Sequence[Method]
) -> tuple[list[tuple[Method, Benchmark]], list[str]]:
    """Every method with every benchmark, checked; and what must be said of outputs of others."""
    pairs: list[tuple[Method, Benchmark]] = []
    notes: list[str] = []
    for method in [*load.methods(config, as_list(config["checkpoint"])), *functions]:
        for benchmark in load.benchmarks(config, method.num_calls):
            benchmark.check_method(method)
            pairs.append((method, benchmark))
            notes += [line] if (line := trained_on.note(method, benchmark)) else []
    for benchmark in load.benchmarks(config, 0) if rules.has_outputs(config) else ():
        given = config["outputs"]
        place = Path(given["dir"]).expanduser()
        found = Outputs(benchmark, place, given["composite"], given["lossy"])
        method = found.method(given["name"] or place.resolve().name)
        benchmark.check_method(method)
        pairs.append((method, benchmark))
        notes += found.notes
    return pairs, notes
