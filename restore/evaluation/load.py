"""What an evaluation config names, as methods and benchmarks."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

from restore import zoo
from restore.build import build, restored
from restore.config.command import as_list
from restore.config.trust import Trust
from restore.evaluation.benchmark import Benchmark, affordable, fingerprint
from restore.evaluation.method import Drawing, Method, from_baseline, from_task, sampling_of
from restore.evaluation.results import checkpoint_name
from restore.task.adversarial import AdversarialTask
from restore.types import InputError

Config = dict[str, Any]


def benchmarks(config: Config, num_calls: int) -> list[Benchmark]:
    """The benchmarks of a config for a method of num_calls.

    Raises:
        InputError: settings or data of one of them, which the message names.
    """
    return [
        _benchmark(name, affordable(node, num_calls), Trust.of(config))
        for name, node in config.get("benchmark", {}).items()
    ]


def _benchmark(name: str, node: Config, trust: Trust) -> Benchmark:
    own = {
        "name": name,
        "protocol": fingerprint(node),
        "reference": fingerprint(node["data"], "degradation"),
        "task": fingerprint(node["data"]),
    }
    try:
        made: Benchmark = build(node, f"benchmark.{name}", trust=trust, **own)
    except InputError as error:
        if name in str(error):
            raise
        raise InputError(f"benchmark {name}: {error}, or choose another benchmark") from error
    return made


def method(place: str | Path, config: Config) -> Method:
    """A checkpoint, the best one of a run folder, a bundle or a released model, as a method.

    Sampler and guidance of the config replace its own.
    """
    content, path = zoo.read(place)
    own = named_sampling(config)
    seed, told = content["config"]["seed"], content["config"]["task"]
    if "sampler" not in told:
        _refuse_sampling(place, told, own)
        own = {}
    task = restored(content, own, as_list(config.get("packages")))
    if isinstance(task, AdversarialTask):
        task.adversary = None  # it served the training, and nothing of it restores
    ensembled = bool(config.get("self_ensemble"))
    drawing = Drawing(config.get("start"), config.get("mean_of") or 1, ensembled)
    sampling = sampling_of({**told, **own}, drawing)
    made = from_task(task, content["experiment"], str(path), seed, sampling, drawing)
    # Its training may go on, and write another file of that name before the end.
    return replace(made, data=content["config"]["data"], identity=checkpoint_name(str(path)))


def named_sampling(config: Config) -> Config:
    """The sampler and guidance that a config names; a guidance that is None is to be left out."""
    sampler = {"sampler": config["sampler"]} if config.get("sampler") is not None else {}
    return sampler | ({"guidance": config["guidance"]} if "guidance" in config else {})


def _refuse_sampling(place: str | Path, task: Config, named: Config) -> None:
    """Raises InputError where a sampler or a guidance is named for a network that draws nothing."""
    idle = [f"{key}=" for key, node in named.items() if node is not None]
    if idle:
        raise InputError(
            f"{place}: {task['_target_'].rpartition('.')[2]} draws no samples: leave out "
            f"{' and '.join(idle)}, or evaluate it in a call of its own"
        )


def methods(config: Config, paths: list[str]) -> list[Method]:
    """All methods that an evaluation compares: checkpoints, baselines, networks of others."""
    trained = [method(path, config) for path in paths]
    return trained + baselines(config) + published(config)


def baselines(config: Config) -> list[Method]:
    named, trust = (config.get("baseline") or {}).items(), Trust.of(config)
    built = {name: build(node, f"baseline.{name}", trust=trust) for name, node in named}
    return [from_baseline(_called(name, one, config), one) for name, one in built.items()]


def _called(name: str, baseline: Any, config: Config) -> str:
    """The name, with the settings that are not the class's own: `median(size=7)`."""
    usual = inspect.signature(type(baseline)).parameters
    settings = [
        f"{key}={value}"
        for key, value in sorted(config["baseline"][name].items())
        if not key.startswith("_") and (key not in usual or usual[key].default != value)
    ]
    return f"{name}({', '.join(settings)})" if settings else name


def published(config: Config) -> list[Method]:
    """Networks of others with their released weights."""
    named, trust = (config.get("published") or {}).items(), Trust.of(config)
    built = {name: build(node, f"published.{name}", trust=trust) for name, node in named}
    return [one.method(name, bool(config.get("self_ensemble"))) for name, one in built.items()]
