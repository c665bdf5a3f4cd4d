"""How a sweep was started, and what its jobs have found, as lines."""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from restore.folder import write_whole
from restore.run_files import SWEEP
from restore.sweep import journal
from restore.sweep.journal import Line
from restore.sweep.settings import Direction
from restore.types import InputError

FOLDER = "hydra.sweep.dir="


@dataclass(frozen=True)
class Sweep:
    """The file sweep.json: how the sweep was started and what its jobs are ranked by."""

    argv: list[str]
    cwd: str
    objective: str
    direction: Direction
    jobs: int | None = None  # that it will have; None where other sweeps share its study

    @classmethod
    def read(cls, folder: Path) -> "Sweep":
        path = folder / SWEEP
        if not path.is_file():
            raise InputError(
                f"{folder} holds no sweep.json: give the folder that `train.py -m` printed first"
            )
        try:
            sweep = cls(**json.loads(path.read_text(encoding="utf-8")))
            texts = [*sweep.argv, sweep.cwd]
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} does not describe a sweep: restore it ({error})") from error
        counts = isinstance(sweep.jobs, int | None)
        if not sweep.argv or not counts or not all(isinstance(one, str) for one in texts):
            raise InputError(
                f"{path} does not describe a sweep: argv and cwd are texts, and jobs is a number; "
                "restore it"
            )
        return sweep

    def settle(self, folder: Path) -> None:
        """Writes the file; refuses a folder that holds another sweep."""
        path = folder / SWEEP
        if not path.exists():
            self._write(path)
            return
        if Sweep.read(folder).arguments() != self.arguments():
            raise InputError(
                f"{FOLDER}{folder} holds a sweep by another command line: "
                "give another folder, or `restore sweep DIR --resume` to continue that one"
            )

    @classmethod
    def count(cls, folder: Path, jobs: int) -> None:
        """Notes how many jobs there will be, so that those which never began are missed; nothing
        for a sweep of evaluations, which keeps no file."""
        path = folder / SWEEP
        if path.is_file():
            replace(cls.read(folder), jobs=jobs)._write(path)

    def _write(self, path: Path) -> None:
        write_whole(path, json.dumps(asdict(self), indent=2) + "\n")

    def arguments(self) -> list[str]:
        return [one for one in self.argv[1:] if not one.startswith(FOLDER)]


def best(lines: Sequence[Line], direction: Direction) -> Line | None:
    """The line of the best objective, of equals the first; None where no job has one."""
    sign = -1 if direction == "maximize" else 1
    ranked = [(sign * one.objective, one) for one in lines if one.objective is not None]
    return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


def swept(jobs: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """The overrides that are not the same for all, by key: a value a job, "" where not given."""
    given = [dict(_pair(one) for one in overrides) for overrides in jobs]
    keys = list(dict.fromkeys(key for one in given for key in one))
    columns = {key: [one.get(key, "") for one in given] for key in keys}
    return {key: values for key, values in columns.items() if len(set(values)) > 1}


def _pair(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key, value


def sentence(line: Line) -> str:
    """A job's one line on the terminal."""
    result = "" if line.objective is None else f"{line.objective:.6g}  "
    error = "" if line.error is None else f"  {line.error}"
    settings = " ".join(line.overrides)
    return f"job {line.job}: {line.status}  {result}{line.seconds:.0f} s  {settings}{error}"


def shown(folder: Path, *flags: str) -> str:
    """`restore sweep FOLDER FLAGS`, to be pasted into a shell."""
    return shlex.join(["restore", "sweep", str(folder), *flags])


def finish(folder: Path) -> int:
    """The last lines of a sweep and its exit code: 1 if any job failed, 2 if all were refused, so
    that there is nothing to look at next."""
    sweep, lines = Sweep.read(folder), journal.read(folder)
    statuses = Counter(line.status for line in lines)
    counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
    print(f"{len(lines)} jobs: {counts}")
    if (winner := best(lines, sweep.direction)) is not None:
        print(f"best by {sweep.objective}: {sentence(winner)}")
    all_refused = bool(lines) and statuses[journal.REFUSED] == len(lines)
    if not all_refused:
        print(f"next: {shown(folder)}")
    bad = [line for line in lines if line.status in journal.BAD]
    for line in bad:
        log = folder / line.folder / "train.log"
        place = f" ({log})" if log.exists() else ""
        print(f"{line.status}: job {line.job}: {line.error}{place}")
    if all_refused:
        return 2
    return 1 if bad else 0
