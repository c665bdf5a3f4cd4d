"""The components of a tab: what is given on the left, what comes of it on the right."""

from typing import Any

import gradio as gr

from restore.app import canvas, work
from restore.app.models import Models
from restore.app.purpose import Purpose

Parts = dict[str, Any]
_BRUSH = "rgba({}, {}, {}, {})".format(*canvas.BRUSH, canvas.COVER)
_PAINTS = ["#b5513c", "#d9a441", "#5d8a4e", "#4a7fb5", "#c8a58a", "#202020", "#f4f4f4"]
_SHOWN: dict[str, Any] = {"format": "png", "interactive": False, "buttons": ["fullscreen"]}


def build(purpose: Purpose, models: Models) -> Parts:
    """Lays a tab out inside of what is open; its components by name."""
    gr.Markdown(purpose.text)
    parts: Parts = {}
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=360):
            _add_inputs(parts, purpose, models)
        with gr.Column(scale=6, min_width=360):
            _add_results(parts, purpose)
    for name, part in parts.items():
        part.elem_id = f"{purpose.word}-{name}"
    return parts


def _add_inputs(parts: Parts, purpose: Purpose, models: Models) -> None:
    parts["photo"] = gr.File(label="Photo", file_types=["image"], type="filepath", height=120)
    parts["canvas"] = gr.State(None) if purpose.draws == "nothing" else _editor(purpose)
    if purpose.draws == "hole":
        with gr.Row():
            parts["mask"] = gr.UploadButton("Upload a mask", file_types=["image"], size="sm")
            parts["invert"] = gr.Button("Invert the mask", size="sm")
    if purpose.draws == "colors":
        _add_strength_map(parts)
    else:
        parts["strength_map"] = gr.State(None)
    names = purpose.names(models)
    chosen = names[0] if names else None
    with gr.Row():
        parts["model"] = gr.Dropdown(names, value=chosen, label="Model", scale=4)
        parts["again"] = gr.Button("Look again", size="sm", scale=1, min_width=90)
    with gr.Group(visible=False) as parts["drawn"]:
        _add_sampler(parts, purpose)
    _add_settings(parts)
    with gr.Accordion("Chain and comparison", open=False) as parts["more"]:
        _add_chain(parts, list(models.kinds()), names)
    with gr.Row():
        parts["run"] = gr.Button("Restore", variant="primary", scale=3)
        parts["stop"] = gr.Button("Stop", scale=1)
    parts["status"] = gr.Markdown()  # here it is seen on any screen; the results may lie far below


def _add_settings(parts: Parts) -> None:
    """Of models without a sampler."""
    parts["sigma"] = gr.Number(
        value=None,
        minimum=0,
        maximum=255,
        visible=False,
        label="Noise level in grey levels of 255 (empty: estimated)",
    )
    parts["ensemble"] = gr.Checkbox(
        value=False, visible=False, label="Mean of eight views: slower, closer to the truth"
    )


def _add_strength_map(parts: Parts) -> None:
    with gr.Row():
        parts["soft"] = gr.UploadButton("Upload a strength map", file_types=["image"], size="sm")
        parts["no_map"] = gr.Button("Without a map", size="sm")
    parts["strength_map"] = gr.Image(
        label="Strength map: white takes all of the strength, black is kept",
        type="filepath",
        height=140,
        visible=False,
        **_SHOWN,
    )


def _editor(purpose: Purpose) -> Any:
    hole = purpose.draws == "hole"
    fixed = gr.Brush(default_size="auto", colors=[_BRUSH], default_color=_BRUSH, color_mode="fixed")
    paints = gr.Brush(default_size="auto", colors=list(_PAINTS), default_color=_PAINTS[0])
    return gr.ImageEditor(
        label="Draw over what is to be filled" if hole else "Paint",
        type="pil",
        format="png",
        sources=(),
        transforms=(),
        brush=fixed if hole else paints,
        eraser=gr.Eraser(default_size="auto"),
        layers=gr.LayerOptions(allow_additional_layers=False),
        buttons=["fullscreen"],
        height=460,
    )


def _add_sampler(parts: Parts, purpose: Purpose) -> None:
    edits = purpose.draws == "colors"
    free = "Strength" if edits else "Strength (0: from noise alone)"
    with gr.Row():
        parts["strength"] = gr.Slider(0, 1, value=0.5 if edits else 0, step=0.001, label=free)
        parts["samples"] = gr.Slider(1, work.MAX_SAMPLES, value=1, step=1, label="Results")
    with gr.Row():
        parts["steps"] = gr.Slider(0, work.MAX_STEPS, value=0, step=1, label="Steps (0: its own)")
        parts["seed"] = gr.Number(value=0, minimum=0, maximum=2**31 - 1, precision=0, label="Seed")
        parts["guidance"] = gr.Number(
            value=None,
            minimum=0,
            maximum=work.MAX_GUIDANCE,
            visible=False,
            label="Guidance (empty: its own)",
        )
        parts["dice"] = gr.Button("New seed", size="sm", min_width=80)


def _add_chain(parts: Parts, every: list[str], names: list[str]) -> None:
    parts["then"] = gr.Dropdown(
        every,
        value=[],
        multiselect=True,
        max_choices=work.MAX_CHAIN - 1,
        label="Then: each model takes what the one before it made",
    )
    parts["other"] = gr.Dropdown(
        ["", *names], value="", label="Compare with: in the place of the first model"
    )


def _add_results(parts: Parts, purpose: Purpose) -> None:
    middle = {"hole": "With mask", "colors": "With strokes", "nothing": ""}[purpose.draws]
    with gr.Row():
        for name, label in (("original", "Original"), ("marked", middle), ("result", "Result")):
            if label:
                parts[name] = gr.Image(
                    label=label,
                    type="filepath",
                    height=250,
                    min_width=120,
                    elem_classes="shown",  # small pictures, too, fill their place
                    **_SHOWN,
                )
    parts["reached"] = gr.State(0.0)
    _add_comparison(parts)
    parts["go_on"] = gr.Button("Paint over this and go on", visible=False)
    parts["files"] = gr.File(
        label="PNG files of the photo's own size",
        file_count="multiple",
        visible=False,
        interactive=False,
    )
    parts["job"] = gr.DownloadButton("Save as job", visible=False)


def _add_comparison(parts: Parts) -> None:
    parts["gallery"] = gr.Gallery(
        label="Results: choose one to look at",
        columns=4,
        height=190,
        allow_preview=False,
        visible=False,
        **(_SHOWN | {"buttons": []}),
    )
    parts["slider"] = gr.ImageSlider(label="Before | after", visible=False, **_SHOWN)
    parts["both"] = gr.ImageSlider(label="Model | the other", visible=False, **_SHOWN)
