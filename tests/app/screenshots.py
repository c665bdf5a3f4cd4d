"""Writes the pictures of experiments/app/: every tab, driven in a real browser, with real models.

python tests/app/screenshots.py PHOTO SMALL MODEL... writes home.png and one picture for each tab
that a model serves. PHOTO is a photo; SMALL one of the size of the editing model's images.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

from driving import choose, choose_photo, choose_tab, draw, fill, opened, restore  # noqa: E402
from serving import served  # noqa: E402

OUT = ROOT / "experiments" / "app"
WIDTH = 960  # px of a picture
INPAINTER = "inpaint_scenes_regression"  # released; others may serve grey images alone


def shoot(page: Any, name: str) -> None:
    """A picture of the page, with the few colours that it needs."""
    page.mouse.move(1, 1)
    page.wait_for_timeout(1500)
    page.screenshot(path=str(OUT / f"{name}.png"), full_page=True)
    with Image.open(OUT / f"{name}.png") as taken:
        size = (WIDTH, round(WIDTH * taken.height / taken.width))
        small = taken.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        small = small.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        small.save(OUT / f"{name}.png", optimize=True)


def noisy(photo: Path, folder: Path, sigma: float = 25.0) -> Path:
    """The photo under Gaussian noise of `sigma` grey levels."""
    clean = np.asarray(Image.open(photo).convert("RGB"), dtype=float)
    made = clean + np.random.default_rng(0).normal(0, sigma, clean.shape)
    path = folder / "noisy.png"
    Image.fromarray(made.round().clip(0, 255).astype(np.uint8)).save(path)
    return path


def take(page: Any, tab: str, photo: Path) -> None:
    """What a person does in this tab, and its picture."""
    choose_tab(page, tab)
    if not page.locator(f"#{tab.lower()}-model input").input_value():
        print(f"{tab}: no model serves it")
        return
    choose_photo(page, tab, photo)
    if tab == "Inpainting":
        choose(page, tab, "model", INPAINTER)
        draw(page, tab, (0.57, 0.66), (0.64, 0.72))
    if tab == "Editing":
        draw(page, tab, (0.4, 0.3), (0.6, 0.7))
        fill(page, tab, "strength", 0.6)
        fill(page, tab, "samples", 4)
        fill(page, tab, "steps", 50)
    print(restore(page, tab))
    shoot(page, tab.lower())


def main(photo: str, small: str, *models: str) -> None:
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        given = [str(Path(model).resolve()) for model in models]
        with served(given, folder) as server, opened(server.url, 1280, 900) as page:
            page.wait_for_timeout(2000)
            shoot(page, "home")
            take(page, "Inpainting", Path(photo))
            take(page, "Colorization", Path(photo))
            take(page, "Denoising", noisy(Path(photo), folder))
            take(page, "Editing", Path(small))


if __name__ == "__main__":
    main(*sys.argv[1:])
