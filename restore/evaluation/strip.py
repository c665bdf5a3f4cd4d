"""python -m restore.evaluation.strip: the README's strips, cut out of the pictures of records."""

from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

SIDE, GAP, LINE = 128, 4, 18  # pixels
COLUMNS = ("input", "restored", "target")


class Cut(NamedTuple):
    """Squares of an experiment's picture, by the left and upper corner of each."""

    experiment: str
    title: str
    side: int
    rows: tuple[tuple[tuple[int, int], ...], ...]
    picture: str = "samples.png"


def _row(y: int, *xs: int) -> tuple[tuple[int, int], ...]:
    return tuple((x, y) for x in xs)


CUTS = (
    Cut(
        "denoise_bsds_psnr",
        "denoising, sigma 25",
        128,
        (_row(20, 82, 340, 598), _row(330, 80, 338, 596)),
    ),
    Cut(
        "inpaint_flowers",
        "inpainting, strokes",
        128,
        (_row(278, 132, 262, 392), _row(668, 132, 262, 392)),
    ),
    Cut("colorize_any", "colorization", 128, (_row(148, 2, 132, 262), _row(538, 2, 132, 262))),
    Cut(
        "ddpm_mnist",
        "diffusion prior, RePaint",
        140,
        (_row(444, 144, 286, 1138), _row(586, 144, 286, 1138)),
    ),
)


def _one_prior(benchmark: str, title: str, x: int = 2) -> Cut:
    """The third and the fourth image of a comparison whose inputs begin at x."""
    rows = tuple(_row(18 + 130 * k, x, x + 130, x + 260) for k in (2, 3))
    return Cut("ddpm_flowers", title, 128, rows, f"{benchmark}.png")


PRIOR = (
    _one_prior("flowers_masks", "holes", 132),
    _one_prior("flowers_gray", "grey"),
    _one_prior("flowers_sr4", "a quarter of the side"),
    _one_prior("flowers_blur", "blur"),
    _one_prior("flowers_sigma50", "noise, sigma 50"),
)


def strip(folder: Path, cuts: tuple[Cut, ...] = CUTS) -> Image.Image:
    """Two rows for each cut, of the pictures in experiments/<name>/ below `folder`."""
    block = 3 * SIDE + 2 * GAP
    size = (len(cuts) * (block + 3 * GAP) - 3 * GAP, 2 * LINE + 2 * SIDE + GAP)
    picture = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for number, cut in enumerate(cuts):
        left = number * (block + 3 * GAP)
        draw.text((left, 0), f"{cut.title}: {cut.experiment}", fill="black", font=font)
        with Image.open(folder / cut.experiment / cut.picture) as opened:
            source = opened.convert("RGB")
        for row, corners in enumerate(cut.rows):
            for column, (x, y) in enumerate(corners):
                place = left + column * (SIDE + GAP)
                draw.text((place, LINE), COLUMNS[column], fill="black", font=font)
                square = source.crop((x, y, x + cut.side, y + cut.side))
                enlarged = square.resize((SIDE, SIDE), Image.Resampling.NEAREST)
                picture.paste(enlarged, (place, 2 * LINE + row * (SIDE + GAP)))
    return picture


if __name__ == "__main__":
    experiments = Path("experiments")
    strip(experiments).save(experiments / "strip.png", optimize=True)
    strip(experiments, PRIOR).save(experiments / "prior.png", optimize=True)
