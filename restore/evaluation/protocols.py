"""One photo set under two protocols: how far apart their numbers are."""

from collections.abc import Sequence

from restore.evaluation import spelling
from restore.evaluation.markup import NONE, Table
from restore.evaluation.method import SELF_ENSEMBLE
from restore.evaluation.ranked import best_first
from restore.evaluation.results import Row

SIGMAS = (15, 25, 50)
PROTOCOLS = {"KAIR": "cbsd68_sigma{}", "all-in-one": "cbsd68_allinone_sigma{}"}
PEER = "ffdnet_color"
_DECIDING = 25  # the level by which models are ranked


def protocols(rows: Sequence[Row]) -> list[Table]:
    """PSNR of CBSD68's input, of FFDNet and of the best models at every level, by both protocols.

    The best model may have left no weights for the second protocol; the best one that both have
    measured then stands beside it. Means over several views are left out: they may be on record
    for one of the protocols alone.
    """
    rows = [row for row in rows if row["sampler"] != SELF_ENSEMBLE.sampler and row["n"] == "68"]
    methods = [PEER, *_best_models(rows)]
    header = ["sigma", *(f"{what}, {name}" for what in ("input", *methods) for name in PROTOCOLS)]
    made = []
    for sigma in SIGMAS:
        of = [pattern.format(sigma) for pattern in PROTOCOLS.values()]
        cells = [_cell(rows, name, "input_psnr") for name in of]
        cells += [_cell(rows, name, "psnr", method) for method in methods for name in of]
        made.append([str(sigma), *cells])
    found = any(cell != NONE for row in made for cell in row[1:])
    caption = "PSNR in dB on the 68 photos of CBSD68; columns of two protocols are not compared."
    return [Table(caption, header, made)] if found else []


def _best_models(rows: Sequence[Row]) -> list[str]:
    """The best under the first protocol, and the best of those that both have measured."""
    models = [row for row in rows if row["kind"] == "model"]
    first, second = (pattern.format(_DECIDING) for pattern in PROTOCOLS.values())
    mine = [row for row in models if row["benchmark"] == first]
    measured = {row["experiment"] for row in models if row["benchmark"] == second}
    both = [row for row in mine if row["experiment"] in measured]
    best = [best_first(group, ("psnr",))[0] for group in (mine, both) if group]
    return list(dict.fromkeys(row["experiment"] for row in best))


def _cell(rows: Sequence[Row], benchmark: str, metric: str, method: str | None = None) -> str:
    """Of the last row on record that has it."""
    values = [
        row[metric]
        for row in rows
        if row["benchmark"] == benchmark and row.get(metric) and method in (None, row["experiment"])
    ]
    return f"{float(values[-1]):.2f}" if values else spelling.number("")
