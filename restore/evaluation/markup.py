"""A table of text as Markdown and as LaTeX."""

from collections.abc import Callable
from dataclasses import dataclass, field

NONE = "–"  # an empty cell
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    NONE: "--",
}


@dataclass(frozen=True)
class Table:
    """Cells as they are read; (row, column) of those in bold, and of those in italics."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]] = field(default_factory=set)
    second: set[tuple[int, int]] = field(default_factory=set)

    def cells(self, escape: Callable[[str], str], bold: str, italic: str) -> list[list[str]]:
        """Escaped rows, the best and second cells put into their formats."""

        def style(place: tuple[int, int]) -> str:
            return bold if place in self.best else italic if place in self.second else "{}"

        return [
            [style((i, k)).format(escape(cell)) for k, cell in enumerate(row)]
            for i, row in enumerate(self.rows)
        ]


def markdown(table: Table) -> str:
    header = [markdown_text(name) for name in table.header]
    rule = [":--", *["--:"] * (len(header) - 1)]
    rows = [header, rule, *table.cells(markdown_text, "**{}**", "*{}*")]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([table.caption, "", *lines]) + "\n"


def latex(table: Table) -> str:
    r"""A table environment; needs no package."""
    rows = table.cells(latex_text, r"\textbf{{{}}}", r"\textit{{{}}}")
    lines = [
        r"\begin{table}",
        rf"\caption{{{latex_text(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
        r"\hline",
        " & ".join(map(latex_text, table.header)) + r" \\",
        r"\hline",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


def latex_text(text: str) -> str:
    """Text with every character that LaTeX would act upon escaped."""
    return "".join(_LATEX.get(character, character) for character in text)
