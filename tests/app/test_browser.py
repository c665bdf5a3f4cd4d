"""Each tab in headless Chromium: a photo is chosen, strokes are drawn, the result is there."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import CHROMIUM, choose, choose_photo, choose_tab, draw, files, fill, opened, restore
from PIL import Image
from png_bytes import png
from serving import Server

from restore import job

pytestmark = [pytest.mark.slow, pytest.mark.ci]
RAMP = np.linspace(40, 215, 96).astype(np.uint8)
PHOTO = np.stack(np.broadcast_arrays(RAMP[:, None], RAMP[None], np.uint8(120)), -1)


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Any]:
    pytest.importorskip("playwright", reason="the browser is driven by playwright, of `dev`")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed: apt-get install chromium, as .ci/run does")
    with opened(server.url) as page:
        yield page


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    path.write_bytes(png(PHOTO))
    return path


def upload(page: Any, part: str, path: Path) -> None:
    """By a button that opens a dialog for files."""
    with page.expect_file_chooser() as chooser:
        page.locator(f"#{part}").click()
    chooser.value.set_files(str(path))


def results(page: Any, tab: str) -> list[np.ndarray]:
    """The PNG files that the tab offers, as arrays."""
    found = []
    for address in files(page, tab):
        answer = page.request.get(address)
        assert answer.ok
        found.append(np.asarray(Image.open(io.BytesIO(answer.body()))))
    return found


def saved_job(page: Any, tab: str, folder: Path) -> job.Job:
    with page.expect_download() as download:
        page.locator(f"#{tab.lower()}-job").click()
    download.value.save_as(folder / "job.zip")
    return job.read(folder / "job.zip")


BROKEN = """() => {
    const broken = [], range = document.createRange();
    const cells = [...document.querySelectorAll("th, td:last-child")];
    for (const cell of cells.filter(one => !one.innerText.includes(" "))) {
        range.selectNodeContents(cell);
        const lines = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
        if (lines.size > 1) broken.push(cell.innerText);
    }
    return [cells.length, broken];
}"""


def test_no_word_of_the_list_is_broken_on_a_phone(page: Any) -> None:
    page.locator("td").first.wait_for()
    page.set_viewport_size({"width": 390, "height": 844})
    cells, broken = page.evaluate(BROKEN)
    assert cells > 8 and broken == []
    page.set_viewport_size({"width": 1280, "height": 1000})


def test_inpainting(page: Any, photo: Path, tmp_path: Path) -> None:
    choose_tab(page, "Inpainting")
    choose_photo(page, "Inpainting", photo)
    choose(page, "Inpainting", "model", "inpainter")
    draw(page, "Inpainting", (0.4, 0.5), (0.6, 0.5))
    assert "inpainter: 96 x 96, 8 bits" in restore(page, "Inpainting")
    (made,) = results(page, "Inpainting")
    saved = saved_job(page, "Inpainting", tmp_path)
    assert saved.mask is not None and np.array_equal(_array(saved.image), PHOTO)
    hole = _array(saved.mask) > 0
    assert 50 < hole.sum() < 5000 and hole[48, 40:56].all() and not hole[:10].any()
    assert np.array_equal(made[~hole], PHOTO[~hole])
    assert not np.array_equal(made[hole], PHOTO[hole])
    assert job.digest(page.request.get(files(page, "Inpainting")[0]).body()) == saved.results[0]


def test_a_strength_map_is_uploaded(page: Any, photo: Path, tmp_path: Path) -> None:
    drawn = np.zeros((96, 96), np.uint8)
    drawn[:, 48:] = 255
    (tmp_path / "map.png").write_bytes(png(drawn))
    choose_tab(page, "Editing")
    choose_photo(page, "Editing", photo)
    choose(page, "Editing", "model", "sketcher")
    fill(page, "Editing", "strength", 1)
    upload(page, "editing-soft", tmp_path / "map.png")
    page.locator("#editing-strength_map img").wait_for()
    restore(page, "Editing")
    (made,) = results(page, "Editing")
    assert np.array_equal(made[:, :48], PHOTO[:, :48])
    assert not np.array_equal(made[:, 48:], PHOTO[:, 48:])
    assert np.array_equal(_array(saved_job(page, "Editing", tmp_path).strength_map), drawn)
    page.locator("#editing-no_map").click()
    page.locator("#editing-strength_map img").wait_for(state="detached")


def test_a_mask_is_uploaded_inverted_and_compared(page: Any, photo: Path, tmp_path: Path) -> None:
    hole = np.zeros((96, 96), np.uint8)
    hole[20:40, 30:70] = 255
    (tmp_path / "mask.png").write_bytes(png(255 - hole))
    choose_tab(page, "Inpainting")
    choose_photo(page, "Inpainting", photo)
    choose(page, "Inpainting", "model", "inpainter")
    upload(page, "inpainting-mask", tmp_path / "mask.png")
    page.wait_for_timeout(3000)
    page.locator("#inpainting-invert").click()
    page.wait_for_timeout(3000)
    page.locator("#inpainting-more button").first.click()
    choose(page, "Inpainting", "other", "prior")
    said = restore(page, "Inpainting")
    assert "inpainter" in said and "prior" in said
    page.locator("#inpainting-again").click()
    page.wait_for_timeout(3000)
    assert page.locator("#inpainting-other input").input_value() == "prior"
    page.locator("#inpainting-both img").first.wait_for()
    assert np.array_equal(_array(saved_job(page, "Inpainting", tmp_path).mask), hole)


def test_a_mask_and_a_map_are_of_the_second_photo_or_a_message(
    page: Any, photo: Path, tmp_path: Path
) -> None:
    """The first photo's are refused by the second, of another shape, and the next request works."""
    drawn = np.zeros((48, 96), np.uint8)
    drawn[10:30, 30:70] = 255
    (tmp_path / "wide.png").write_bytes(png(np.ascontiguousarray(PHOTO[:48])))
    (tmp_path / "fits.png").write_bytes(png(drawn))
    (tmp_path / "square.png").write_bytes(png(np.kron(drawn, np.ones((2, 1), np.uint8))))
    for tab, model, part, word in (
        ("Inpainting", "inpainter", "mask", "mask"),
        ("Editing", "sketcher", "soft", "strength map"),
    ):
        choose_tab(page, tab)
        choose_photo(page, tab, photo)
        choose(page, tab, "model", model)
        upload(page, f"{tab.lower()}-{part}", tmp_path / "square.png")
        page.wait_for_timeout(3000)
        choose_photo(page, tab, tmp_path / "wide.png")
        upload(page, f"{tab.lower()}-{part}", tmp_path / "square.png")
        page.get_by_text(f"the {word} has 96 x 96 pixels and the photo 96 x 48").first.wait_for()
        upload(page, f"{tab.lower()}-{part}", tmp_path / "fits.png")
        page.wait_for_timeout(3000)
        assert f"{model}: 96 x 48, 8 bits" in restore(page, tab)
        saved = saved_job(page, tab, tmp_path)
        kept = saved.mask if tab == "Inpainting" else saved.strength_map
        assert np.array_equal(_array(kept), drawn)


COVERED = """canvas => {
    window.covered = [];
    const status = document.querySelector(`${canvas} [data-testid=status-tracker]`);
    const note = () => status.classList.contains("hide") || window.covered.push(status.innerText);
    new MutationObserver(note).observe(status, {attributes: true, childList: true, subtree: true});
}"""


@pytest.mark.parametrize(("tab", "model"), [("Inpainting", "inpainter"), ("Editing", "sketcher")])
def test_nothing_covers_the_canvas_of_a_second_and_a_third_photo(
    page: Any, photo: Path, tmp_path: Path, tab: str, model: str
) -> None:
    """A wide one and one of twenty pixels: both are painted on, and keep their sizes."""
    wide, small = np.ascontiguousarray(PHOTO[:48]), np.ascontiguousarray(PHOTO[::5, ::5])
    choose_tab(page, tab)
    choose_photo(page, tab, photo)
    choose(page, tab, "model", model)
    page.evaluate(COVERED, f"#{tab.lower()}-canvas")
    for shown in (wide, small):
        (tmp_path / "shown.png").write_bytes(png(shown))
        choose_photo(page, tab, tmp_path / "shown.png")
        draw(page, tab, (0.4, 0.5), (0.6, 0.5))
        height, width = shown.shape[:2]
        assert f"{model}: {width} x {height}, 8 bits" in restore(page, tab)
        made = results(page, tab)[0]  # a model to compare with may still be chosen
        assert made.shape == shown.shape
        saved = saved_job(page, tab, tmp_path)
        drawn = _array(saved.image) != shown if saved.mask is None else _array(saved.mask) > 0
        drawn = drawn.any(-1) if drawn.ndim == 3 else drawn
        assert drawn[height // 2, int(0.42 * width) : int(0.58 * width)].all()
        assert drawn.mean() < 0.5 and not drawn[: height // 8].any()
    assert page.evaluate("window.covered") == []


def _array(content: bytes | None) -> np.ndarray:
    assert content is not None
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(("tab", "model"), [("Colorization", "colorizer"), ("Denoising", "blind")])
def test_a_photo_alone(page: Any, photo: Path, tab: str, model: str) -> None:
    choose_tab(page, tab)
    choose_photo(page, tab, photo)
    choose(page, tab, "model", model)
    assert f"{model}: 96 x 96, 8 bits" in restore(page, tab)
    (made,) = results(page, tab)
    assert made.shape == PHOTO.shape and not np.array_equal(made, PHOTO)


def test_editing(page: Any, photo: Path, tmp_path: Path) -> None:
    choose_tab(page, "Editing")
    choose_photo(page, "Editing", photo)
    choose(page, "Editing", "model", "sketcher")
    draw(page, "Editing", (0.4, 0.5), (0.6, 0.5))
    fill(page, "Editing", "strength", 0.75)
    fill(page, "Editing", "samples", 2)
    assert "sketcher: 96 x 96" in restore(page, "Editing")
    one, two = results(page, "Editing")
    assert not np.array_equal(one, two)
    saved = saved_job(page, "Editing", tmp_path)
    assert saved.settings.strength == 0.75 and saved.settings.num_samples == 2
    painted = _array(saved.image)
    changed = (painted != PHOTO).any(-1)
    assert 50 < changed.sum() < 5000 and changed[48, 40:56].all()
    page.locator("#editing-gallery img").nth(1).click()
    page.wait_for_timeout(1500)


def test_a_sampler_is_stopped_painted_over_and_goes_on(page: Any, photo: Path) -> None:
    choose_tab(page, "Editing")
    choose_photo(page, "Editing", photo)
    fill(page, "Editing", "samples", 1)
    fill(page, "Editing", "strength", 1)
    fill(page, "Editing", "steps", 1000)
    page.locator("#editing-run").click()
    status = page.locator("#editing-status")
    status.filter(has_text="of 1000").wait_for()
    page.locator("#editing-stop").click()
    status.filter(has_text="Stopped at step").wait_for()
    page.locator("#editing-go_on").click()
    page.locator("#editing-go_on").wait_for(state="hidden")
    reached = page.locator("#editing-strength input[type=number]").first.input_value()
    assert 0 < float(reached) < 1
    fill(page, "Editing", "steps", 4)
    fill(page, "Editing", "strength", 0.5)
    page.wait_for_timeout(3000)
    draw(page, "Editing", (0.4, 0.4), (0.6, 0.6))
    assert "sketcher" in restore(page, "Editing")


def test_a_visitor_who_waits_can_stop(page: Any, photo: Path) -> None:
    """Two visitors keep the queue busy; the third stops before its turn comes."""
    others = [page.context.browser.new_page() for _ in range(2)]
    for one in (*others, page):
        one.goto(page.url)
        choose_tab(one, "Colorization")
        choose_photo(one, "Colorization", photo)
        choose(one, "Colorization", "model", "painter")
        fill(one, "Colorization", "steps", 1000)
    for one in others:
        one.locator("#colorization-run").click()
    others[0].locator("#colorization-status").filter(has_text="of 1000").wait_for()
    page.locator("#colorization-run").click()
    page.wait_for_timeout(3000)
    page.locator("#colorization-stop").click()
    page.wait_for_timeout(3000)
    for one in others:
        one.locator("#colorization-stop").click()
        one.locator("#colorization-status").filter(has_text="Stopped at step").wait_for()
    status = page.locator("#colorization-status")
    status.filter(has_text="Stopped before there was a result").wait_for()
    for one in others:
        one.close()


def test_a_broken_photo_is_a_message(page: Any, photo: Path, tmp_path: Path) -> None:
    choose_tab(page, "Denoising")
    (tmp_path / "broken.png").write_bytes(b"no image")
    choose_photo(page, "Denoising", photo)
    page.locator("#denoising-photo button[aria-label=Clear]").click()
    page.locator("#denoising-original img").wait_for(state="detached")
    page.set_input_files("#denoising-photo input[type=file]", str(tmp_path / "broken.png"))
    page.get_by_text("the file: not a PNG").first.wait_for()
    choose_photo(page, "Denoising", photo)
    assert "96 x 96" in restore(page, "Denoising")


def test_nothing_leaves_this_machine(page: Any) -> None:
    assert page.outside == [] and os.environ.get("RESTORE_APP_AUTH") is None
