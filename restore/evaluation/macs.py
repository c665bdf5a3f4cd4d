"""python -m restore.evaluation.macs: multiply-accumulates of results of before they were counted.

They are of the layers and the size of an image alone, so that the weights may be gone: the network
of the record experiments/<name>/result.json is built anew, and counted on the first image of the
benchmark, where it has as many parameters as the row says. Seconds and memory can be measured only.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from restore.build import build
from restore.config.compose import composed
from restore.config.trust import Trust
from restore.evaluation import load, results
from restore.evaluation.cost import CostMeter, total
from restore.evaluation.method import Method, from_task, sampling_of
from restore.evaluation.results import Row
from restore.types import InputError

ROOT = Path(__file__).resolve().parents[2]


def fill(path: Path) -> Iterator[str]:
    """Fills `macs` and `cost_size` of a model's row that has none; a line on each such row.

    path: of results.csv, with the records in folders beside it. No other cell changes.
    """
    columns, rows = results.read(path)
    for row in rows:
        if row["kind"] != "model" or row["macs"]:
            continue
        called = f"{row['experiment']} on {row['benchmark']}"
        try:
            row["macs"], row["cost_size"] = _count(row, path.parent)
            yield f"{called}: {row['macs']} MACs"
        except InputError as error:
            yield f"{called} is left as it is: {error}"
    results.write(path, columns, rows)


def _count(row: Row, records: Path) -> tuple[str, str]:
    """InputError where the record does not make the method that was measured."""
    method = _method(row["experiment"], records)
    if str(method.num_parameters) != row["parameters"]:
        raise InputError(f"it had {row['parameters']} parameters, now {method.num_parameters}")
    sampling = (row["sampler"], row["sampler_settings"], row["guidance"])
    if tuple(method.sampling) != sampling:
        raise InputError(f"its sampler was {' '.join(sampling)}, its record has {method.sampling}")
    config = composed("evaluate", [f"benchmark={row['benchmark']}"])
    [benchmark] = load.benchmarks(config, method.num_calls)
    meter = CostMeter(method)
    with torch.inference_mode():
        meter.restore(benchmark.data.first("test"), 1)
    cost = total(method, [meter.part])
    return str(cost.macs or ""), cost.size


def _method(experiment: str, records: Path) -> Method:
    """The task that the record's overrides make, with new weights."""
    path = records / experiment / "result.json"
    if not path.is_file():
        raise InputError(f"no record {path}")
    overrides = json.loads(path.read_text(encoding="utf-8"))["overrides"]
    config = composed("train", overrides)
    trust = Trust.of(config)
    facts = build(config["data"], "data", trust=trust).facts
    task = build(config["task"], "task", trust=trust, facts=facts).eval()
    return from_task(task, experiment, "", config["seed"], sampling_of(config["task"]))


if __name__ == "__main__":
    try:
        for line in fill(ROOT / "experiments" / "results.csv"):
            print(line, flush=True)
    except InputError as error:
        sys.exit(f"error: {error}")
