"""python -m restore.evaluation.table [--check | --latex]

Renders experiments/results.csv and the records beside it as experiments/README.md, and into
README.md wherever it has `<!-- table:NAME -->` ... `<!-- /table -->`.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from restore.evaluation.leaderboard import tables
from restore.evaluation.markup import Table, latex, markdown
from restore.types import InputError

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^<!-- table:([\w-]+) -->\n.*?^<!-- /table -->", re.S | re.M)
_PAGE = """# Results

Everything on this page is made by `make tables` from [results.csv](results.csv), the records
`<experiment>/result.json` and, where a column says so, the numbers of others in
[published.csv](published.csv); `make tables-check` fails on any edit. To measure again:
`python evaluate.py checkpoint=PATH benchmark=NAME record=true && make tables`.
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


def page(found: Mapping[str, Sequence[Table]]) -> str:
    """experiments/README.md."""
    benchmarks = [name for name in found if name not in ("headline", "records")]
    sections = {"Checkpoints": "headline", "Trainings": "records"} | dict(
        zip(benchmarks, benchmarks, strict=True)
    )
    blocks = (f"\n## {title}\n\n{block(name, found)}\n" for title, name in sections.items())
    return _PAGE + "".join(blocks)


def rendered(root: Path, found: Mapping[str, Sequence[Table]]) -> dict[Path, str]:
    """What the two files of a repository should hold."""
    readme = root / "README.md"
    files = {root / "experiments" / "README.md": page(found)}
    if readme.exists():
        files[readme] = fill(readme.read_text(), found, readme)
    return files


def first_difference(path: Path, wanted: str) -> str | None:
    """Where a file differs from what it should hold; None where it does not."""
    actual = path.read_text() if path.exists() else ""
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
        files = rendered(root, found)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if chosen.latex:
        print("\n".join(latex(table) for group in found.values() for table in group))
        return 0
    differences = [line for path, text in files.items() if (line := first_difference(path, text))]
    if chosen.check:
        for line in differences:
            print(f"{line}\nrun `make tables`", file=sys.stderr)
        return 1 if differences else 0
    for path, text in files.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
