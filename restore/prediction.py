"""What `restore predict` takes.

Importing this module must stay instant.
"""

import argparse
from pathlib import Path

from restore import collector

ABOUT = "restore photos by trained models, as PNG files of their own size and depth"
EXAMPLES = """A line of JSON a photo; one that cannot be restored is reported, and the others go on.

examples:
  restore predict denoise photos/ -o restored
  restore predict inpaint portrait.jpg -o filled --mask scratches.png
  restore predict denoise,inpaint,colorize old/ -o new --mask masks/     one after the other
  restore predict outputs/ddpm_mnist/RUN -o digits --num-samples 64      new images, of no photo
  restore predict --job job.zip -o again                                 what the app saved"""


def arguments(words: argparse.ArgumentParser) -> None:
    words.add_argument(
        "models",
        metavar="MODEL[,MODEL...]",
        nargs="?",
        default="",
        help="runs, checkpoints, bundles, released names, or a task: denoise, inpaint, colorize; "
        "several are a chain",
    )
    words.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        type=_named,
        help="files, folders, globs; with none of them a prior makes new images",
    )
    words.add_argument("-o", "--output", metavar="DIR", type=_place, required=True)
    words.add_argument(
        "--job", metavar="FILE", type=_place, help="repeat what the app saved, in place of INPUT"
    )
    _of_photos(words)
    _of_samplers(words)
    words.add_argument("--device", help="cpu or cuda; by default a GPU where there is one")
    words.add_argument(
        "--precision",
        help="32-true, bf16-mixed or auto (default): bfloat16 for samplers on a device that has it",
    )
    words.add_argument("--packages", default="", help="that a checkpoint may name: mylab,other")
    words.set_defaults(command=_predict)


def _named(text: str) -> str:
    """Nothing is no name: pathlib takes it for the working folder, where a photo would be found as
    its own mask."""
    if not text:
        raise argparse.ArgumentTypeError("nothing is named: is a variable of the shell not set?")
    return text


def _place(text: str) -> Path:
    return Path(_named(text))


def _of_photos(words: argparse.ArgumentParser) -> None:
    words.add_argument(
        "--mask", metavar="FILE|DIR", type=_place, help="white is filled; a folder has equal names"
    )
    words.add_argument("--invert-mask", action="store_true", help="black is filled")
    words.add_argument(
        "--sigma", type=float, help="noise level of 255; by default estimated where it is needed"
    )
    words.add_argument(
        "--self-ensemble",
        action="store_true",
        help="the mean over eight turned and mirrored views: eight times as slow, and closer to "
        "the truth; of models without a sampler",
    )
    words.add_argument(
        "--batch-size",
        type=int,
        help="photos of equal sizes at once (default: 1 on a CPU, 8 on a GPU); moves a value by 1 "
        "of 255 at most",
    )


def _of_samplers(words: argparse.ArgumentParser) -> None:
    words.add_argument("--strength", type=float, help="share of 1 that a sampler draws anew")
    words.add_argument(
        "--strength-map",
        metavar="FILE|DIR",
        type=_place,
        help="grey: how much of the strength (1 where none is given) acts where; white all of it, "
        "black none; a folder has equal names",
    )
    words.add_argument("--num-samples", type=int, default=1, help="results, or new images")
    words.add_argument("--size", metavar="WxH", help="of new images; default: that of the training")
    words.add_argument("--seed", type=int, default=0, help="of a sampler")
    words.add_argument("--steps", type=int, help="of a sampler")
    words.add_argument("--guidance", type=float, help="weight or scale of a sampler's guidance")


def _predict(arguments: argparse.Namespace) -> int:
    with collector.paused():
        from restore import predict
        from restore.config.naming import PackagesOption

    given = vars(arguments) | {"packages": PackagesOption(arguments.packages)}
    settings = predict.PredictionSettings(
        **{key: given[key] for key in predict.PredictionSettings.__match_args__}
    )
    asked = _models(arguments.models), arguments.inputs, arguments.output, settings
    if arguments.job is not None:
        return predict.repeat(arguments.job, *asked)
    return predict.predict(*asked)


def _models(named: str) -> list[str]:
    """One or a chain; a run of a sweep may be called `lr=0.1,seed=0`."""
    if named and Path(named).expanduser().exists():
        return [named]
    return [model for model in named.split(",") if model]
