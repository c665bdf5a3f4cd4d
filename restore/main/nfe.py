"""python -m restore.main.nfe [PRIOR] [--conditional MODEL] [--benchmark digits_half] [--limit 100]

The equal-NFE study: replacement, null space, PiGDM, DPS and RePaint of a prior, and five samplers
and classifier-free guidance of a conditional model, at several numbers of network calls, on the
same images, holes and noise; rows, a page and a plot in experiments/nfe/BENCHMARK/.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from restore import errors
from restore.config.compose import composed

CALLS = (5, 10, 20, 50, 100, 250)
COMMAND = "make nfe"
FOLDER = Path("experiments/nfe")
UNLED = "guidance=null"  # else a model's own guidance is added, and the calls that it costs
# Of a prior that saw no degradation. DDNM's own eta is 0.85 (Wang et al. 2023), and DPS walks as
# DDPM does (Chung et al. 2023, algorithm 1).
ZERO_SHOT: tuple[tuple[str, ...], ...] = (
    ("sampler=ddim", "guidance=replacement"),
    ("sampler=ddim", "sampler.method.eta=0.85", "guidance=null_space"),
    ("sampler=ddim", "guidance=pigdm"),
    ("sampler=ddpm", "guidance=dps"),
)
JUMPING = ("repaint_fast", "repaint_mid")  # 210 and 910 calls
CONDITIONAL: tuple[tuple[str, ...], ...] = (
    ("sampler=ddim", UNLED),
    ("sampler=dpm_solver", UNLED),
    ("sampler=heun", UNLED),
    ("sampler=ddpm", UNLED),
    ("sampler=renoise", UNLED),
)
CLASSIFIER_FREE = ("sampler=ddim", "guidance=cfg")
TWICE = {"sampler=heun", "guidance=cfg"}  # calls a step, or nearly so


def settings(
    prior: str | None, conditional: str | None, calls: Sequence[int], without: bool
) -> Iterator[list[str]]:
    """Overrides of conf/evaluate.yaml, one list an evaluation.

    without: whether the conditional model learned to do without its condition.
    """
    if prior is not None:
        for family in ZERO_SHOT:
            yield from ([f"checkpoint={prior}", *family, f"sampler.num_steps={n}"] for n in calls)
        yield from ([f"checkpoint={prior}", f"sampler={name}", UNLED] for name in JUMPING)
    if conditional is None:
        return
    for family in (*CONDITIONAL, CLASSIFIER_FREE) if without else CONDITIONAL:
        halved = 2 if TWICE & {*family} else 1
        for n in calls:
            yield [f"checkpoint={conditional}", *family, f"sampler.num_steps={max(1, n // halved)}"]


def does_without(conditional: str | None) -> bool:
    """Whether a model learned to do without its condition, so that guidance=cfg can lead it."""
    if conditional is None:
        return False
    from restore import zoo
    from restore.diffusion.condition import Condition

    node = zoo.read(conditional).content["config"]["task"].get("condition")
    return node is not None and float(node.get("dropout", Condition().dropout)) > 0


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="restore.main.nfe", description=__doc__)
    prior = "checkpoint or run folder of an unconditional diffusion"
    parser.add_argument("prior", nargs="?", help=prior)
    parser.add_argument("--conditional", help="the same, trained with condition=observation")
    parser.add_argument("--benchmark", default="digits_half")
    parser.add_argument("--limit", type=int, default=100, help="images")
    parser.add_argument("--calls", type=int, nargs="+", default=list(CALLS))
    parser.add_argument("--folder", type=Path, help="default: experiments/nfe/BENCHMARK")
    more = "settings of evaluate.py, as trainer=gpu"
    parser.add_argument(
        "--with", nargs="+", default=[], dest="more", metavar="KEY=VALUE", help=more
    )
    given = parser.parse_args(arguments)
    if given.prior is None and given.conditional is None:
        parser.error("name a PRIOR, or --conditional MODEL, or both")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    given = _given(arguments)
    from restore.evaluation import evaluate, nfe, results

    made = given.folder or FOLDER / given.benchmark
    made.mkdir(parents=True, exist_ok=True)
    shared = [
        f"benchmark={given.benchmark}",
        f"benchmark.{given.benchmark}.data.limit={given.limit}",
        f"benchmark.{given.benchmark}.slow_limit=null",
        *given.more,
    ]
    without = does_without(given.conditional)
    for overrides in settings(given.prior, given.conditional, given.calls, without):
        config = composed("evaluate", [*shared, *overrides])
        with tempfile.TemporaryDirectory() as folder:
            reports = evaluate.evaluate(config, Path(folder))
        results.append(made / nfe.RESULTS, reports)
    nfe.write(made, COMMAND)


if __name__ == "__main__":
    errors.run(lambda: main(sys.argv[1:]))
