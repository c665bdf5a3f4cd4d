"""How the cells of a table spell numbers, commits and samplers."""

from restore.evaluation.markup import NONE
from restore.evaluation.method import SamplingRecord
from restore.evaluation.results import Row


def number(cell: str) -> str:
    """Four significant digits."""
    return NONE if cell in ("", "nan") else f"{float(cell):#.4g}"


def millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count else NONE


def commit(digits: str, dirty: bool) -> str:
    return f"{digits[:8]}{' (dirty)' if dirty else ''}" if digits else NONE


def sampler(row: Row) -> str:
    return str(SamplingRecord(row["sampler"], row["sampler_settings"], row["guidance"])) or NONE


def method(row: Row) -> str:
    return f"{row['experiment']} ({row['sampler']})" if row["sampler"] else row["experiment"]


_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def macs(row: Row) -> str:
    """Multiply-accumulates with three significant digits: `103 G`."""
    if not row.get("macs"):
        return NONE
    count = float(row["macs"])
    unit, letter = next((one for one in _UNITS if count >= one[0]), (1.0, ""))
    return f"{count / unit:.3g} {letter}".strip()


def interval(row: Row, metric: str) -> str:
    """The 95 % interval of a metric's mean over images, as `30.62 to 31.83`."""
    said = dict(one.split("=", 1) for one in row.get("intervals", "").split(";") if one)
    return " to ".join(map(number, said[metric].split(".."))) if metric in said else NONE
