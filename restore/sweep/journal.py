"""The sweep's memory: journal.jsonl, a line for every job that ended, and sweep.json."""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DONE, FAILED, REFUSED, KILLED, PRUNED = "done", "failed", "refused", "killed", "pruned"
INTERRUPTED = "interrupted"
BAD = (FAILED, REFUSED, KILLED, INTERRUPTED)


@dataclass(frozen=True)
class Line:
    """How a job ended. run: its id, as in run.json; None where it did not begin."""

    job: int
    folder: str  # below the sweep's
    overrides: list[str]
    hash: str
    status: str
    objective: float | None
    seconds: float
    error: str | None = None
    run: str | None = None


def hash_of(config: dict[str, Any]) -> str:
    """The hash of a resolved config, which is equal for equal work."""
    text = json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def keep(overrides: list[str]) -> list[str]:
    """Those overrides of a job that say what it does, and not how it was chosen."""
    return [one for one in overrides if not re.match(r"[+~]*search\b", one)]


def append(sweep: Path, line: Line) -> None:
    """One write, which jobs that end at the same moment cannot mix, on disk when this returns."""
    path = sweep / "journal.jsonl"
    # A line that a crash has cut must not swallow this one.
    torn = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    data = ("\n" if torn else "") + json.dumps(asdict(line)) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, data.encode())
        os.fsync(file)
    finally:
        os.close(file)


def read(sweep: Path) -> list[Line]:
    """The newest line of every job, by job number."""
    path = sweep / "journal.jsonl"
    newest: dict[int, Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            line = Line(**json.loads(text))
        except (json.JSONDecodeError, TypeError):  # cut by a crash
            continue
        newest[line.job] = line
    return [newest[job] for job in sorted(newest)]


def done(sweep: Path, digest: str) -> Line | None:
    """The job that has done the work of this config before."""
    for line in read(sweep):
        if line.hash == digest and line.status == DONE:
            return line
    return None
