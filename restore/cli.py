"""The `restore` command: arguments only; every word calls one room."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from restore.errors import DONE, explain, readable


def main() -> NoReturn:
    """The console script `restore`."""
    from restore import __version__

    readable()
    parser = argparse.ArgumentParser(
        prog="restore",
        description="Image restoration: trainings by train.py, measurements by evaluate.py, and "
        "here what else there is.",
    )
    parser.add_argument("--version", action="version", version=f"restore {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    doctor = commands.add_parser("doctor", help="check this installation, its data and weights")
    doctor.set_defaults(command=lambda given: _doctor())
    sweep = commands.add_parser("sweep", help="rank the jobs of a sweep, or continue it")
    sweep.add_argument("folder", metavar="DIR", type=Path, help="what train.py -m printed first")
    sweep.add_argument("--resume", action="store_true", help="run the jobs that are not done")
    sweep.add_argument("--by", metavar="METRIC", help="rank by this metric, not the objective")
    sweep.add_argument(
        "--over", metavar="KEY", action="append", default=[], help="mean and deviation over KEY"
    )
    sweep.set_defaults(command=_sweep)
    arguments = parser.parse_args()
    if "command" not in arguments:
        parser.print_help()
        sys.exit(DONE)
    try:
        sys.exit(arguments.command(arguments))
    except Exception as error:
        sys.exit(explain(error))


def _doctor() -> int:
    from restore.evaluation import doctor

    return doctor.show(doctor.diagnose())


def _sweep(arguments: argparse.Namespace) -> int:
    if arguments.resume:
        from restore.sweep import again

        return again.resume(arguments.folder)
    from restore.sweep import show

    return show.show(arguments.folder, arguments.by, arguments.over)
