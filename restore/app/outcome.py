"""What a tab shows of a restoration: values and updates of its components, by their names."""

from typing import Any

import gradio as gr
import numpy as np

from restore.app import canvas, comparison, work
from restore.types import InputError


def show_progress(said: comparison.Begun | work.Underway) -> dict[str, Any]:
    """Shows who is at work, and how far a sampler has come."""
    if isinstance(said, comparison.Begun):
        return {"status": f"{plain(_word(said.models))} is at work."}
    return {"result": said.image, "status": f"{plain(said.model)}: {_place(said)}"}


def _place(step: work.Underway) -> str:
    return f"step {step.number} of {step.total}"


def show_stop(step: work.Underway | None, edits: bool) -> dict[str, Any]:
    """Shows that somebody stopped the sampler after `step`, or before there was any.

    edits: whether the tab can take the result as its next photo.
    """
    said = _describe_stop(step)
    if step is None:
        return {"status": said}
    again = gr.update(visible=edits and max(step.image.shape) <= canvas.LONGEST)
    return {"result": step.image, "status": said, "reached": step.t, "go_on": again}


def _describe_stop(step: work.Underway | None) -> str:
    if step is None:
        return "Stopped before there was a result."
    return f"Stopped at {_place(step)}, at level {step.t:.3f}."


def show_no_map() -> Any:
    """Takes the strength map away.

    A new update each time: Gradio (6.31) pops the value out of the one that it is given.
    """
    return gr.update(value=None, visible=False)


def show_results(
    before: np.ndarray,
    chains: list[list[str]],
    results: list[work.Done],
    end: work.Stopped | InputError | None = None,
) -> dict[str, Any]:
    """Shows what chains of models made.

    before: the photo, uint8 [H, W, 3]. results: one for each of `chains`, in their order. end: what
    kept the chain behind them from its result; what a sampler had by then is in the gallery.
    """
    said = [_describe(*one) for one in zip(chains, results, strict=False)]
    if end is not None:
        why = _describe_stop(end.step) if isinstance(end, work.Stopped) else plain(str(end))
        said.append(f"{plain(_word(chains[len(results)]))}: {why}")
        chains = chains[: len(results)]
    images = [canvas.read_shown(file) for one in results for file in one.files]
    labels = [_word(names) for names, one in zip(chains, results, strict=True) for _ in one.files]
    if isinstance(end, work.Stopped) and end.step is not None:
        images.append(canvas.shown(end.step.image))
        labels.append(f"{end.step.model}: {_place(end.step)}")
    first, compared = images[0], len(results) > 1
    both = (first, canvas.read_shown(results[-1].files[0])) if compared else None
    gallery = list(zip(images, labels, strict=True))
    return {
        "result": first,
        "status": "  \n".join(said),
        "gallery": gr.update(value=gallery, visible=len(images) > 1),
        "slider": gr.update(value=(before, first), visible=True),
        "both": gr.update(value=both, visible=compared),
        "files": gr.update(value=_files(results), visible=True),
        "job": gr.update(value=str(results[0].job), visible=True),
    }


def _files(results: list[work.Done]) -> list[str]:
    """The results, and jobs but the first, which has a button of its own."""
    images = [str(path) for one in results for path in one.files]
    return images + [str(one.job) for one in results[1:]]


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(
        f"\\{letter}" if letter in r"\`*_{}[]<>()#+-.!|~&" else letter for letter in text
    )


def _word(names: list[str]) -> str:
    return " > ".join(names)


def _describe(names: list[str], result: work.Done) -> str:
    height, width = result.images[0].shape[:2]
    depth = 8 * result.images[0].itemsize
    noise = "" if result.sigma is None else f", noise level {result.sigma:.1f}"
    size = f"{width} x {height}, {depth} bits"
    return f"{plain(_word(names))}: {size}{noise}, {result.seconds:.1f} s"
