"""What more photos and more GPUs cost, computed from measured rows and stated assumptions."""

import textwrap
from collections.abc import Mapping

from loading import FEW, MANY

Rows = Mapping[tuple[str, str], Mapping[str, str]]  # the newest, by group and name

PHOTOS, GPUS, PASSES = (10**5, 10**7, 10**9), (1, 8, 80), 100
FILE = 40e3  # assumed: bytes of a photo of 256 px
SCALE = (256 / 64) ** 2  # from measured patches of 64 px to photos of 256 px
BATCH = 16  # of the measured step
STEP, PHOTO = ("training step", "inpainting GAN"), ("data", "a photo from shards")
INDEX = ("growth", f"index of {MANY} photos, next start")
MEMORY = ("growth", f"process with {MANY} photos")
GPU = ("GPU training", "flowers' UNet, channels last")  # its peer is what a step does by default
ROOM = 8e9  # assumed: bytes that a process may spend on an index
CORES = 16  # assumed: processor cores beside each GPU


def section(rows: Rows) -> list[str]:
    """A table of trainings of the inpainting GAN at 256 px; empty without the rows."""
    if {STEP, PHOTO, INDEX, MEMORY, GPU} - set(rows) or not float(rows[STEP]["gflop"]):
        return []
    flops = 1e9 * float(rows[GPU]["gflop"]) / float(rows[GPU]["theirs"])
    flop = float(rows[STEP]["gflop"]) * 1e9 / BATCH * SCALE
    decode = float(rows[PHOTO]["ours"])
    start = float(rows[INDEX]["ours"]) / MANY
    weight = (float(rows[MEMORY]["ours"]) - float(rows[MEMORY]["theirs"])) * 2**20 / (MANY - FEW)
    rate = flops / flop
    heads = "photos", "GPUs", "hours", "GPU hours", "TB read", "GB/s", "start, s", "index"
    said = (
        f"{PASSES} passes of the inpainting GAN over photos of 256 px. Measured above: "
        f"{flop / 1e9:.3g} GFLOP an image (from the step at 64 px, by area), "
        f"{1e3 * decode:.2g} ms of a core to decode and crop a photo, {1e6 * start:.2g} us "
        f"and {weight:.0f} bytes of a process for "
        f"its place in the index, {flops / 1e12:.0f} TFLOP/s of {rows[GPU]['device']} in a step of "
        f"the flowers' UNet. Assumed: {FILE / 1e3:.0f} kB a file, {CORES} cores beside each GPU. "
        f"That makes {rate:.0f} images/s of each GPU, which "
        f"{rate * decode:.1f} cores feed."
    )
    lines = ["## Growth on paper", "", *textwrap.wrap(said, 110), ""]
    lines += ["| " + " | ".join([*heads, "first limit"]) + " |", "|" + 8 * "--:|" + "---|"]
    for photos in PHOTOS:
        for gpus in GPUS:
            hours = PASSES * photos / (rate * gpus) / 3600
            cells = (
                f"{photos:.0e}".replace("+0", ""),
                str(gpus),
                f"{hours:.3g}",
                f"{hours * gpus:.3g}",
                f"{PASSES * photos * FILE / 1e12:.3g}",
                f"{rate * gpus * FILE / 1e9:.2g}",
                f"{photos * start:.3g}",
                f"{photos * weight / 1e9:.2g} GB",
                _limit(photos * weight, rate * decode, photos * start / 3600 / hours),
            )
            lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", *_MOVES]


_MOVES = textwrap.wrap(
    "What moves a limit: `data=stream` keeps no index, and reads shards from anywhere; shards "
    "packed by `restore shard` in place of a folder; `data.num_workers` for decoding; more GPUs by "
    "`trainer=ddp`, which share gradients once an update, so that a GPU's batch should not shrink "
    "as GPUs are added.",
    110,
)


def _limit(index: float, cores: float, start: float) -> str:
    """What is short first: memory of an index, cores that decode, or the GPUs themselves.

    start: the share of a training that reading the index takes.
    """
    if index > ROOM:
        return "the index's memory: `data=stream`"
    if start > 0.1:
        return "the start: `data=stream`"
    return "cores that decode" if cores > CORES else "the GPUs"
