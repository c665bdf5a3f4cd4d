"""Where our default departs from the system that was described, and by how much."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from restore.config.compose import composed
from restore.evaluation import studies
from restore.evaluation.markup import NONE, Table
from restore.evaluation.results import Row

_CLASS = "_target_"
STUDY = "originals"  # the study that trains both of each pair at equal updates
PAIRS = {  # task: the described system, our default
    "diffusion": ("ddpm_original", "ddpm_digits"),
    "inpainting": ("inpaint_original", "inpaint_photos"),
    "colorization": ("colorize_original", "colorize_flowers"),
    "denoising": ("denoise_original", "denoise_bsds"),
}
_HEADER = ["task", "described", "our default", "what differs: described, ours", "updates", "n"]


def departures(root: Path) -> list[Table]:
    """A row for each task whose two systems are on record."""
    if STUDY not in studies.names(root):
        return []
    rows = studies.read(root, STUDY)
    cells = []
    for task, pair in PAIRS.items():
        jobs = [[row for row in rows if row["experiment"] == name] for name in pair]
        if all(studies.grouped(each) for each in jobs):
            cells.append([task, *pair, *_compared(*jobs)])
    caption = (
        "The described systems beside our defaults, both trained for this table: equal data, sizes,"
        f" batches and updates ([commands](experiments/studies/{STUDY}/{studies.COMMANDS}))."
    )
    return [Table(caption, [*_HEADER, "measured: described, ours"], cells)] if cells else []


def _compared(theirs: Sequence[Row], ours: Sequence[Row]) -> list[str]:
    differing = [
        f"{key}: {a}, {b}" for key, a, b in differences(_system(theirs[0]), _system(ours[0]))
    ]
    count = "" if len(theirs) == len(ours) else f", {len(ours)}"
    measured = [
        f"{metric}: {studies.spread(theirs, metric)}, {studies.spread(ours, metric)}"
        for metric in studies.metrics_of(theirs)
        if metric in studies.metrics_of(ours)
    ]
    updates = f"{studies.mean(theirs, 'updates'):.0f}"
    return ["; ".join(differing) or NONE, updates, f"{len(theirs)}{count}", "; ".join(measured)]


def _system(job: Row) -> dict[str, Any]:
    """What makes a system: all but the data, which both are given."""
    config = composed("train", shlex.split(job["overrides"]))
    return {**config["task"], "degradation": config["data"]["degradation"]}


def differences(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], place: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Settings that differ, and both values. Of two classes their names alone are told."""
    for key in dict.fromkeys([*theirs, *ours]):
        one, other = theirs.get(key), ours.get(key)
        if one == other:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping) and _alike(one, other):
            yield from differences(one, other, f"{place}{key}.")
        else:
            yield f"{place}{key}", _word(one), _word(other)


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether they are arguments of one class, or nodes of no class."""
    return bool(one.get(_CLASS) == other.get(_CLASS))


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value[_CLASS]).rpartition(".")[2] if _CLASS in value else ", ".join(value)
    return "none" if value is None else str(value)
