"""The pictures of README.md beside it, by its commands.

    python experiments/tutorial/make.py PRIOR           all pictures, beside this file
    python experiments/tutorial/make.py --inputs DIR    what its commands read, to run them by hand

PRIOR: a run of ddpm_digits, as `make train` leaves one. Photos are scikit-image's.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from restore.image import from_uint8
from restore.picture import sheet

HERE = Path(__file__).resolve().parent
RUN = "outputs/ddpm_digits/RUN"  # stands for PRIOR in README.md
Pixels = np.ndarray  # uint8 [H, W, 3], or uint16 [H, W] for grey of 16 bits
SHEETS = {  # of each picture: the files of its columns
    "toy": ("toy_mask", "toy", "filled/toy", "toy_target"),
    "removed": ("rocket", "mast", "removed/rocket"),
    "pasted": ("pasted", "seam", "melted/pasted"),
    "manuscript": ("scratches", "page", "mended/page"),
    "remote": ("gaps", "craters", "gapless/craters", "craters_whole"),
    "video": ("frames/1", "frames/3", "steady/1", "steady/2", "steady/3"),
    "medical": ("tissue", "clean/tissue", "tissue_target"),
}
ENLARGED = {  # the same of small pictures, and how often a pixel is repeated
    "style": (16, ("printed", *(f"handwritten/printed_{k}" for k in (1, 2, 3)))),
    "drawing": (3, ("drawn", *(f"grown/drawn_{k}" for k in (1, 2, 3)))),
}


def main(arguments: list[str]) -> None:
    match arguments:
        case ["--inputs", folder]:
            write_inputs(Path(folder))
        case [prior] if not prior.startswith("-"):
            write_pictures(prior)
        case _:
            sys.exit(__doc__)


def write_pictures(prior: str) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_inputs(folder)
        for command in commands():
            run(command.replace(RUN, str(Path(prior).resolve())), folder)
        save_all(folder)


def save_all(folder: Path) -> None:
    """The pictures beside this file, of what the commands have read and written in a folder."""
    for name, columns in SHEETS.items():
        save(name, folder, columns)
    for name, (enlarge, columns) in ENLARGED.items():
        save(name, folder, columns, enlarge)


def commands() -> list[str]:
    """The lines of README.md that restore."""
    blocks = re.findall(r"```bash\n(.*?)```", (HERE / "README.md").read_text(), re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("restore predict")]


def run(command: str, folder: Path) -> None:
    start = [sys.executable, "-c", "from restore.cli import main; main()"]
    subprocess.run([*start, *shlex.split(command, comments=True)[1:]], cwd=folder, check=True)


def write_inputs(folder: Path) -> None:
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    for name, pixels in inputs():
        Image.fromarray(pixels).save(folder / f"{name}.png")


def inputs() -> Iterator[tuple[str, Pixels]]:
    """Names of files and what is in them: photos, and masks that are white where to fill."""
    from skimage import data

    toy, hole = squares()
    yield "toy_target", toy
    yield "toy_mask", hole
    yield "toy", np.where(hole > 0, 0, toy).astype(np.uint8)
    rocket = data.rocket()
    yield "rocket", rocket
    yield "mast", triangle(rocket.shape[:2])
    pasted, seam = rocket.copy(), np.zeros_like(rocket)
    pasted[140:372, 236:276] = rocket[120:352, 302:342]
    seam[136:376, 232:280] = 255
    seam[144:368, 240:272] = 0
    yield "pasted", pasted
    yield "seam", seam
    page = np.repeat(data.page()[..., None], 3, axis=2)
    scratches = strokes(page.shape[:2])
    yield "page", np.maximum(page, scratches)
    yield "scratches", scratches
    yield "printed", printed("4")
    yield "drawn", drawn()
    yield from craters()
    yield from tissue()
    yield from frames()


def craters() -> Iterator[tuple[str, Pixels]]:
    """A grey picture of 16 bits from above, without the lines that a broken scanner left out."""
    from skimage import data

    whole = data.moon()[128:384, 192:448].astype(np.uint16) * 257
    rows, columns = np.indices(whole.shape)
    gaps = (rows + columns // 4) % 16 < 4
    yield "craters_whole", whole
    yield "craters", np.where(gaps, 0, whole).astype(np.uint16)
    yield "gaps", np.repeat(np.where(gaps, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


def tissue() -> Iterator[tuple[str, Pixels]]:
    """Stained tissue under a microscope, and with noise of 25 grey levels."""
    from skimage import data

    target = data.immunohistochemistry()[128:320, 128:320]
    noise = np.random.default_rng(0).normal(0, 25, target.shape)
    yield "tissue_target", target
    yield "tissue", (target + noise).round().clip(0, 255).astype(np.uint8)


def frames() -> Iterator[tuple[str, Pixels]]:
    """Three frames of a camera that moves by six pixels, and a hair on its lens."""
    from skimage import data

    hair = Image.new("L", (160, 160))
    ImageDraw.Draw(hair).line(((30, 0), (60, 70), (50, 159)), fill=255, width=5, joint="curve")
    scratch = np.repeat(np.asarray(hair)[..., None], 3, axis=2)
    yield "hair", scratch
    for k in range(3):
        view = data.coffee()[100:260, 200 + 6 * k : 360 + 6 * k]
        yield f"frames/{k + 1}", np.where(scratch > 0, 0, view).astype(np.uint8)


def squares() -> tuple[Pixels, Pixels]:
    """A red square, a green one over it, and the hole where they meet."""
    image, hole = np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128, 3), np.uint8)
    image[30:70, 30:70] = 255, 0, 0
    image[50:90, 50:90] = 0, 255, 0
    hole[45:75, 45:75] = 255
    return image, hole


def triangle(size: tuple[int, int]) -> Pixels:
    """What covers a mast: a hole that is no wider than it has to be."""
    drawn = Image.new("L", size[::-1])
    ImageDraw.Draw(drawn).polygon(((443, 116), (457, 116), (486, 400), (434, 400)), fill=255)
    return np.repeat(np.asarray(drawn)[..., None], 3, axis=2)


def strokes(size: tuple[int, int]) -> Pixels:
    drawn = Image.new("L", size[::-1])
    pen = ImageDraw.Draw(drawn)
    for ends in ((20, 180, 150, 10), (120, 185, 330, 60), (210, 5, 370, 120)):
        pen.line(ends, fill=255, width=3)
    return np.repeat(np.asarray(drawn)[..., None], 3, axis=2)


def printed(text: str) -> Pixels:
    """A digit of a font, 8 px as those that the prior knows."""
    large = Image.new("L", (64, 64))
    ImageDraw.Draw(large).text((11, -18), text, fill=255, font=ImageFont.load_default(72))
    return np.asarray(large.resize((8, 8), Image.Resampling.BOX))


def drawn() -> Pixels:
    """A flower of five discs on a stem, 64 px as those that the prior knows."""
    large = Image.new("RGB", (256, 256), (40, 70, 30))
    pen = ImageDraw.Draw(large)
    pen.line(((128, 150), (120, 255)), fill=(70, 130, 50), width=22)
    for k, (x, y) in enumerate(((128, 60), (190, 100), (170, 170), (86, 170), (66, 100))):
        pen.circle((x, y), 42, fill=((240, 120, 170), (230, 90, 150))[k % 2])
    pen.circle((128, 122), 30, fill=(250, 210, 60))
    return np.asarray(large.resize((64, 64), Image.Resampling.LANCZOS))


def save(name: str, folder: Path, columns: tuple[str, ...], enlarge: int = 1) -> None:
    pixels = [shown(folder / f"{column}.png") for column in columns]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    images = images.repeat_interleave(enlarge, -1).repeat_interleave(enlarge, -2)
    sheet([(from_uint8(images), "")], list(columns)).save(HERE / f"{name}.png", optimize=True)


def shown(file: Path) -> Pixels:
    """uint8 [H, W, 3] of a file of 8 or 16 bits."""
    pixels = np.asarray(Image.open(file))
    if pixels.dtype != np.uint8:
        pixels = (pixels // 257).astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).convert("RGB"))


if __name__ == "__main__":
    main(sys.argv[1:])
