"""restore sweep DIR --resume: the next part of a sweep.

Only overrides come from its sweep.json, which may be a stranger's: the program that reads them is
always that of this installation, and what could make Hydra start anything else is refused.
"""

import os
import re
import shlex
import sys
from collections.abc import Collection
from pathlib import Path

from restore.config import naming
from restore.config.command import quote
from restore.run_files import read_config, sweep_of
from restore.sweep.ranking import FOLDER, Sweep, shown
from restore.types import InputError

_ROOT = Path(__file__).resolve().parents[2]
# By its path and not as a module, which would be looked for in the folder that the file names.
ENTRY = next(
    path for path in (_ROOT / "train.py", _ROOT / "restore/main/train.py") if path.is_file()
)
_FLAGS = ("-m", "--multirun")
# What a sweep may say to Hydra: where it writes, and how its jobs share a machine or a cluster.
_HYDRA = re.compile(
    r"hydra\.(sweep\.(dir|subdir)|launcher\.(n_jobs|timeout_min|cpus_per_task|gpus_per_node|"
    r"tasks_per_node|mem_gb|nodes|name|partition|qos|account|array_parallelism|backend|"
    r"pre_dispatch|batch_size|verbose))$"
)
_IS_HYDRA = re.compile(r"(^|[@:.])hydra(\.|$)")  # a key; hydra/launcher and the like are choices
_PLAIN = re.compile(r"\$\{((hydra|now):[^${}]*|[\w.]+)\}")
# Names of what is run; any other interpolation could make such a word at last.
_RUNS = re.compile(r"_target_|\bcommand\b|\$\{")
# What may name packages; both are read as Hydra's lists of plain words.
_NAMES = re.compile(
    r"packages=\[?([\w,\s]*)\]?$|hydra\.searchpath=\[?((?:pkg://[\w.]+[,\s]*)*)\]?$"
)


def command(folder: Path, packages: Collection[str] = ()) -> list[str]:
    """The command line that goes on with the sweep in `folder`.

    packages: those that the user trusts. Raises InputError for an argument that is no override of a
    setting, and for other packages.
    """
    sweep = Sweep.read(folder)
    place = quote(str(folder.resolve()))
    line = [sys.executable, str(ENTRY), *sweep.arguments(), f"{FOLDER}{place}"]
    for argument in sweep.arguments():
        _check(argument, packages, f"in {sweep.cwd} yourself: {shlex.join(line)}")
    return line


def own(folder: Path) -> str:
    """What the user who has started the sweep types to go on with it: all that it names is his."""
    roots = [_roots(argument) or set() for argument in Sweep.read(folder).arguments()]
    named = sorted(set().union(*roots))
    return shown(folder, "--resume", *(["--packages", ",".join(named)] if named else []))


def go_on(run: Path) -> str:
    """The command that goes on with the run of a folder: with its sweep, where it is a job of one.

    Raises InputError where its files do not say it.
    """
    sweep = sweep_of(run)
    return naming.go_on(run, read_config(run)) if sweep is None else own(sweep)


def _roots(text: str) -> set[str] | None:
    """The packages that an argument names; None where it names none in plain words."""
    named = _NAMES.match(text.lstrip("+"))
    if named is None:
        return None
    listed = re.split(r"[,\s]+", (named[1] or named[2] or "").strip())
    return {one.removeprefix("pkg://").partition(".")[0] for one in listed if one}


def _check(text: str, packages: Collection[str], by_hand: str) -> None:
    key = text.partition("=")[0].lstrip("+~")
    roots = _roots(text)
    if roots is not None:
        if roots <= {*packages}:
            return
        raise InputError(
            f"sweep.json says {text!r}: if you trust that package, add "
            f"--packages {','.join(sorted(roots))}"
        )
    harmless = text in _FLAGS or (
        not text.startswith("-")
        and not _RUNS.search(_PLAIN.sub("", text))
        and key != "packages"
        and (not _IS_HYDRA.search(key) or _HYDRA.match(key))
    )
    if not harmless:
        raise InputError(
            f"sweep.json says {text!r}, which is no setting of a job: if you trust it, run it "
            f"{by_hand}"
        )


def resume(folder: Path, packages: Collection[str] = ()) -> int:
    """Runs the sweep's command line again; jobs that are done are not run again.

    Raises InputError as `command` does, and where the sweep's working directory is gone.
    """
    again, home = command(folder, packages), Sweep.read(folder).cwd
    try:
        os.chdir(home)
    except OSError as error:
        raise InputError(
            f"the sweep was started in {home}, as cwd of {folder / 'sweep.json'} says, and its "
            f"paths are read from there: {error.strerror}; make that folder again"
        ) from error
    os.execv(sys.executable, again)
