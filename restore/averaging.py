"""`restore ema`: averages of other lengths after a training, and the one that measures best.

Importing this module must stay instant.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restore.errors import DONE
from restore.types import InputError

ABOUT = "rebuild averages of other lengths after training"
EXAMPLES = """A length is the standard deviation of an average's weights over time, as a share of
all updates. With --benchmark the averages and best.ckpt are measured, and the best of them becomes
best.ckpt; what it was stays as best-before.ckpt. KEY=VALUE is what evaluate.py takes.

examples:
  restore ema outputs/EXPERIMENT/RUN --std 0.05,0.1,0.2
  restore ema outputs/EXPERIMENT/RUN --std 0.05,0.1,0.2 --benchmark flowers_masks --by fid_flowers
  restore ema outputs/EXPERIMENT/RUN --std 0.1 --benchmark digits_half --with sampler=ddim"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="of a training with callback=power_ema"
    )
    parser.add_argument(
        "--std", required=True, help="lengths, shares of the training: 0.05,0.1,0.15"
    )
    parser.add_argument("--benchmark", metavar="NAME", help="measure them; the best is best.ckpt")
    parser.add_argument("--by", metavar="METRIC", help="not by the benchmark's first metric")
    parser.add_argument(
        "--with",
        dest="overrides",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="of evaluate.py",
    )
    parser.set_defaults(command=_asked)


def _asked(given: argparse.Namespace) -> int:
    try:
        stds = [float(std) for std in given.std.split(",")]
    except ValueError:
        raise InputError(f"--std={given.std}: give numbers, as --std 0.05,0.1") from None
    if given.benchmark is None and (given.by is not None or given.overrides):
        unused = f"--by {given.by}" if given.by is not None else "--with"
        raise InputError(f"{unused} says how to measure: add --benchmark NAME")
    return show(given.run, stds, given.benchmark, given.by, given.overrides)


def show(
    run: Path,
    stds: Sequence[float],
    benchmark: str | None = None,
    by: str | None = None,
    overrides: Sequence[str] = (),
) -> int:
    """Writes RUN/checkpoints/ema_<std>.ckpt and, by a benchmark, makes the best one best.ckpt.

    by: a metric of the benchmark; its first one if None. overrides: as of evaluate.py.

    Raises InputError where RUN keeps no averages, or for what the benchmark has not.
    """
    from restore.training import average

    if benchmark is None:
        from restore.config.command import paste, program

        written = paste("checkpoint", *map(str, average.checkpoints(run, stds)), many=True)
        print(f"next: {program('evaluate')} {written} benchmark=NAME")
        return DONE
    return _choose(run, stds, benchmark, by, overrides)


def _choose(
    run: Path, stds: Sequence[float], benchmark: str, by: str | None, overrides: Sequence[str]
) -> int:
    from restore.checkpoint import best_of
    from restore.config.compose import composed
    from restore.evaluation import evaluate, load
    from restore.evaluation.studies import LENGTHS
    from restore.sweep.show import ranking
    from restore.training import average

    best = best_of(run)
    config = composed("evaluate", [f"benchmark=[{benchmark.strip('[]')}]", *overrides])
    calls = load.method(best, config).num_calls
    _check_alone(config)
    measuring = load.benchmarks(config, calls)
    if len(measuring) != 1:
        raise InputError(f"--benchmark {benchmark}: one benchmark says what is best, so name one")
    metrics = {m.name: m.higher_is_better for m in measuring[0].metrics}
    metric = next(iter(metrics)) if by is None else by
    if metric not in metrics:
        raise InputError(f"--by {by}: {benchmark} measures {', '.join(metrics)}")
    paths = [best, *average.checkpoints(run, stds)]
    folder = run / LENGTHS
    folder.mkdir(exist_ok=True)
    reports = evaluate.evaluate({**config, "checkpoint": [*map(str, paths)]}, folder)
    values = [report.summary[metric] for report in reports]
    for path, value in zip(paths, values, strict=True):
        print(f"{path.stem:<14}{metric} {value:.6g}")
    # Of equals the first is ahead, so that what was best stays.
    print(average.instate(paths[ranking(values, metrics[metric])[0]], best))
    return DONE


def _check_alone(config: dict[str, Any]) -> None:
    """Raises InputError for methods beside the averages, none of which can be best.ckpt."""
    from restore.config import rules

    others = [key for key in ("checkpoint", "baseline", "published") if config.get(key)]
    if others or rules.has_outputs(config):
        named = (others or ["outputs"])[0]
        raise InputError(f"--with {named}=...: averages of RUN alone are measured: leave it out")
