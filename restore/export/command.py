"""The arguments of `restore export`. Importing this is instant."""

import argparse
import re
from pathlib import Path

from restore.errors import DONE

ABOUT = "a trained model to be passed on"
EXAMPLES = """examples:
  restore export outputs/EXPERIMENT/RUN -o bundle
  restore export outputs/EXPERIMENT/RUN --half --check photos_masks -o bundle
  restore export outputs/EXPERIMENT/RUN --format onnx -o onnx --check cbsd68_sigma25"""
FORMATS = ("bundle", "onnx", "diffusers", "kair")


def arguments(words: argparse.ArgumentParser) -> None:
    words.description = (
        "Writes a trained model to be passed on: a bundle (safetensors and JSON), a graph (onnx),\n"
        "a pipeline of diffusers, or a file of KAIR's denoisers."
    )
    words.add_argument("model", metavar="MODEL", help="run folder, checkpoint, bundle or name")
    words.add_argument("--format", choices=FORMATS, default="bundle")
    words.add_argument("-o", "--output", metavar="DIR", type=Path, required=True)
    kinds = words.add_mutually_exclusive_group()
    kinds.set_defaults(kind="float32")
    for word, kind, size in (("--half", "float16", "half"), ("--int8", "int8", "a quarter of")):
        said = f"weights in {kind}: {size} the size"
        kinds.add_argument(word, dest="kind", action="store_const", const=kind, help=said)
    _add_check(words)
    words.add_argument(
        "--size",
        metavar="WxH",
        type=_size,
        help="of all images of an onnx graph, where a runtime wants to know it; default: any",
    )
    words.add_argument("--licence", metavar="TEXT", help="of the weights; by default by their data")
    words.add_argument("--packages", default="", help="that the model may name: mylab,other")
    words.set_defaults(command=run)


def _add_check(words: argparse.ArgumentParser) -> None:
    words.add_argument(
        "--check",
        metavar="BENCHMARK[,...]",
        type=_names,
        default=(),
        help="measure dB lost, MB and ms; above 0.01 dB nothing is written",
    )
    words.add_argument(
        "--with",
        dest="drawn",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="sampler and guidance of --check: guidance=null_space sampler.num_steps=1",
    )


def run(given: argparse.Namespace) -> int:
    from restore.config.naming import PackagesOption
    from restore.export import check, write

    settings = write.ExportSettings(
        kind=given.kind,
        check=given.check,
        licence=given.licence,
        size=given.size,
        packages=PackagesOption(given.packages),
        drawn=tuple(given.drawn),
    )
    model, output = given.model, given.output
    others = {*output.iterdir()} if output.is_dir() else set()
    if given.format == "bundle":
        rows = write.bundled(model, output, settings)
    else:
        rows = write.converted(model, given.format, output, settings)
    if rows:
        print(check.told(rows))
    for path in sorted({*output.iterdir()} - others):
        print(path)
    return DONE


def _size(text: str) -> tuple[int, int]:
    """Height and width of WxH, or of one side."""
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    width, height = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if min(width, height) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no size: give WxH, such as 256x192")
    return height, width


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name for name in text.split(",") if name)
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names no benchmark")
    return names
