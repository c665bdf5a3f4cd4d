"""The `search` section of a multirun: what its jobs are ranked by and how they are chosen."""

from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Search:
    """What conf/search/*.yaml sets.

    objective: `val/...` as logged by the last validation, or `benchmark/metric` of the best
    checkpoint. jobs_per_gpu: jobs that share one GPU of a machine; null leaves the GPUs alone.
    sampler: null is Hydra's own grid, which uses nothing of what follows. num_trials: jobs
    altogether. num_jobs: jobs that are launched together. seed: null draws one. storage: file or
    URL of the study, to share it between machines; null is a file in the sweep's folder. pruner:
    ends jobs whose objective lags behind that of others, asked after every validation.
    num_startup_trials: jobs before the sampler learns and the pruner acts. warmup_updates: updates
    of a job before it can be pruned. trial: set by the sweeper.
    """

    objective: str = "val/loss"
    direction: Direction = "minimize"
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
    from restore.config.signature import fits, spell, unknown  # loads torch
    from restore.types import InputError

    hints = get_type_hints(Search)
    for key, value in node.items():
        if key not in hints:
            raise InputError(unknown(f"search.{key}", key, hints))
        if not fits(value, hints[key]):
            raise InputError(
                f"search.{key}={value!r} has the wrong type: it takes {spell(hints[key])}"
            )
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


def check_objective(objective: str, config: dict[str, Any]) -> None:
    """Raises InputError for an objective of a benchmark that the config does not measure.

    What validation logs is only known to a validation.
    """
    if objective.startswith("val/"):
        return
    known = [
        f"{name}/{metric}"
        for name, node in (config.get("benchmark") or {}).items()
        for metric, value in node["metric"].items()
        if value is not None
    ]
    if objective not in known:
        from restore.types import InputError

        choices = ", ".join(["val/loss", *known])
        raise InputError(f"search.objective={objective} is not measured: choose from {choices}")


def value_of(objective: str, result: dict[str, Any]) -> float:
    """The objective in the record of a run (result.json); NaN where the record holds null.

    Raises:
        KeyError: not in the record; the message names what is.
    """
    known = dict(result["validation"])
    for one in result["evaluation"]:
        known |= {f"{one['benchmark']}/{name}": value for name, value in one["metrics"].items()}
    if objective not in known:
        raise KeyError(f"search.objective={objective} was not measured, but {', '.join(known)}")
    return float("nan") if known[objective] is None else float(known[objective])
