"""python -m restore.evaluation.table [--check | --latex]

Renders experiments/results.csv and the records beside it as experiments/README.md, and into
README.md, ARCHITECTURE.md and the pages of studies wherever they have `<!-- table:NAME -->` ...
`<!-- /table -->`. Where the page of results would be longer than LONGEST, every benchmark gets one
of its own, experiments/<benchmark>.md. A training on record without released weights has
experiments/<name>/README.md. Quality against cost is drawn as experiments/pareto/<benchmark>.png.
"""

import argparse
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from restore.evaluation import pareto, results, trainings
from restore.evaluation.leaderboard import tables
from restore.evaluation.markup import Table, latex, markdown
from restore.evaluation.studies import BLOCK, FOLDER, PAGE, names
from restore.folder import write_whole
from restore.types import InputError

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 200_000  # bytes of a page
_OWN = "<!-- results of one benchmark, made by `make tables` -->\n"  # begins a benchmark's page
_PAGES = (
    "headline",
    "winners",
    "records",
    "protocols",
    "departures",
    "own_photos",
)  # blocks that are no benchmark
_BLOCK = re.compile(r"^<!-- table:([\w-]+) -->\n.*?^<!-- /table -->", re.S | re.M)
_FILLED = ("README.md", "ARCHITECTURE.md")
_PAGE = """# Results

Everything on this page is made by `make tables` from [results.csv](results.csv), the records
`<experiment>/result.json` and, where a column says so, the numbers of others in
[published.csv](published.csv); `make tables-check` fails on any edit. To measure again:
`python evaluate.py checkpoint=PATH benchmark=NAME record=true && make tables`.

Costs are measured by the same command: MACs are multiply-accumulates of one result (convolutions,
matrix products, attention), MiB the peak beyond what the process held, with the weights, and
s/image the wall time without the first batch, on a machine that may have had other work: MACs
compare methods, seconds compare rows of one idle machine. Plots have the seconds of the machine in
their title alone. Bold is the best of a column, italics the second.
"""


def fill(text: str, found: Mapping[str, Sequence[Table]], path: Path) -> str:
    """`text` of `path` with its blocks rendered anew; a block without results says so.

    Raises InputError for a marker without its end.
    """
    if len(re.findall("^<!-- table:", text, re.M)) != len(_BLOCK.findall(text)):
        raise InputError(f"{path}: a <!-- table:NAME --> lacks its <!-- /table -->: add it")
    return _BLOCK.sub(lambda match: block(match[1], found), text)


def block(name: str, found: Mapping[str, Sequence[Table]]) -> str:
    content = "\n".join(map(markdown, found.get(name, []))) or "No results on record yet.\n"
    return f"<!-- table:{name} -->\n{content}<!-- /table -->"


def pages(
    folder: Path, found: Mapping[str, Sequence[Table]], drawn: Collection[str] = ()
) -> dict[Path, str]:
    """experiments/README.md and, where that would be too long, a page for each benchmark."""
    benchmarks = [name for name in found if name not in _PAGES and not name.startswith(BLOCK)]
    main = {"Best on record": "headline", "Trainings": "records"}
    studied = _studies(found)
    together = _page(main | dict(zip(benchmarks, benchmarks, strict=True)), found, drawn) + studied
    if len(together.encode()) <= LONGEST:
        return {folder / "README.md": together}
    links = "".join(f"- [{name}]({name}.md)\n" for name in benchmarks)
    front = f"{_page(main, found)}\n## Benchmarks\n\n{links}{studied}"
    own = {
        folder / f"{name}.md": f"{_OWN}# {name}\n\n{block(name, found)}\n{_picture(name, drawn)}"
        for name in benchmarks
    }
    return {folder / "README.md": front, **own}


def _page(
    sections: Mapping[str, str], found: Mapping[str, Sequence[Table]], drawn: Collection[str] = ()
) -> str:
    blocks = (
        f"\n## {title}\n\n{block(name, found)}\n{_picture(name, drawn)}"
        for title, name in sections.items()
    )
    return _PAGE + "".join(blocks)


def _studies(found: Mapping[str, Sequence[Table]]) -> str:
    """Links to the pages of studies."""
    own = [name.removeprefix(BLOCK) for name in found if name.startswith(BLOCK)]
    lines = "".join(f"- [{name}]({FOLDER}/{name}/{PAGE})\n" for name in own)
    return f"\n## Studies\n\n{lines}" if own else ""


def _picture(name: str, drawn: Collection[str]) -> str:
    """The plot of a benchmark, where there is one."""
    path = f"{pareto.FOLDER}/{name}.png"
    return f"\n![{name}: quality against cost]({path})\n" if name in drawn else ""


def render(
    root: Path, found: Mapping[str, Sequence[Table]], drawn: Collection[str] = ()
) -> dict[Path, str]:
    """What the files of a repository should hold; "" for a page that should not be there."""
    folder = root / "experiments"
    stale = [
        path for path in folder.glob("*.md") if path.read_text(encoding="utf-8").startswith(_OWN)
    ]
    files = dict.fromkeys(stale, "") | pages(folder, found, drawn)
    own = [folder / FOLDER / name / PAGE for name in names(root)]
    for page in [path for path in (*(root / name for name in _FILLED), *own) if path.exists()]:
        files[page] = fill(page.read_text(encoding="utf-8"), found, page)
    return files


def draw(folder: Path, plots: Mapping[str, pareto.Plot], check: bool) -> list[str]:
    """Writes the plots that are not as the results make them and takes others away; with `check`
    it writes nothing and says which."""
    wanted = {folder / f"{name}.png": plot for name, plot in plots.items()}
    stale = [path for path, plot in wanted.items() if pareto.shown(path) != plot.digest]
    gone = [path for path in folder.glob("*.png") if path not in wanted]
    if not check:
        for path in stale:
            wanted[path].save(path)
        for path in gone:
            path.unlink()
        return []
    return [f"{path} does not show what is in results.csv" for path in stale + gone]


def first_difference(path: Path, wanted: str) -> str | None:
    """Where a file differs from what it should hold; None where it does not."""
    actual = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = zip_longest(actual.splitlines(), wanted.splitlines())
    for number, (is_line, should) in enumerate(lines, start=1):
        if is_line != should:
            return f"{path}:{number}: is {is_line!r}, results.csv makes it {should!r}"
    return None


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """0 done, 1 a file differs from what the results make of it, 2 unusable results."""
    parser = argparse.ArgumentParser(prog="python -m restore.evaluation.table")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    mode.add_argument("--latex", action="store_true", help="write nothing, print LaTeX")
    chosen = parser.parse_args(arguments)
    try:
        found = tables(root)
        rows = results.read(root / "experiments" / "results.csv")[1]
        plots = pareto.plots(rows)
        files = render(root, found, plots) | trainings.pages(root / "experiments", rows)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if chosen.latex:
        print("\n".join(latex(table) for group in found.values() for table in group))
        return 0
    differences = [line for path, text in files.items() if (line := first_difference(path, text))]
    differences += draw(root / "experiments" / pareto.FOLDER, plots, chosen.check)
    if chosen.check:
        for line in differences:
            print(f"{line}\nrun `make tables`", file=sys.stderr)
        return 1 if differences else 0
    for path, text in files.items():
        if text:
            write_whole(path, text)
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
