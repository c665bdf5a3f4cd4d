"""Tables on a terminal."""

from collections.abc import Sequence


def show(table: Sequence[Sequence[str]]) -> None:
    """Prints rows whose cells stand below those of the first."""
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    for row in table:
        cells = zip(row, widths, strict=True)
        print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
