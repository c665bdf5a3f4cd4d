"""What `restore app` takes.

Importing this module must stay instant.
"""

import argparse
from pathlib import Path

from restore import collector
from restore.app.options import Options

ABOUT = "fill, colour, clean and paint photos in a browser, by released models and your own"
EXAMPLES = """examples:
  restore app                             released models, and the runs of outputs/ and multirun/
  restore app outputs/inpaint_flowers     those of one folder, at any depth
  restore app --host 0.0.0.0 --auth FILE  for others, too; FILE has lines of NAME:PASSWORD"""


def arguments(words: argparse.ArgumentParser) -> None:
    words.add_argument(
        "models",
        metavar="MODEL",
        nargs="*",
        help="runs, checkpoints, bundles, folders of runs (default: outputs/ and multirun/); "
        "released models are there in any case",
    )
    words.add_argument("--host", default="127.0.0.1", help="others than loopback want a password")
    words.add_argument("--port", type=int, default=7860)
    words.add_argument("--packages", default="", help="that a checkpoint may name: mylab,other")
    words.add_argument("--auth", metavar="FILE", type=Path, help="lines of NAME:PASSWORD")
    words.add_argument("--device", help="cpu or cuda; by default a GPU where there is one")
    words.set_defaults(command=_serve)


def _serve(given: argparse.Namespace) -> int:
    with collector.paused():
        from restore.app import server
        from restore.config.naming import PackagesOption

    packages = PackagesOption(given.packages)
    models = tuple(given.models)
    return server.serve(Options(models, given.host, given.port, packages, given.auth, given.device))
