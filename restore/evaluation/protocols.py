"""One photo set under two protocols: how far apart their numbers are."""

from collections.abc import Sequence

from restore.evaluation import spelling
from restore.evaluation.markup import NONE, Table
from restore.evaluation.results import Row

SIGMAS = (15, 25, 50)
PROTOCOLS = {"KAIR": "cbsd68_sigma{}", "all-in-one": "cbsd68_allinone_sigma{}"}
PEER = "ffdnet_color"


def protocols(rows: Sequence[Row]) -> list[Table]:
    """PSNR of CBSD68's input, of FFDNet and of the best model at every level, by both protocols."""
    model = _best_model(rows)
    methods = [PEER, *([model] if model else [])]
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


def _best_model(rows: Sequence[Row]) -> str | None:
    mine = [row for row in rows if row["kind"] == "model" and row["benchmark"] == "cbsd68_sigma25"]
    return max(mine, key=lambda row: float(row["psnr"]))["experiment"] if mine else None


def _cell(rows: Sequence[Row], benchmark: str, metric: str, method: str | None = None) -> str:
    """Of the last row on record that has it."""
    values = [
        row[metric]
        for row in rows
        if row["benchmark"] == benchmark
        and row["n"] == "68"
        and row.get(metric)
        and method in (None, row["experiment"])
    ]
    return f"{float(values[-1]):.2f}" if values else spelling.number("")
