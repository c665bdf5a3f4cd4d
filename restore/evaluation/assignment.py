"""What a method of others may see of a benchmark, as files: inputs, masks and a manifest."""

import contextlib
import json
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from restore.config.command import paste, program
from restore.config.compose import composed
from restore.data.order import EvalOrder
from restore.evaluation import load
from restore.evaluation.benchmark import Benchmark
from restore.folder import write_whole
from restore.hashing import sha256_of
from restore.image import from_uint8, to_uint8, to_unit
from restore.picture import save_png
from restore.types import Batch, InputError, Observation

MANIFEST, INPUTS, MASKS, OUTPUTS = "manifest.json", "inputs", "masks", "outputs"
MEASURED = "measured"
FORMAT = 1
Image = dict[str, Any]  # one of the manifest's `images`
NEEDED = {"name", "size", "input", "sha256"}  # of those that are read again


class Manifest(NamedTuple):
    """manifest.json. task: hash of the data and its degradation, whatever is measured on them."""

    format: int
    benchmark: str
    overrides: list[str]
    task: str
    protocol: str
    channels: int  # of an output
    n: int
    images: list[Image]


def write(name: str, folder: Path, overrides: Sequence[str] = ()) -> int:
    """Writes the inputs of benchmark `name`, and masks where it has holes; their number.

    An input of 8 bits is inputs/00000.png, any other inputs/00000.npy, float32 [H, W, C] in units
    of [0, 1] and neither clipped nor rounded, with a PNG for the eye. White in masks/00000.png is
    to be filled. What was measured at a smaller size, of which the input is an enlargement, is
    measured/00000.npy. Nothing of the targets is written; the manifest is written last.

    Raises InputError for an unknown benchmark, or a folder that holds anything.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty: name a new folder")
    config = composed("evaluate", [f"benchmark={name}", *overrides])
    found = load.benchmarks(config, 0)
    if len(found) != 1:
        raise InputError(f"benchmark={name} names {len(found)} benchmarks: name one")
    benchmark = found[0]
    benchmark.check()
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        (folder / OUTPUTS).mkdir(parents=True)
        return _write_all(benchmark, folder, overrides)
    except BaseException:  # what is left would make the next try a folder that is not empty
        for place in (INPUTS, MASKS, MEASURED, OUTPUTS):
            shutil.rmtree(folder / place, ignore_errors=True)
        for one in new:
            with contextlib.suppress(OSError):
                one.rmdir()
        raise


def _write_all(benchmark: Benchmark, folder: Path, overrides: Sequence[str]) -> int:
    images = [_write_one(folder, batch) for batch in batches(benchmark)]
    channels = benchmark.data.facts.image_channels
    manifest = Manifest(
        FORMAT, benchmark.name, [*overrides], benchmark.task, benchmark.protocol, channels,
        len(images), images,
    )  # fmt: skip
    write_whole(folder / MANIFEST, json.dumps(manifest._asdict(), indent=1) + "\n")
    return len(images)


def batches(benchmark: Benchmark) -> Iterator[Batch]:
    """The test split one by one, as an evaluation sees it."""
    data = benchmark.data
    samples = data.samples("test")
    for key in EvalOrder(len(samples), data.seed):
        yield data.to_batch(samples[key])


def _write_one(folder: Path, batch: Observation) -> Image:
    image, index = batch["input"][0], int(batch["index"][0])
    hole = batch["hole"][0] > 0.5 if "hole" in batch else None
    stem = f"{index:05}"
    picture = folder / INPUTS / f"{stem}.png"
    save_png(image if len(image) in (1, 3) else image[:1], picture)
    path = picture
    if not is_eight_bit(image, hole):
        path = picture.with_suffix(".npy")
        _save(image, path)
    said: Image = {"index": index, "name": batch["name"][0], "size": [*image.shape[-2:]]}
    said |= {"input": path.name, "sha256": sha256_of(path)}
    if hole is not None:
        mask = folder / MASKS / f"{stem}.png"
        save_png(hole.float() * 2 - 1, mask)
        said |= {"mask": mask.name, "mask_sha256": sha256_of(mask)}
    operator = batch.get("operator")
    if operator is not None and not operator.keeps_size:
        small = folder / MEASURED / f"{stem}.npy"
        small.parent.mkdir(exist_ok=True)
        _save(operator.measured(batch["input"])[0], small)
        said["measured"] = small.name
    if "sigma" in batch:
        said["sigma"] = round(float(batch["sigma"][0]) * 127.5, 6)  # grey levels of 255
    if "label" in batch:
        said["label"] = int(batch["label"][0])
    return said


def _save(image: Tensor, path: Path) -> None:
    """[C, H, W] in [-1, 1] as float32 [H, W, C] in units of [0, 1]."""
    np.save(path, to_unit(image.float()).permute(1, 2, 0).cpu().numpy())


def is_eight_bit(image: Tensor, hole: Tensor | None) -> bool:
    """Whether a PNG holds all that is known of [C, H, W]."""
    same = from_uint8(to_uint8(image)) == image
    return len(image) in (1, 3) and bool((same if hole is None else same | hole).all())


def read(folder: Path) -> Manifest:
    """The manifest of a folder whose inputs and masks are as they were written.

    Raises InputError, in one line, for what is missing, changed or no manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{path} does not exist: write the folder by restore task BENCHMARK DIR")
    try:
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is no manifest of restore task: {error}") from None
    if manifest.format != FORMAT:
        raise InputError(f"{path} has format {manifest.format}, not {FORMAT}: write it anew")
    for number, image in enumerate(manifest.images):
        needed = {*NEEDED, "mask_sha256"} if "mask" in image else NEEDED
        if missing := sorted(needed - image.keys()):
            raise InputError(f"{path}: image {number} lacks {', '.join(missing)}: write it anew")
        _check_unchanged(folder / INPUTS / image["input"], image["sha256"])
        if "mask" in image:
            _check_unchanged(folder / MASKS / image["mask"], image["mask_sha256"])
    return manifest


def _check_unchanged(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise InputError(f"{path} is missing: what was restored from it cannot be known")
    if sha256_of(path) != sha256:
        raise InputError(f"{path} is not what restore task wrote: write a new folder")


def next_command(name: str, folder: Path, overrides: Sequence[str]) -> str:
    """What measures the outputs, to be pasted into a shell."""
    words = [f"benchmark={name}", paste("outputs", str(folder)), *map(shlex.quote, overrides)]
    return f"{program('evaluate')} {' '.join(words)}"
