"""From recorded results to tables: a headline, one a benchmark, and the trainings on record."""

import csv
import math
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path

from restore.evaluation import before_after, results, spelling
from restore.evaluation.departures import departures
from restore.evaluation.header import ADDED, FIXED
from restore.evaluation.markup import NONE, Table
from restore.evaluation.plot import buckets_of
from restore.evaluation.protocols import protocols
from restore.evaluation.ranked import PLACE, RANKED, best_first, latest, lower_is_better
from restore.evaluation.results import Row
from restore.evaluation.studies import studies
from restore.evaluation.trainings import trainings
from restore.evaluation.winners import winners

_KINDS = ("baseline", "published", "outputs", "function", "model")
_UNMEASURED = "not measured"  # the kind of a method whose published number alone is known
LONGEST = 200  # rows of a table; a longer one shows the best
_HEADLINE = (
    "psnr",
    "ssim",
    "hole_psnr",
    "original_label_share",
    "colorfulness_difference",
    "lpips_vgg",
    "fid_flowers",
    "fid_scenes",
    "fid",
)


def tables(root: Path) -> dict[str, list[Table]]:
    """Block name -> its tables: `headline`, `winners`, `protocols`, `records`, `departures`,
    `own_photos`, every study and every benchmark."""
    columns, rows = results.read(root / "experiments" / "results.csv")
    metrics = [name for name in columns if name not in (*FIXED, *ADDED)]
    found_protocols = protocols(rows)
    rows = [{**row, PLACE: str(place)} for place, row in enumerate(rows)]
    rows.sort(key=lambda row: (_KINDS.index(row["kind"]), row["experiment"], int(row["nfe"])))
    published = _published(root / "experiments" / "published.csv")
    found = {"headline": _headline(rows, metrics), "winners": winners(rows)}
    found["protocols"] = found_protocols
    found["records"] = trainings(root / "experiments")
    found |= studies(root) | {"departures": departures(root)}
    found[before_after.FOLDER] = before_after.before_after(
        root / "experiments" / before_after.FOLDER
    )
    for name in sorted({row["benchmark"] for row in rows}):
        mine = [row for row in rows if row["benchmark"] == name]
        references = [row for row in published if row["benchmark"] == name]
        found[name] = _benchmark(name, mine, metrics, references)
    return found


def _published(path: Path) -> list[Row]:
    """Rows of benchmark, n, method, metric, value, source; none without the file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _headline(rows: list[Row], metrics: list[str]) -> list[Table]:
    """Of every benchmark with a model: the best baseline, network of others, and model."""
    shown: list[Row] = []
    best: set[tuple[str, str]] = set()  # (place of a row, metric)
    for name in sorted({row["benchmark"] for row in rows if row["kind"] == "model"}):
        mine = latest([row for row in rows if row["benchmark"] == name])
        chosen = [
            best_first([row for row in mine if row["kind"] == kind], RANKED)[0]
            for kind in _KINDS
            if any(row["kind"] == kind for row in mine)
        ]
        found, _ = _best(chosen, metrics, 0)
        best |= {(chosen[row][PLACE], metrics[column]) for row, column in found}
        shown += chosen
    if not shown:
        return []
    present = [m for m in metrics if m in _HEADLINE and any(row[m] for row in shown)]
    lead: dict[str, Callable[[Row], str]] = {
        key: itemgetter(key) for key in ("benchmark", "kind", "n")
    }
    caption = (
        "The best of each kind on every benchmark, by the first that it measures of "
        f"{', '.join(RANKED)}; bold is the best of a benchmark. experiments/README.md has all."
    )
    table = _measured(caption, shown, present, lead)
    bold = {
        (place, len(lead) + column)
        for place, row in enumerate(shown)
        for column, metric in enumerate(present, start=1)
        if (row[PLACE], metric) in best
    }
    return [Table(table.caption, table.header, table.rows, bold)]


def _benchmark(
    name: str, rows: list[Row], metrics: list[str], references: list[Row]
) -> list[Table]:
    """For each protocol and n, the means and, where there are buckets, a table a metric.

    Those of most images come first, then what was measured last. Published numbers stand beside
    rows of as many images as they are of.
    """
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((int(row["n"]), row["protocol"]), []).append(row)
    several = _redefined(rows)
    most = max(n for n, _ in groups)
    made = []
    for (n, protocol), mine in sorted(groups.items(), key=_most_then_last, reverse=True):
        present = [metric for metric in metrics if any(row[metric] for row in mine)]
        count = str(n) if n == most else f"{n} of {most}"
        caption = f"{name}: n = {count}, protocol {protocol}{_peculiar(mine, several)}"
        if len(mine) > LONGEST:
            caption += f"; the best {LONGEST} of {len(mine)}, results.csv has all"
            mine = best_first(mine, (*RANKED, *present))[:LONGEST]
        caption += _sizes(mine)
        lead = {"kind": lambda row: row["kind"]}
        table = _measured(caption, mine, [m for m in present if "[" not in m], lead)
        made.append(_with_published(table, [one for one in references if int(one["n"]) == n]))
        for metric, buckets in buckets_of(present).items():
            keys = [f"{metric}[{bucket}]" for bucket in buckets]
            if len({row[key] for row in mine for key in keys}) == 1:
                continue  # as the error of known pixels that nobody changes
            arrow = "↓" if lower_is_better(metric, mine) else "↑"
            cells = [
                [spelling.method(row), *(spelling.number(row[key]) for key in keys)] for row in mine
            ]
            title = f"{name}: {metric} {arrow} by bucket, n = {count}, protocol {protocol}"
            made.append(Table(title, ["method", *buckets], cells, *_best(mine, keys, 1)))
    return made


def _most_then_last(group: tuple[tuple[int, str], list[Row]]) -> tuple[int, int]:
    (n, _), rows = group
    return n, max(int(row[PLACE]) for row in rows)


def _redefined(rows: list[Row]) -> set[str]:
    """Definitions of metrics that have another one in other rows of the benchmark."""
    every = {one for row in rows for one in row["definitions"].split(";")}
    names = Counter(one.partition("/")[0] for one in every)
    return {one for one in every if names[one.partition("/")[0]] > 1}


def _peculiar(rows: list[Row], several: set[str]) -> str:
    """Feature networks, and those of the definitions `several` that these rows are of."""
    features = sorted({row["feature"] for row in rows} - {""})
    own = sorted(several & {one for row in rows for one in row["definitions"].split(";")})
    named = [("features", features), ("by", own)]
    return "".join(f", {word} {', '.join(names)}" for word, names in named if names)


def _measured(
    caption: str, rows: list[Row], metrics: list[str], lead: dict[str, Callable[[Row], str]]
) -> Table:
    """A row a result: its name, `lead` columns, metrics and what they cost."""
    known = [one for one in metrics if any(spelling.interval(row, one) != NONE for row in rows)]
    deciding = next((metric for metric in RANKED if metric in known), "")
    sure = deciding and "benchmark" not in lead
    tail: dict[str, Callable[[Row], str]] = {
        **({f"95 % of {deciding}": lambda row: spelling.interval(row, deciding)} if sure else {}),
        "checkpoint": lambda row: row["checkpoint"] or NONE,
        **({"sampler": spelling.sampler} if any(row["sampler"] for row in rows) else {}),
        "precision": lambda row: row["precision"],
        "NFE": lambda row: row["nfe"],
        "parameters": lambda row: spelling.millions(int(row["parameters"])),
        "MACs": spelling.macs,
        "s/image": lambda row: row["seconds_per_image"] or NONE,
        "MiB": lambda row: row.get("peak_memory_mib") or NONE,
        "device": lambda row: row["device"],
        "seeds": lambda row: row["seeds"] or NONE,
        "commit": lambda row: spelling.commit(row["commit"], row["dirty"] == "True"),
    }
    arrows = [f"{metric} {'↓' if lower_is_better(metric, rows) else '↑'}" for metric in metrics]
    cells = [
        [
            row["experiment"],
            *(cell(row) for cell in lead.values()),
            *(spelling.number(row[metric]) for metric in metrics),
            *(cell(row) for cell in tail.values()),
        ]
        for row in rows
    ]
    marked = _best(rows, metrics, 1 + len(lead)) if "benchmark" not in lead else ()
    return Table(caption, ["method", *lead, *arrows, *tail], cells, *marked)


def _with_published(table: Table, references: list[Row]) -> Table:
    """A column with the numbers of others and their source; a row for what was not measured."""
    if not references:
        return table
    names = [row[0] for row in table.rows]
    rows = [list(row) for row in table.rows]
    rows += [
        [name, _UNMEASURED, *[NONE] * (len(table.header) - 2)]
        for name in dict.fromkeys(one["method"] for one in references)
        if name not in names
    ]
    metric = references[0]["metric"]
    values = {one["method"]: one for one in references}
    for row in rows:
        one = values.get(row[0])
        row += [one["value"], one["source"]] if one else [NONE, NONE]
    header = [*table.header, f"{metric} as published", "source"]
    return Table(table.caption, header, rows, table.best, table.second)


def _best(
    rows: list[Row], metrics: list[str], lead: int
) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """(row, column) of each metric's best and second values, as shown, behind `lead` columns.

    None where all are equal, as the PSNR of the input is; no second of two methods.
    """
    best, second = set(), set()
    for column, metric in enumerate(metrics, start=lead):
        shown = [float(spelling.number(row[metric]).replace(NONE, "nan")) for row in rows]
        defined = [value for value in shown if not math.isnan(value)]
        places = sorted(set(defined), reverse=not lower_is_better(metric, rows))
        if len(places) > 1:
            best |= {(k, column) for k, value in enumerate(shown) if value == places[0]}
        if len(places) > 1 and len(defined) > 2:
            second |= {(k, column) for k, value in enumerate(shown) if value == places[1]}
    return best, second


def _sizes(rows: list[Row]) -> str:
    """At what sizes of a batch MACs and memory were measured."""
    found = sorted({row["cost_size"] for row in rows if row.get("cost_size")})
    return f"; costs at a batch of {' or '.join(found)}" if found else ""
