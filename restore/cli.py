"""The `restore` command: arguments only; every word calls one room."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from restore.errors import DONE, enough, explain, readable
from restore.types import InputError

_HYDRA = {
    "train": "train an experiment: what train.py does, in any folder",
    "evaluate": "measure checkpoints and baselines: what evaluate.py does, in any folder",
}


def main() -> NoReturn:
    """The console script `restore`."""
    if len(sys.argv) > 1 and sys.argv[1] in _HYDRA:
        _become(sys.argv[1], sys.argv[2:])
    readable()
    try:
        parser = _parser()
        arguments = parser.parse_args()
        if "command" not in arguments:
            parser.print_help()
            sys.exit(DONE)
        code = arguments.command(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        enough()
        code = DONE
    except (Exception, KeyboardInterrupt) as error:  # Ctrl-C; of the app, SIGTERM too
        sys.exit(explain(error))
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    """Every word with its arguments; `command` of what is parsed is what answers it."""
    from restore import __version__, words

    parser = argparse.ArgumentParser(
        prog="restore",
        description="Image restoration: trainings by train.py, measurements by evaluate.py, and "
        "here what else there is.",
    )
    parser.add_argument("--version", action="version", version=f"restore {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", parser_class=words.WordParser
    )
    for word, text in _HYDRA.items():
        _word(commands, word, text)
    doctor = _word(commands, "doctor", "check this installation, its data and weights")
    doctor.set_defaults(command=lambda given: _doctor())
    _add_sweep(_word(commands, "sweep", "rank the jobs of a sweep, or continue it"))
    _add_task(_word(commands, "task", "write a benchmark's inputs for a program of others"))
    _add_rooms(commands)
    _add_schema(_word(commands, "schema", "JSON schemas of the configs, for editors"))
    new = _word(commands, "new", "write a package of your own that trains at once")
    new.add_argument("name", metavar="NAME", help="of the package, and of its new folder here")
    new.set_defaults(command=_new)
    completion = _word(commands, "completion", words.ABOUT)
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    completion.set_defaults(command=lambda given: words.complete(given.shell, commands.choices))
    return parser


def _become(word: str, arguments: list[str]) -> NoReturn:
    """Hydra's entry replaces this process, because Lightning starts other ranks by its command."""
    command = [sys.executable, "-m", f"restore.main.{word}", *arguments]
    os.execv(sys.executable, command)


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", metavar="DIR", type=Path, nargs="+", help="what train.py -m printed first"
    )
    parser.add_argument("--resume", action="store_true", help="run the jobs that are not done")
    parser.add_argument(
        "--packages", metavar="A,B", default="", help="with --resume: your own, named anew"
    )
    parser.add_argument("--by", metavar="METRIC", help="rank by this metric, not the objective")
    parser.add_argument(
        "--over", metavar="KEY", action="append", default=[], help="mean and deviation over KEY"
    )
    parser.add_argument(
        "--record", metavar="NAME", help="keep what all DIRs found in experiments/studies/NAME"
    )
    parser.set_defaults(command=_sweep)


def _add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("benchmark", metavar="BENCHMARK")
    parser.add_argument("folder", metavar="DIR", type=Path, help="new; results go to DIR/outputs")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="as of evaluate.py")
    parser.set_defaults(command=_task)


def _add_schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "group",
        metavar="GROUP",
        nargs="?",
        help="a folder of conf/, or train or evaluate: the whole config (default: train)",
    )
    parser.add_argument("--write", metavar="DIR", type=Path, help="write all of them into DIR")
    parser.add_argument("--check", metavar="DIR", type=Path, help="fail where one of DIR is stale")
    parser.add_argument(
        "--settings",
        metavar="FILE",
        type=Path,
        help="with --write: add them to .vscode/settings.json",
    )
    parser.add_argument(
        "--conf", metavar="DIR", type=Path, action="append", default=[], help="configs of your own"
    )
    parser.set_defaults(command=_schema)


def _doctor() -> int:
    from restore.evaluation import doctor

    return doctor.show(doctor.diagnose())


def _task(arguments: argparse.Namespace) -> int:
    from restore.evaluation import assignment

    asked = arguments.benchmark, arguments.folder, arguments.overrides
    count = assignment.write(*asked)
    print(f"{count} inputs in {arguments.folder / 'inputs'}")
    print(f"put results under their names into {arguments.folder / 'outputs'}, PNG or .npy")
    print(f"next: {assignment.next_command(*asked)}")
    return DONE


def _add_rooms(commands: Any) -> None:
    """Words whose arguments stand in the room that they call."""
    from restore import (
        asking,
        averaging,
        describe,
        flickering,
        listing,
        parting,
        prediction,
        preview,
        sharding,
    )
    from restore.app import command as app
    from restore.export import command as export

    rooms = {
        "export": export,
        "predict": prediction,
        "app": app,
        "list": listing,
        "show": preview,
        "describe": describe,
        "ask": asking,
        "ema": averaging,
        "shard": sharding,
        "compare": parting,
        "flicker": flickering,
    }
    for word, room in rooms.items():
        room.arguments(_word(commands, word, room.ABOUT, room.EXAMPLES))


def _word(commands: Any, name: str, text: str, examples: str = "") -> argparse.ArgumentParser:
    """The parser of a word, whose --help ends with examples, by default those of `words`."""
    from restore import words

    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=examples or f"examples:\n{words.EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _new(arguments: argparse.Namespace) -> int:
    from restore.new import create

    name = create(arguments.name).name
    print(f"{name}/ is written: cd {name} && pip install -e . && pytest, then")
    print(f"restore train experiment={name}_digits 'hydra.searchpath=[pkg://{name}.conf]'")
    return DONE


def _sweep(arguments: argparse.Namespace) -> int:
    if arguments.record is not None:
        from restore.sweep import keep

        return keep.keep(arguments.folders, arguments.record)
    if len(arguments.folders) > 1:
        raise InputError("several sweeps are one study: add --record NAME, or give one DIR")
    (folder,) = arguments.folders
    if arguments.resume:
        if arguments.by or arguments.over:
            raise InputError("--by and --over rank a sweep that is shown: leave out --resume")
        from restore.sweep import again

        return again.resume(folder, arguments.packages.split(","))
    if arguments.packages:
        raise InputError("--packages says whom --resume trusts: give both")
    from restore.sweep import show

    return show.show(folder, arguments.by, arguments.over)


def _schema(arguments: argparse.Namespace) -> int:
    from restore.config import editor
    from restore.config.command import conf

    folders = [conf(), *arguments.conf]
    asked = (arguments.group, arguments.write, arguments.check)
    if sum(one is not None for one in asked) > 1:
        raise InputError("a group, --write DIR and --check DIR are three things: give one of them")
    if arguments.check is not None:
        return editor.check(arguments.check, folders)
    if arguments.write is not None:
        return editor.write(arguments.write, arguments.settings, folders)
    if arguments.settings is not None:
        raise InputError("--settings names files of --write DIR: give both")
    return editor.show(arguments.group or "train", folders)
