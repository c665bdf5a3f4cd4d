"""What happens when the components of a tab are used."""

import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import wraps
from math import ceil
from pathlib import Path
from typing import Any

import gradio as gr

from restore.app import canvas, choice, comparison, inputs, outcome, work
from restore.app.layout import Parts
from restore.app.models import Models
from restore.app.purpose import Purpose
from restore.app.stops import Stops, Wish
from restore.types import InputError

Updates = dict[Any, Any]
_LINE: dict[str, Any] = {"concurrency_id": "restore", "concurrency_limit": 2}
_ASKED = "() => 'Asked for; others may come first.'"
_HIDDEN = ("gallery", "slider", "both", "files", "job", "go_on")


def report(action: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an InputError of an action a message in the browser.

    Actions are generators: Gradio copies the files that they yield before they go on and clean up.
    """

    @wraps(action)
    def reporting(*given: Any) -> Iterator[Updates]:
        try:
            yield from action(*given)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return reporting


@dataclass
class Tab:
    """A purpose, its components, and who is at work."""

    purpose: Purpose
    models: Models
    parts: Parts
    stops: Stops = field(default_factory=Stops)

    def connect(self, page: gr.Blocks) -> None:
        """Ties every component of the tab to what it does.

        Progress is never shown on the canvas: the page (Gradio 6.31) reads the whole drawing before
        it changes it, so that an older state may come last, and cover the canvas for good.
        """
        p = self.parts
        hidden: dict[str, Any] = {"api_visibility": "private"}
        seen = hidden | {"show_progress_on": p["original"]}
        p["photo"].upload(report(self.accept), [p["photo"]], self._all(), **seen)
        p["photo"].clear(self.remove, None, self._all(), **seen)
        p["go_on"].click(report(self.go_on), [p["result"], p["reached"]], self._all(), **seen)
        chosen = [p["model"], p["then"], p["other"]]
        self._connect_models(page, chosen, hidden)
        p["dice"].click(lambda: secrets.randbelow(2**31), None, [p["seed"]], **hidden)
        names = ("sigma", "strength", "samples", "seed", "steps", "guidance", "ensemble")
        given = [p["photo"], p["canvas"], p["strength_map"], *chosen, *(p[one] for one in names)]
        running = _LINE | {"show_progress_on": p["result"]}
        # A listener of its own: the queue may hold the other one of the same press for minutes.
        p["run"].click(self.stops.ask, None, None, queue=False, **hidden)
        p["run"].click(None, None, [p["status"]], js=_ASKED, **hidden)
        p["run"].click(self.restore, given, self._all(), **hidden, **running)
        p["stop"].click(self.stops.stop, None, None, queue=False, **hidden)
        several, large = [p["original"], p["gallery"]], [p["result"], p["slider"]]
        p["gallery"].select(self.enlarge, several, large, **hidden)
        if self.purpose.draws == "hole":
            mask, drawn = [p["photo"], p["mask"]], [p["photo"], p["canvas"]]
            p["mask"].upload(report(self.draw_mask), mask, p["canvas"], **seen)
            p["invert"].click(report(self.invert), drawn, p["canvas"], **seen)
        if self.purpose.draws == "colors":
            soft, shown = [p["photo"], p["soft"]], p["strength_map"]
            p["soft"].upload(report(self.set_strength_map), soft, shown, **hidden)
            p["no_map"].click(outcome.show_no_map, None, shown, **hidden)

    def _connect_models(self, page: gr.Blocks, chosen: list[Any], hidden: dict[str, Any]) -> None:
        suited = [self.parts[name] for name in choice.USES]
        for one in chosen:
            one.change(self.show_settings, chosen, suited, **hidden)
        for now in (page.load, self.parts["again"].click):
            found = now(self.refresh, chosen, chosen, **hidden)
            found.then(self.show_settings, chosen, suited, **hidden)

    def _all(self) -> list[Any]:
        return list(self.parts.values())

    def _named(self, **updates: Any) -> Updates:
        return {self.parts[name]: one for name, one in updates.items() if name in self.parts}

    def show_settings(self, model: Any, then: Any, other: Any) -> Updates:
        """Shows the settings that the chosen models have a use for."""
        return self._named(**choice.show_settings(self.models, model, then, other))

    def refresh(self, model: Any, then: Any, other: Any) -> Updates:
        """Looks for models again, and offers those that are there now."""
        self.models.refresh()
        return self._named(**choice.offer(self.models, self.purpose, model, then, other))

    def accept(self, upload: str) -> Iterator[Updates]:
        """Takes an uploaded photo, and throws away what came with its pixels."""
        path = Path(upload)
        with tempfile.TemporaryDirectory() as folder:
            try:
                photo = canvas.accept(path, Path(folder))
            except InputError as error:
                gr.Warning(str(error))
                yield self.clear() | self._named(photo=None)
                return
            finally:
                path.unlink(missing_ok=True)
            yield self._started(photo)

    def _started(self, photo: Path) -> Updates:
        """Shows a new photo, and nothing of the last one."""
        draws = self.purpose.draws != "nothing"
        return self.clear() | self._named(
            photo=str(photo),
            canvas=canvas.editor(photo) if draws else None,
            original=canvas.read_shown(photo),
        )

    def remove(self, request: gr.Request) -> Updates:
        """Takes the photo away, and ends what is made of it."""
        self.stops.drop(request)
        return self.clear()

    def clear(self) -> Updates:
        """Empties the tab."""
        soft = outcome.show_no_map() if self.purpose.draws == "colors" else None
        gone = self._named(original=None, marked=None, canvas=None, strength_map=soft)
        return self._no_results() | gone

    def _no_results(self) -> Updates:
        gone = {name: gr.update(visible=False) for name in _HIDDEN}
        return self._named(**gone, result=None, status="", reached=0.0)

    def draw_mask(self, photo: Any, upload: str) -> Iterator[Updates]:
        """Draws an uploaded mask as strokes on the canvas, to be seen and changed."""
        path = Path(upload)
        try:
            hole = canvas.read_hole(path, inputs.size_of(inputs.find_upload(photo)))
        finally:
            path.unlink(missing_ok=True)
        yield self._named(canvas=canvas.editor(inputs.find_upload(photo), hole))

    def set_strength_map(self, photo: Any, upload: str) -> Iterator[Updates]:
        """Shows an uploaded strength map, and uses it from now on."""
        path = Path(upload)
        with tempfile.TemporaryDirectory() as folder:
            try:
                size = inputs.size_of(inputs.find_upload(photo))
                made = canvas.accept_strength(path, size, Path(folder))
            finally:
                path.unlink(missing_ok=True)
            yield self._named(strength_map=gr.update(value=str(made), visible=True))

    def invert(self, photo: Any, drawn: Any) -> Iterator[Updates]:
        """Inverts the mask: what was known is to be filled, and the other way round."""
        path = inputs.find_upload(photo)
        yield self._named(canvas=canvas.editor(path, ~canvas.hole_of(drawn, inputs.size_of(path))))

    def enlarge(self, original: str, gallery: Any, chosen: gr.SelectData) -> Updates:
        """Shows one of several results large."""
        image = gallery[chosen.index][0]
        return self._named(result=image, slider=gr.update(value=(original, image)))

    def go_on(self, result: Any, reached: float) -> Iterator[Updates]:
        """Makes what a stopped sampler had so far the photo, and its level the strength."""
        with tempfile.TemporaryDirectory() as folder:
            photo = canvas.accept(inputs.find_upload(result), Path(folder))
            started = self._started(photo)
            del started[self.parts["strength_map"]]  # it serves the new photo as it did the old
            yield started | self._named(strength=ceil(reached * 1000) / 1000)

    def restore(self, request: gr.Request, *given: Any) -> Iterator[Updates]:
        """Shows steps as they come, then the results, unless the photo is taken away meanwhile.

        What went wrong is said beside the buttons, too, where it stays.
        """
        wish = self.stops.begun(request)
        try:
            for shown in self._restored(wish, *given):
                gone = self._no_results() | self._named(marked=None)
                yield gone if wish.dropped else shown
        except InputError as error:
            yield self._named(status=outcome.plain(str(error)))
            raise gr.Error(str(error), print_exception=False) from None
        finally:
            self.stops.ended(request, wish)

    def _restored(
        self,
        wish: Wish,
        photo: Any,
        drawn: Any,
        soft: Any,
        model: Any,
        then: Any,
        other: Any,
        *asked: Any,
    ) -> Iterator[Updates]:
        """Steps and results. asked: as `work.settings_for` takes it.

        Whatever ends the second chain, the results of the first stay.
        """
        chains = [[one, *(then or ())] for one in (model, other) if one or one is model]
        done: list[work.Done] = []
        end: work.Stopped | InputError | None = None
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                if wish.is_set():  # while it waited in the queue
                    raise work.Stopped
                files = inputs.write(Path(folder), self.purpose.draws, photo, drawn, soft)
                requests = [self._request(files, names, asked) for names in chains]
                marked = {} if files.marked is None else {"marked": files.marked}
                yield self._no_results() | self._named(**marked)
                for said in comparison.run(self.models, requests, Path(folder), wish):
                    if isinstance(said, work.Done):
                        done.append(said)
                    else:
                        yield self._named(**outcome.show_progress(said))
            except (work.Stopped, InputError) as ended:
                end = ended
            if done:
                before = canvas.read_shown(files.photo)
                yield self._named(**outcome.show_results(before, chains, done, end))
            elif isinstance(end, work.Stopped):
                edits = self.purpose.draws == "colors"
                yield self._named(**outcome.show_stop(end.step, edits))
            elif end:
                raise end

    def _request(
        self, files: inputs.Inputs, names: list[str], asked: Sequence[Any]
    ) -> work.RestorationRequest:
        """What the models `names` are asked for; a strength map is of those that draw."""
        settings = work.settings_for(self.models, names, *asked)
        draws = any(self.models.kind(name).has_sampler for name in names)
        soft = files.strength_map if draws else None
        return work.RestorationRequest(files.photo, files.mask, names, settings, soft)
