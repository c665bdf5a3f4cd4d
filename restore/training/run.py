"""A config is read once: from top to bottom, into a Run. After this nothing sees a config."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, Trainer, seed_everything

from restore import busy, launch, precision, tracking, workers
from restore.build import build, is_off
from restore.config import rules
from restore.config.trust import Trust
from restore.data.loader import check_batch
from restore.data.module import DataModule
from restore.data.streaming import Streaming
from restore.evaluation import load
from restore.evaluation.benchmark import Benchmark
from restore.evaluation.method import NO_SAMPLING, from_task
from restore.recovery.best import ConfigInCheckpoint
from restore.recovery.lock import new_id
from restore.task.base import Task
from restore.task.dry import check_learns
from restore.task.restoration import RestorationTask
from restore.trainer import tester, trainer
from restore.training import initial
from restore.training.limits import check_lengths
from restore.training.monitors import check_callbacks
from restore.types import Batch, Facts, InputError

if TYPE_CHECKING:
    from restore.training.resume import Resumed

Config = dict[str, Any]

# Callbacks of Lightning's that count batches, or the steps of every optimizer, and ours that count
# updates as all else does.
_LIGHTNING = "lightning.pytorch.callbacks."
OURS = {_LIGHTNING + "LearningRateMonitor": "restore.callback.learning_rate.LearningRates"}


@dataclass(frozen=True)
class Run:
    """All that a training needs, built and checked, before its first update."""

    id: str | None  # None for one that began before runs had one
    experiment: str
    overrides: list[str]
    folder: Path
    config: Config  # as it is written into the folder; nothing reads it
    notes: list[str]  # what was chosen for this machine, for the user
    init: dict[str, Any] | None  # what its weights started from, for the record
    data: DataModule
    task: Task
    sample: Batch  # the first of validation
    benchmarks: list[Benchmark]
    callbacks: dict[str, Any]
    trainer: Trainer
    tester: Trainer
    resumed: "Resumed | None"


def prepare(
    config: Config,
    folder: Path,
    experiment: str,
    overrides: list[str],
    extra: dict[str, Callback] | None = None,
    resumed: "Resumed | None" = None,
) -> Run:
    """Builds and checks everything that can be known to fail.

    extra: callbacks beside the configured ones. resumed: the run to go on with.
    """
    rules.check_run(config)
    launch.ready(config["trainer"])
    config, notes = workers.settle(*precision.settle(config))
    data, task, sample = _build(config)
    config = {**config, "task": task.contained(config["task"])}
    start, told = _start(task, config, resumed)
    benchmarks = _benchmarks(config, task, experiment)
    name = resumed.id if resumed else new_id()
    called = callbacks(config, data.facts, experiment, name, start, _codec(task, resumed))
    check_callbacks(called, task, sample)
    made = _trainer(config, folder, [*called.values(), *(extra or {}).values()], data)
    if resumed:
        resumed.check(task, data, made, called)
    return Run(
        id=name,
        experiment=experiment,
        overrides=overrides,
        folder=folder,
        config=config,
        notes=[*notes, *busy.notes(config["trainer"]), *told],
        init=start,
        data=data,
        task=task,
        sample=sample,
        benchmarks=benchmarks,
        callbacks=called,
        trainer=made,
        tester=tester(config),
        resumed=resumed,
    )


def _build(config: Config) -> tuple[DataModule, Task, Batch]:
    """The data, the task for its facts, and the first batch of validation, which it was shown.

    What is random in them follows the seed.
    """
    seed_everything(config["seed"], workers=True, verbose=False)
    trust = Trust.of(config)
    data: DataModule = build(config["data"], "data", trust=trust)
    data.check("train", "val")
    task: Task = build(config["task"], "task", trust=trust, facts=data.facts)
    sample = data.first("val")
    task.check(sample)
    check_learns(task, data.first("train"))
    return data, task, sample


def _trainer(config: Config, folder: Path, watching: list[Callback], data: DataModule) -> Trainer:
    made = trainer(config, folder, watching, tracking.loggers(config, folder))
    _check_shares(data, made)
    return made


def _benchmarks(config: Config, task: Task, experiment: str) -> list[Benchmark]:
    """The benchmarks of a run; InputError where its task cannot serve one of them."""
    num_calls = task.num_calls if isinstance(task, RestorationTask) else 0
    benchmarks = load.benchmarks(_cut_short(config), num_calls)
    if benchmarks:
        method = from_task(task, experiment, "", config["seed"], NO_SAMPLING)
        for benchmark in benchmarks:
            benchmark.check_method(method)
    return benchmarks


def _cut_short(config: Config) -> Config:
    """The config; where only some test batches are asked for, with batches as small as training's.

    A benchmark's own batch of a diffusion is minutes, which is what debug=smoke is to spare.
    """
    if not isinstance(config["trainer"].get("limit_test_batches"), int):
        return config
    size = config["data"]["batch_size"]
    cut = {
        name: {**one, "data": {**one["data"], "batch_size": min(size, one["data"]["batch_size"])}}
        for name, one in (config.get("benchmark") or {}).items()
    }
    return {**config, "benchmark": cut}


def _check_shares(data: DataModule, made: Trainer) -> None:
    """Raises InputError for what leaves a process without a batch, or apart from the others."""
    processes, images = made.world_size, len(data.samples("val"))
    if images < processes:
        raise InputError(
            f"data has {images} validation images for {processes} processes: lower trainer.devices "
            "(or trainer.num_nodes), or raise data.limit or the validation part"
        )
    samples = data.samples("train")
    share = len(samples) // processes
    check_batch(share, data.batch_size)
    check_lengths(made, share // data.batch_size, -(-images // processes // data.batch_size))
    repeated = vars(made).get("overfit_batches")
    if repeated and (processes > 1 or isinstance(samples.source, Streaming)):
        raise InputError(
            f"trainer.overfit_batches={repeated} repeats batches in one process, of "
            "data that is no stream: set trainer.devices=1, or choose other data"
        )


def _start(
    task: Task, config: Config, resumed: "Resumed | None"
) -> tuple[dict[str, Any] | None, list[str]]:
    """Gives the task its first weights, unless the run goes on with those that it had.

    Returns what the record says of the weights with which the training began, and what the user is
    told of them.
    """
    if resumed is not None:
        return resumed.content.get("init"), []
    began = initial.start(task, config.get("init"), config["data"])
    return (None, []) if began is None else (began.record(), began.told())


def _codec(task: Task, resumed: "Resumed | None") -> dict[str, Any] | None:
    """What is said of a codec's training; the file may be gone when its diffusion goes on."""
    return resumed.content.get("codec") if resumed else initial.coded(task)


def callbacks(
    config: Config,
    facts: Facts,
    experiment: str,
    run: str | None,
    init: dict[str, Any] | None = None,
    codec: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The configured callbacks by name, and the one that stores the config in checkpoints."""
    trust = Trust.of(config)
    named = {
        name: build(_ours(node), f"callback.{name}", trust=trust)
        for name, node in config["callback"].items()
        if not is_off(node)
    }
    known = dataclasses.asdict(facts)
    taught = initial.taught(named)
    stored = ConfigInCheckpoint(experiment, config, known, run, init, taught, codec)
    return {**named, "config": stored}


def _ours(node: Any) -> Any:
    target = node.get("_target_") if isinstance(node, dict) else None
    return {**node, "_target_": OURS[target]} if target in OURS else node
