"""The `search` section of a multirun: what its jobs are ranked by and how they are chosen."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_type_hints

from restore.callback.monitor import best_is_high
from restore.config.value import fits, unknown, wrong_type
from restore.types import InputError

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Search:
    """What conf/search/*.yaml sets.

    objective: `val/...` as logged by the last validation, or `benchmark/metric` of the best
    checkpoint. direction: null is that of the metric, and no other is accepted. jobs_per_gpu: jobs
    that share one GPU of a machine; null leaves the GPUs alone.
    sampler: null is Hydra's own grid, which uses nothing of what follows. num_trials: jobs
    altogether. num_jobs: jobs that are launched together. seed: null draws one. storage: file or
    URL of the study, to share it between machines; null is a file in the sweep's folder. pruner:
    ends jobs whose objective lags behind that of others, asked after every validation.
    num_startup_trials: jobs before the sampler learns and the pruner acts. warmup_updates: updates
    of a job before it can be pruned. trial: set by the sweeper.
    """

    objective: str = "val/loss"
    direction: Direction | None = None
    jobs_per_gpu: int | None = None
    sampler: Literal["tpe", "random"] | None = None
    num_trials: int = 20
    num_jobs: int = 1
    seed: int | None = 0
    storage: str | None = None
    pruner: Literal["median", "halving"] | None = None
    num_startup_trials: int = 5
    warmup_updates: int = 0
    trial: int | None = None


def parse(node: dict[str, Any] | None) -> Search:
    """The settings of a composed `search` section; raises InputError for what cannot be meant."""
    if not node:
        return Search()
    hints = get_type_hints(Search)
    for key, value in node.items():
        if key not in hints:
            raise InputError(unknown(f"search.{key}", key, hints))
        if not fits(value, hints[key]):
            raise InputError(f"search.{key}={value!r} {wrong_type(hints[key])}")
    search = Search(**node)
    for key, least in _LEAST.items():
        value = getattr(search, key)
        if value is not None and value < least:
            raise InputError(f"search.{key}={value} must be at least {least}")
    if search.pruner and not search.objective.startswith("val/"):
        raise InputError(
            f"search.pruner={search.pruner} needs an objective that validation logs, such as "
            f"val/loss: {search.objective} is measured at the end; or set search.pruner=null"
        )
    return search


_LEAST = {
    "jobs_per_gpu": 1,
    "num_trials": 1,
    "num_jobs": 1,
    "seed": 0,
    "num_startup_trials": 0,
    "warmup_updates": 0,
}


def settle(search: Search, config: dict[str, Any]) -> Search:
    """The search with the direction of its objective.

    Raises InputError for an objective that the runs of `config` do not measure, and for a direction
    that would crown the worst job.
    """
    known = {"val/loss": False}
    if search.objective not in known:
        known |= directions_by(search.objective, config)
    if search.objective not in known:
        raise InputError(
            f"search.objective={search.objective} is not measured: choose from {', '.join(known)}"
        )
    direction: Direction = "maximize" if known[search.objective] else "minimize"
    if search.direction not in (None, direction):
        raise InputError(
            f"search.direction={search.direction} would crown the worst job: the best "
            f"{search.objective} is the one to {direction}; leave search.direction out"
        )
    return replace(search, direction=direction)


def as_given(search: Search) -> Search:
    """The same where no config tells for all jobs; InputError for a benchmark without direction."""
    if search.direction is not None:
        return search
    if search.objective.startswith("val/"):
        high = best_is_high(search.objective)
        return replace(search, direction="maximize" if high else "minimize")
    raise InputError(
        f"search.objective={search.objective} may differ from job to job in a sweep over "
        "experiment or benchmark: say whether to search.direction=minimize or maximize it"
    )


def check_benchmark(objective: str, config: dict[str, Any]) -> None:
    """Raises InputError for an objective of a benchmark that the config does not have."""
    name = objective.partition("/")[0]
    if name != "val" and name not in (config.get("benchmark") or {}):
        raise InputError(f"search.objective={objective} is not measured: give benchmark={name}")


def directions_by(objective: str, config: dict[str, Any]) -> dict[str, bool]:
    """What the runs of a config measure, and whether higher is better; loads torch.

    Only what an objective of that kind can be: what validation logs, or the benchmarks' metrics.
    """
    from restore.build import build
    from restore.config.trust import Trust

    if objective.startswith("val/"):
        from restore.task.dry import logged_in_validation

        trust = Trust.of(config)
        data = build(config["data"], "data", trust=trust)
        task = build(config["task"], "task", trust=trust, facts=data.facts)
        logged = logged_in_validation(task, data.first("val"))
        names = [objective] if logged is None else logged  # only a run can tell
        return {name: best_is_high(name) for name in names}
    found = {}
    for benchmark, node in (config.get("benchmark") or {}).items():
        for key, value in node["metric"].items():
            if value is not None:
                place = f"benchmark.{benchmark}.metric.{key}"
                metric = build(value, place, trust=Trust.of(config))
                found[f"{benchmark}/{metric.name}"] = bool(metric.higher_is_better)
    return found


def value_of(objective: str, result: dict[str, Any]) -> float:
    """The objective in the record of a run (result.json); NaN where the record holds null.

    Raises:
        KeyError: not in the record; the message names what is.
    """
    known = values(result)
    if objective not in known:
        raise KeyError(f"search.objective={objective} was not measured, but {', '.join(known)}")
    return known[objective]


def values(result: dict[str, Any]) -> dict[str, float]:
    """All that a record holds, as `val/...` and `benchmark/metric`."""
    known = dict(result["validation"])
    for one in result["evaluation"]:
        known |= {f"{one['benchmark']}/{name}": value for name, value in one["metrics"].items()}
    return {name: float("nan") if value is None else float(value) for name, value in known.items()}


def directions(result: dict[str, Any]) -> dict[str, bool]:
    """Whether higher is better, of all that a record holds; by the metrics' own word, which is of
    their buckets, too."""
    known = {name: best_is_high(name) for name in result["validation"]}
    for one in result["evaluation"]:
        said = one.get("higher_is_better", {})
        for name in one["metrics"]:
            metric = name.partition("[")[0]
            if metric in said:
                known[f"{one['benchmark']}/{name}"] = said[metric]
    return known
