"""What a tab shows of a restoration, without a browser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restore.app import canvas, comparison, outcome, work
from restore.data.photo_file import read_photo, write_png
from restore.types import InputError

BEFORE = np.zeros((2, 3, 3), np.uint8)
LINEAR = Path(__file__).parents[1] / "data" / "files" / "rgb_linear_profile.png"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def picture(value: int, height: int = 2, width: int = 3, kind: Any = np.uint8) -> np.ndarray:
    return np.full((height, width, 3), value, kind)


def done(
    name: str, *images: np.ndarray, sigma: float | None = None, profile: bytes | None = None
) -> work.Done:
    files = [Path(f"{name}{number}.png") for number in range(len(images))]
    for image, file in zip(images, files, strict=True):
        write_png(image, file, profile)
    return work.Done(list(images), files, Path(f"{name}.json"), sigma, 1.24)


def test_a_step_is_shown_with_its_number() -> None:
    step = work.Underway("a", 3, 8, 0.25, picture(7))
    assert outcome.show_progress(comparison.Begun(["a", "b"])) == {"status": r"a \> b is at work."}
    assert outcome.show_progress(step) == {"result": step.image, "status": "a: step 3 of 8"}


@pytest.mark.parametrize(
    ("edits", "width", "visible"),
    [(True, canvas.LONGEST, True), (True, canvas.LONGEST + 1, False), (False, 3, False)],
)
def test_a_stop_can_be_gone_on_from_where_the_canvas_takes_it(
    edits: bool, width: int, visible: bool
) -> None:
    assert "result" not in outcome.show_stop(None, edits)
    shown = outcome.show_stop(work.Underway("a", 3, 8, 0.25, picture(7, width=width)), edits)
    assert shown["status"] == "Stopped at step 3 of 8, at level 0.250."
    assert shown["reached"] == 0.25 and shown["go_on"]["visible"] == visible


def test_one_result_is_shown_beside_the_photo() -> None:
    result = picture(7, 2, 3)
    shown = outcome.show_results(BEFORE, [["a", "b"]], [done("r", result, sigma=12.34)])
    assert shown["status"] == r"a \> b: 3 x 2, 8 bits, noise level 12.3, 1.2 s"
    assert shown["slider"]["value"][0] is BEFORE
    assert np.array_equal(shown["slider"]["value"][1], result)
    assert not shown["gallery"]["visible"] and not shown["both"]["visible"]
    assert shown["both"]["value"] is None
    assert shown["files"]["value"] == ["r0.png"] and shown["job"]["value"] == "r.json"


def test_a_result_is_shown_in_the_colours_in_which_its_photo_is() -> None:
    """Both have numbers of another profile in their files, and a page knows sRGB alone."""
    array, profile = read_photo(LINEAR)
    before = canvas.read_shown(LINEAR)
    shown = outcome.show_results(before, [["a"]], [done("r", array, profile=profile)])
    assert np.array_equal(shown["result"], before) and not np.array_equal(array, before)


def test_two_chains_are_compared_and_every_image_is_in_the_gallery() -> None:
    first = done("r", picture(1), picture(2))
    second = done("s", picture(3 << 8, kind=np.uint16), picture(4 << 8, kind=np.uint16))
    shown = outcome.show_results(BEFORE, [["a"], ["b"]], [first, second])
    gallery = shown["gallery"]
    assert gallery["visible"] and [label for _, label in gallery["value"]] == ["a", "a", "b", "b"]
    assert [int(image.max()) for image, _ in gallery["value"]] == [1, 2, 3, 4]
    assert [int(image.max()) for image in shown["both"]["value"]] == [1, 3]
    assert shown["both"]["visible"] and int(shown["result"].max()) == 1
    assert shown["files"]["value"] == ["r0.png", "r1.png", "s0.png", "s1.png", "s.json"]
    assert shown["job"]["value"] == "r.json"
    assert shown["status"] == "a: 3 x 2, 8 bits, 1.2 s  \nb: 3 x 2, 16 bits, 1.2 s"


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (work.Stopped(), "Stopped before there was a result."),
        (
            work.Stopped(work.Underway("b", 3, 8, 0.25, picture(7))),
            "Stopped at step 3 of 8, at level 0.250.",
        ),
        (InputError("the memory does not suffice"), "the memory does not suffice"),
    ],
    ids=["before a step", "behind a step", "error"],
)
def test_a_comparison_that_ends_early_keeps_its_first_results(end: Any, says: str) -> None:
    shown = outcome.show_results(BEFORE, [["a"], ["b", "c"]], [done("r", picture(1))], end)
    assert shown["status"] == f"a: 3 x 2, 8 bits, 1.2 s  \nb \\> c: {says}"
    assert int(shown["result"].max()) == 1 and shown["files"]["value"] == ["r0.png"]
    assert shown["slider"]["visible"] and shown["job"]["value"] == "r.json"
    assert not shown["both"]["visible"]
    seen = [(int(image.max()), label) for image, label in shown["gallery"]["value"]]
    so_far = [(7, "b: step 3 of 8")] if "step 3" in says else []
    assert seen == [(1, "a"), *so_far] and shown["gallery"]["visible"] == bool(so_far)


def test_names_and_errors_stand_in_a_status_as_they_are() -> None:
    """The status is Markdown, in which runs of a folder `__old__` would lose their underscores."""
    name, plain = "__old__/*x*<b>", r"\_\_old\_\_/\*x\*\<b\>"
    step = work.Underway(name, 3, 8, 0.25, picture(7))
    assert outcome.show_progress(step)["status"] == f"{plain}: step 3 of 8"
    assert outcome.show_progress(comparison.Begun([name]))["status"] == f"{plain} is at work."
    shown = outcome.show_results(
        BEFORE, [[name], [name]], [done("r", picture(1))], InputError(name)
    )
    assert shown["status"].splitlines()[0].startswith(f"{plain}: 3 x 2")
    assert shown["status"].splitlines()[1] == f"{plain}: {plain}"
    assert shown["gallery"]["value"][0][1] == name  # a caption is no Markdown
