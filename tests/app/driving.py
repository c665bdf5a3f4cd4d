"""A real browser in front of the app: what a person does in a tab."""

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SLOW = 120_000  # milliseconds: a canvas without a GPU, on a busy machine
DONE = re.compile(r"\d+ x \d+, (8|16) bits")


@contextlib.contextmanager
def opened(url: str, width: int = 1280, height: int = 1000) -> Iterator[Any]:
    """The page of an app; `page.outside` lists requests that left this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(SLOW)
        page.outside = []
        here = (url, "data:", "blob:")
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(here) else page.outside.append(asked.url),
        )
        page.goto(url)
        page.get_by_role("tab", name="Home").wait_for()
        try:
            yield page
        finally:
            browser.close()


def choose_tab(page: Any, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()
    page.locator(f"#{tab.lower()}-run").wait_for()


def choose_photo(page: Any, tab: str, photo: Path) -> None:
    """Waits until the photo is shown. The one that a tab has is taken away first."""
    word = tab.lower()
    page.locator(f"#{word}-original").wait_for()
    if not page.locator(f"#{word}-photo input[type=file]").count():
        page.locator(f"#{word}-photo button[aria-label=Clear]").click()
    page.locator(f"#{word}-photo input[type=file]").wait_for(state="attached")
    page.locator(f"#{word}-original img").wait_for(state="detached")
    page.set_input_files(f"#{word}-photo input[type=file]", str(photo))
    page.locator(f"#{word}-original img").wait_for()
    if page.locator(f"#{word}-canvas canvas").count():
        wait_for_picture(page.locator(f"#{word}-canvas canvas").first)


def wait_for_picture(canvas: Any) -> None:
    """Until two looks at a canvas are equal: the page does not know when its picture lies there."""
    canvas.scroll_into_view_if_needed()
    before, now = b"", b"none yet"
    while before != now:
        time.sleep(1)
        before, now = now, canvas.screenshot()


def choose(page: Any, tab: str, name: str, value: str) -> None:
    """One of a dropdown."""
    field = page.locator(f"#{tab.lower()}-{name} input")
    field.click()
    page.get_by_role("option", name=value, exact=True).click()


def draw(page: Any, tab: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A stroke between two places of the canvas, given as shares of its width and height."""
    box = page.locator(f"#{tab.lower()}-canvas canvas").first.bounding_box()
    (x, y), (u, v) = (
        (box["x"] + across * box["width"], box["y"] + down * box["height"])
        for across, down in (start, end)
    )
    page.mouse.move(x - 2, y - 2)
    page.mouse.move(x, y)
    time.sleep(0.5)
    page.mouse.down()
    page.mouse.move((x + u) / 2, (y + v) / 2)
    page.mouse.move(u, v)
    page.mouse.up()
    time.sleep(1)


def fill(page: Any, tab: str, name: str, value: float) -> None:
    """A number."""
    field = page.locator(f"#{tab.lower()}-{name} input[type=number]").first
    field.fill(str(value))
    field.press("Enter")
    field.blur()


def restore(page: Any, tab: str) -> str:
    """Presses the button; what is said once the result is there."""
    page.locator(f"#{tab.lower()}-run").click()  # which takes away what was said of the last one
    status = page.locator(f"#{tab.lower()}-status").filter(has_text=DONE)
    status.wait_for()
    page.locator(f"#{tab.lower()}-slider img").first.wait_for()
    return str(status.inner_text())


def files(page: Any, tab: str) -> list[str]:
    """Addresses of the PNG files that are offered."""
    links = page.locator(f"#{tab.lower()}-files a[href$='.png']")  # not the job of another model
    links.first.wait_for()
    return [links.nth(k).get_attribute("href") for k in range(links.count())]
