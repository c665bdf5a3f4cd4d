"""How the cells of a table spell numbers, commits and samplers."""

from restore.evaluation.markup import NONE
from restore.evaluation.method import Sampling
from restore.evaluation.results import Row


def number(cell: str) -> str:
    """Four significant digits."""
    return NONE if cell in ("", "nan") else f"{float(cell):#.4g}"


def millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count else NONE


def commit(digits: str, dirty: bool) -> str:
    return f"{digits[:8]}{' (dirty)' if dirty else ''}" if digits else NONE


def sampler(row: Row) -> str:
    return str(Sampling(row["sampler"], row["sampler_settings"], row["guidance"])) or NONE


def method(row: Row) -> str:
    return f"{row['experiment']} ({row['sampler']})" if row["sampler"] else row["experiment"]
