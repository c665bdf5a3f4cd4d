"""What an evaluation config names, as methods and benchmarks."""

from pathlib import Path
from typing import Any

from restore import checkpoint
from restore.build import build, restored
from restore.evaluation.benchmark import Benchmark, affordable, fingerprint
from restore.evaluation.method import Method, from_baseline, from_task

Config = dict[str, Any]


def benchmarks(config: Config, batch_size: int, num_calls: int) -> list[Benchmark]:
    """The benchmarks of a config for a method of num_calls, in batches up to batch_size."""
    made = []
    for name, node in config.get("benchmark", {}).items():
        node = affordable(node, num_calls)
        data = {**node["data"], "batch_size": min(node["data"]["batch_size"], batch_size)}
        made.append(
            build(
                {**node, "data": data},
                f"benchmark.{name}",
                name=name,
                protocol=fingerprint(node),
                reference=fingerprint(node["data"], "degradation"),
            )
        )
    return made


def method(path: Path, config: Config) -> Method:
    """A checkpoint as a method; sampler and guidance of the config replace its own."""
    content = checkpoint.read(path)
    own = {key: config[key] for key in ("sampler", "guidance") if config.get(key) is not None}
    seed, batch_size = content["config"]["seed"], content["config"]["data"]["batch_size"]
    return from_task(restored(content, own), content["experiment"], str(path), seed, batch_size)


def methods(config: Config, paths: list[str]) -> list[Method]:
    """All that an evaluation compares: checkpoints, baselines, networks of others."""
    trained = [method(Path(path), config) for path in paths]
    return trained + baselines(config) + published(config)


def baselines(config: Config) -> list[Method]:
    named = (config.get("baseline") or {}).items()
    return [from_baseline(name, build(node, f"baseline.{name}")) for name, node in named]


def published(config: Config) -> list[Method]:
    """Networks of others with their released weights."""
    named = (config.get("published") or {}).items()
    return [build(node, f"published.{name}").method(name) for name, node in named]
