"""Plants faults in a copy of the project, one at a time, and prints those that no test notices.

    python tests/planted_faults.py              every fault
    python tests/planted_faults.py diffusion    those of tests/planted/diffusion.toml
    python tests/planted_faults.py --list       what there is

Run it after a change of what a protection or its test does, for the table of that area (about five
seconds a fault), and for all areas before a release. A fault that survives is a test that is
missing: write the test, do not take away the fault.

Each table tests/planted/AREA.toml has one entry per fault: `file`, the text `old` that stands in
it exactly once, the faulty text `new`, the `tests` that should fail (paths from the root, with
spaces between), and `why`, which says what would go wrong. Where `old` has changed, the entry is
out of date: the script names it and stops before any test runs. `survives = true` marks a fault
that is known to be harmless, and `why` then says for which reason.

Exit status: 0 all noticed, 1 some survived, 2 a table is out of date or a test fails without fault.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLES = Path(__file__).parent / "planted"
SECONDS = 300  # a fault may make a test wait for ever


@dataclass(frozen=True)
class Fault:
    area: str
    file: str
    old: str
    new: str
    tests: str
    why: str
    survives: bool = False


def read(areas: list[str]) -> list[Fault]:
    """The faults of the named tables, or of all."""
    paths = sorted(TABLES.glob("*.toml"))
    missing = set(areas) - {path.stem for path in paths}
    if missing:
        sys.exit(f"no table for {sorted(missing)}: there are {[path.stem for path in paths]}")
    return [
        Fault(path.stem, **entry)
        for path in paths
        if not areas or path.stem in areas
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]
    ]


def outdated(faults: list[Fault], root: Path) -> list[str]:
    """One line for each fault whose text or tests are not there any more."""
    lines = []
    for fault in faults:
        path = root / fault.file
        count = path.read_text(encoding="utf-8").count(fault.old) if path.is_file() else 0
        if count != 1:
            lines.append(f"{fault.area}: {fault.file} has {count} times {fault.old!r}")
        lines += [
            f"{fault.area}: {test} does not exist"
            for test in fault.tests.split()
            if not (root / test.partition("::")[0]).exists()
        ]
    return lines


def copy(root: Path, target: Path) -> None:
    """All files that git knows or would add; the environment and run folders stay."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


def passes(tests: str, root: Path) -> bool:
    """Whether the tests pass in the copy; one that runs too long does not."""
    own = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-q", "-x", "-p", "no:cacheprovider", "-m", "not slow"]
    command = [sys.executable, "-m", "pytest", *options, *tests.split()]
    try:
        ended = subprocess.run(
            command, cwd=root, env={**os.environ, **own}, capture_output=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    if ended.returncode not in (0, 1):  # 1: a test failed
        sys.exit(f"pytest {tests} ended with {ended.returncode}: {ended.stdout.decode()[-2000:]}")
    return ended.returncode == 0


def planted(fault: Fault, root: Path) -> bool:
    """Whether the tests of a fault pass with it, in the copy."""
    path = root / fault.file
    sound = path.read_text(encoding="utf-8")
    path.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
    try:
        return passes(fault.tests, root)
    finally:
        path.write_text(sound, encoding="utf-8")


def run(faults: list[Fault], root: Path) -> int:
    """Prints a line for each fault; the number of those that should not have survived."""
    for tests in sorted({test for fault in faults for test in fault.tests.split()}):
        if not passes(tests, root):
            print(f"{tests} fails without any fault", file=sys.stderr)
            sys.exit(2)
    survivors = 0
    for fault in faults:
        survived = planted(fault, root)
        survivors += survived and not fault.survives
        verdict = "noticed" if not survived else "harmless" if fault.survives else "SURVIVED"
        print(f"{verdict:<9} {fault.area:<10} {fault.file}: {fault.why}", flush=True)
    print(f"{len(faults)} faults, {survivors} survived")
    return survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("areas", nargs="*", help="names of tables; none means all")
    parser.add_argument("--list", action="store_true", help="print the faults and stop")
    arguments = parser.parse_args()
    faults = read(arguments.areas)
    if arguments.list:
        for fault in faults:
            print(f"{fault.area:<10} {fault.file}: {fault.why}")
        return
    lines = outdated(faults, ROOT)
    if lines:
        print(*lines, "bring the table up to date", sep="\n", file=sys.stderr)
        sys.exit(2)
    with tempfile.TemporaryDirectory() as folder:
        copy(ROOT, Path(folder))
        sys.exit(1 if run(faults, Path(folder)) else 0)


if __name__ == "__main__":
    main()
