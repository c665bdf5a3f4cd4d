"""The trainings on record: their table, and what a person reads of each."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restore.config.command import conf
from restore.evaluation import spelling
from restore.evaluation.markup import NONE, Table
from restore.evaluation.results import Row
from restore.evaluation.studies import PAGE
from restore.released import is_bundle
from restore.run_files import RESULT, read_result
from restore.types import InputError

# Metrics that are named as the answer, where they were measured.
_ANSWERS = ("original_label_share", "hole_psnr", "psnr", "ssim")
_BROKEN = (KeyError, TypeError, ValueError, ZeroDivisionError)  # what reading a bad record raises
NOT_MEASURED = "not measured on a benchmark"
PICTURES = ("samples.png", "curve.png")


def trainings(folder: Path) -> list[Table]:
    """A line for each experiments/<name>/result.json: what training cost and what came out."""
    header = ["experiment", "updates", "seconds", "images/s", "parameters", "device", "commit"]
    rows = [_record(path) for path in sorted(folder.glob(f"*/{RESULT}"))]
    return [Table("Trainings on record", [*header, "results"], rows)] if rows else []


def pages(folder: Path, rows: Sequence[Row]) -> dict[Path, str]:
    """README.md of each training on record whose weights are not released; a release has a card.

    rows: of results.csv, which answer for a training that ended without a benchmark.
    """
    found = [path for path in sorted(folder.glob(f"*/{RESULT}")) if not is_bundle(path.parent)]
    return {path.with_name(PAGE): _page(path, rows) for path in found}


def _page(path: Path, rows: Sequence[Row]) -> str:
    record = read_result(path.parent)
    try:
        training = record["training"]
        updates, size = training["updates"], round(training["images"] / training["updates"])
        parameters = spelling.millions(training["parameters"])
        setting = f"{updates} updates of {size} images, {parameters} parameters"
        own = [row for row in rows if row["experiment"] == path.parent.name]
        later = list(dict.fromkeys(row["benchmark"] for row in own))
        lines = told(path.parent.name, record["experiment"], record, setting, _measured(later))
    except _BROKEN as error:
        raise _refusal(path, error) from error
    start = " from those that it starts with" if record.get("init") else ""
    lines.append(f"- Weights: not in this folder; the command trains them{start}")
    shown = [name for name in PICTURES if path.with_name(name).is_file()]
    return "\n".join(lines + [f"\n![{Path(name).stem}]({name})" for name in shown]) + "\n"


def told(
    name: str,
    experiment: str,
    record: Mapping[str, Any],
    setting: str,
    later: str,
) -> list[str]:
    """Lines of markdown: question, setting, answer, command, seconds, start, teacher.

    record: result.json, {} where there is none. later: the answer where the training ended without
    a benchmark.
    """
    overrides = record.get("overrides") or [f"experiment={experiment}"]
    return [
        f"# {name}",
        f"- Question: {_question(experiment)}",
        f"- Setting: {setting}",
        f"- Answer: {_answer(record.get('evaluation', [])) or later}",
        f"- Command: `python train.py {' '.join(map(shlex.quote, overrides))}`",
        f"- Seconds: {_cost(record)}",
        *_start(record.get("init")),
        *_teacher(record.get("teacher")),
    ]


def _start(init: Mapping[str, Any] | None) -> list[str]:
    """The line about the weights that a training began with; none where it began from nothing."""
    if init is None:
        return []
    return [
        f"- Start: weights of {init['experiment']} after {init['updates']} updates "
        f"({init['checkpoint']}; a later release of that name is another one); updates and seconds "
        "are those since"
    ]


def _teacher(taught: Mapping[str, Any] | None) -> list[str]:
    """The line about the model whose results were the targets; none where the images were."""
    if taught is None:
        return []
    return [f"- Teacher: turned views of {taught['experiment']} ({taught['checkpoint']})"]


def _question(experiment: str) -> str:
    """The first comment of the experiment's config."""
    path = conf() / "experiment" / f"{experiment}.yaml"
    written = path.read_text(encoding="utf-8") if path.is_file() else ""
    said = re.search(r"^# (?!@package)((?:.*\n)(?:# .*\n)*)", written, re.MULTILINE)
    return " ".join(said[1].replace("\n# ", " ").split()) if said else "not stated."


def _answer(evaluation: Sequence[Mapping[str, Any]]) -> str:
    """What was measured at the end of the training; "" for nothing."""
    found = []
    for one in evaluation:
        names = [*_ANSWERS, *(name for name in one["metrics"] if name.startswith("fid"))]
        values = {name: one["metrics"].get(name) for name in names}
        named = [f"{name} {value:.4g}" for name, value in values.items() if value is not None]
        found.append(f"{one['benchmark']} (n = {one['n']}): {', '.join(named)}")
    return "; ".join(found)


def _measured(benchmarks: Sequence[str]) -> str:
    if not benchmarks:
        return NOT_MEASURED
    return f"measured after the training on {', '.join(benchmarks)}: [the tables](../{PAGE})"


def _cost(record: Mapping[str, Any]) -> str:
    if not record.get("training"):
        return "not recorded"
    return f"{record['training']['seconds']:.0f} of training on {record['device']}"


def _refusal(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is no record of a training ({error!r}): write it anew")


def _record(path: Path) -> list[str]:
    record = read_result(path.parent)
    try:
        training = record["training"]
        numbers = [training[key] for key in ("updates", "seconds", "images_per_second")]
        found = "; ".join(
            f"{one['benchmark']}: "
            + ", ".join(
                f"{metric} {spelling.number(str(value))}"
                for metric, value in one["metrics"].items()
                if value is not None and "[" not in metric
            )
            for one in record["evaluation"]
        )
        origin = [record["device"], spelling.commit(record["commit"], record["dirty"])]
        size = spelling.millions(training["parameters"])
    except _BROKEN as error:
        raise _refusal(path, error) from error
    return [path.parent.name, *map(str, numbers), size, *origin, found or NONE]
