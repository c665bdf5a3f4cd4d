"""The table of the first minute: the best model of every benchmark beside the best that is none."""

from restore.evaluation import spelling
from restore.evaluation.markup import NONE, Table
from restore.evaluation.ranked import RANKED, best_first, latest, lower_is_better
from restore.evaluation.results import Row

_DECIDING = 2  # metrics of a benchmark
_HEADER = [
    *("benchmark", "metric", "best model", "value", "NFE", "parameters"),
    *("best baseline or network of others", "its value", "wins"),
]


def winners(rows: list[Row]) -> list[Table]:
    """A row for each of the first metrics that decide a benchmark; bold is who wins it."""
    cells: list[list[str]] = []
    bold: set[tuple[int, int]] = set()
    for name in sorted({row["benchmark"] for row in rows if row["kind"] == "model"}):
        mine = latest([row for row in rows if row["benchmark"] == name])
        models = [row for row in mine if row["kind"] == "model"]
        first = best_first(models, RANKED)[0]
        others = [row for row in mine if row["kind"] != "model"]
        for metric in [one for one in RANKED if first.get(one)][:_DECIDING]:
            model = best_first(models, (metric,))[0]
            made, won = _row(name, metric, model, best_first(others, (metric,)))
            bold |= {(len(cells), column) for column in won}
            cells.append(made)
    caption = (
        "The best model on record by each of a benchmark's first metrics, beside the best of the "
        "baselines and of others' networks, on equal images and by one protocol."
    )
    return [Table(caption, _HEADER, cells, bold)] if cells else []


def _row(name: str, metric: str, model: Row, others: list[Row]) -> tuple[list[str], list[int]]:
    """Cells, and the columns that are bold."""
    lower = lower_is_better(metric)
    own = spelling.number(model[metric])
    lead = [name, f"{metric} {'↓' if lower else '↑'}", model["experiment"], own, model["nfe"]]
    lead.append(spelling.millions(int(model["parameters"])))
    other = others[0] if others and others[0][metric] else None
    if other is None:
        return [*lead, NONE, NONE, NONE], []
    value = spelling.number(other[metric])
    sign = -1 if lower else 1
    if NONE in (own, value):
        return [*lead, other["experiment"], value, NONE], []
    if value == own:
        return [*lead, other["experiment"], value, "neither"], []
    if sign * float(own) > sign * float(value):
        return [*lead, other["experiment"], value, "model"], [2, 3]
    return [*lead, other["experiment"], value, other["kind"]], [6, 7]
