"""The whole page: a home, and a tab for each purpose."""

import gradio as gr

from restore.app.layout import build
from restore.app.models import Kind, Models
from restore.app.outcome import plain
from restore.app.purpose import PURPOSES
from restore.app.tab import Tab

FONTS = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]  # none is fetched
CSS = """
.gradio-container { max-width: 1280px !important; width: 100%; margin: auto; }
footer { display: none !important; }
/* Else a narrow screen breaks inside of words: */
.prose table { word-break: normal !important; }
.prose th, .prose td { padding: 6px 8px; overflow-wrap: normal !important; }
.shown img { object-fit: contain !important; width: 100%; height: 100%; }
"""
_WELCOME = """
# restore
Photos that are filled, coloured, cleaned and painted anew, by models trained with restore.

Choose a tab, drop a photo, press **Restore**. Results are PNG files of the photo's own size and
depth. **Save as job** keeps photo, mask, models and settings in one file, and
`restore predict --job FILE` makes the same bytes of it again.

Photos stay on the machine that runs this page, for a day at most, and without what cameras write
into them (places, names, times).
"""
_HOW = (
    "No model is there yet. `restore train experiment=denoise_any` makes one; "
    "`restore app RUN` shows those of any folder."
)


def theme() -> gr.themes.Base:
    """Gradio's own, with fonts that are on the machine."""
    return gr.themes.Default(font=FONTS[0], font_mono=FONTS[1])


def page(models: Models) -> gr.Blocks:
    """The app for these models, not yet served."""
    with gr.Blocks(
        title="restore", analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True
    ) as blocks:
        tabs = []
        with gr.Tabs():
            with gr.Tab("Home", id="home"):
                gr.Markdown(_WELCOME)
                table = gr.Markdown()
            for purpose in PURPOSES:
                with gr.Tab(purpose.name, id=purpose.word):
                    tabs.append(Tab(purpose, models, build(purpose, models)))
        for tab in tabs:
            tab.connect(blocks)
        blocks.load(lambda: list_models(models), None, [table], api_visibility="private")
    return blocks


def list_models(models: Models) -> str:
    """Lists the models, and those that were left out, in Markdown."""
    kinds = models.kinds()
    if not kinds:
        return _HOW
    rows = [
        f"| {_breakable(name)} | {_tabs(kind)} | {kind.parameters:,} |"
        for name, kind in kinds.items()
    ]
    left_out = [f"- left out: {plain(name)}; the log says why" for name in sorted(models.refused)]
    return "\n".join(["| model | tabs | parameters |", "|---|---|---:|", *rows, "", *left_out])


def _tabs(kind: Kind) -> str:
    return ", ".join(purpose.name for purpose in PURPOSES if purpose.serves(kind))


def _breakable(name: str) -> str:
    """A name that a narrow screen may break behind its words, and that is copied as it is."""
    return "".join(f"{plain(one)}<wbr>" if one in "_/-" else plain(one) for one in name)
