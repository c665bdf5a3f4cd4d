"""One restoration for the app: in a thread of its own, watched while it goes on, and stoppable."""

import math
import queue
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from restore import chain, job
from restore.api import Model
from restore.app import canvas
from restore.app.layers import ask_before_layers
from restore.app.models import Models
from restore.chain import Settings
from restore.data.image_file import upright_size
from restore.data.photo_file import write_png
from restore.diffusion.walk import Step
from restore.errors import is_lack
from restore.image import to_uint8
from restore.types import InputError

MAX_SAMPLES, MAX_STEPS, MAX_CHAIN, MAX_GUIDANCE = 8, 1000, 4, 100.0
MAX_SECONDS = 900.0  # of one restoration
_SHOWN_EVERY = 0.4  # seconds between two pictures of a sampler at work


@dataclass(frozen=True)
class RestorationRequest:
    """What somebody asks for. Files are of this request alone; a mask is white where it fills, a
    strength map where all of the strength acts."""

    photo: Path
    mask: Path | None
    models: list[str]
    settings: Settings
    strength_map: Path | None = None


class Underway(NamedTuple):
    """A step of a sampler."""

    model: str
    number: int
    total: int
    t: float
    image: np.ndarray  # uint8 [H, W, 3], x0 as it is predicted from this step


class Done(NamedTuple):
    """Results, and the job that repeats them. The PNG files have the photo's own size and depth."""

    images: list[np.ndarray]
    files: list[Path]
    job: Path
    sigma: float | None
    seconds: float


class Stopped(Exception):
    """Somebody has seen enough; `step` is the last that was made, if one was."""

    def __init__(self, step: Underway | None = None) -> None:
        super().__init__()
        self.step = step


def settings_for(
    models: Models,
    names: list[str],
    sigma: Any = None,
    strength: Any = None,
    num_samples: Any = 1,
    seed: Any = 0,
    steps: Any = None,
    guidance: Any = None,
    ensemble: Any = False,
) -> Settings:
    """The settings that these models have a use for.

    Raises:
        InputError: a number that is none, or out of its range; a name that is not offered.
    """
    if not 1 <= len(names) <= MAX_CHAIN:
        raise InputError(f"choose from 1 to {MAX_CHAIN} models, one after the other")
    kinds = [models.kind(name) for name in names]
    draws = any(kind.has_sampler for kind in kinds)
    sees = any(kind.needs_sigma for kind in kinds)
    leads = any(kind.has_guidance for kind in kinds) and guidance is not None
    samples = _number("results", num_samples, 1, MAX_SAMPLES)
    return Settings(
        sigma=_number("noise level", sigma, 0, 255) if sees and sigma is not None else None,
        strength=_number("strength", strength, 0.001, 1) if draws and strength else None,
        num_samples=int(samples) if draws else 1,
        seed=int(_number("seed", seed, 0, 2**31 - 1)) if draws else 0,
        steps=int(_number("steps", steps, 1, MAX_STEPS)) if draws and steps else None,
        guidance=_number("guidance", guidance, 0, MAX_GUIDANCE) if leads else None,
        self_ensemble=bool(ensemble) and any(kind.ensembles for kind in kinds),
    )


def _number(word: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"{word}: give a number from {low:.10g} to {high:.10g}")
    return value


def run(
    models: Models, request: RestorationRequest, folder: Path, stop: threading.Event
) -> Iterator[Underway | Done]:
    """Steps as they come, and the results.

    folder: of this request alone; files are written there. stop: ends a sampler at its next step,
    and a model without one at its next layer. So does closing the iterator.

    Raises:
        InputError: a photo, mask or setting that the models cannot use; memory that does not
            suffice; longer than MAX_SECONDS.
        Stopped: by `stop`.
    """
    _check(request)
    told, given_up = queue.Queue[Underway | Done | BaseException](), threading.Event()
    given = models, request, folder, _Watch(told, stop, given_up)
    threading.Thread(target=_work, args=given, daemon=True).start()
    began = time.monotonic()
    try:
        while True:
            said = _newest(told, began)
            if isinstance(said, BaseException):
                raise said
            yield said
            if isinstance(said, Done):
                return
    finally:  # whoever asked may have gone
        given_up.set()


def _newest(told: "queue.Queue[Underway | Done | BaseException]", began: float) -> Any:
    """The last that was told; waits for it."""
    while True:
        try:
            said = told.get(timeout=1)
        except queue.Empty:
            if time.monotonic() - began > MAX_SECONDS:
                raise _too_long() from None
            continue
        while not told.empty():
            said = told.get()
        return said


def _too_long() -> InputError:
    said = f"this took more than {MAX_SECONDS:.0f} s and was stopped: take fewer steps or results"
    return InputError(f"{said}, or a smaller photo")


def _check(request: RestorationRequest) -> None:
    height, width = upright_size(request.photo) or (0, 0)
    if height * width * request.settings.num_samples > canvas.MAX_PIXELS:
        raise InputError("that many results of so large a photo do not fit: take fewer")
    if request.strength_map is not None and request.settings.strength is None:
        raise InputError("a strength map acts by shares of a strength: give one above 0")


@dataclass
class _Watch:
    """Sees a restoration from inside, tells of its steps, and ends it where nobody wants it."""

    told: "queue.Queue[Underway | Done | BaseException]"
    stop: threading.Event
    given_up: threading.Event
    began: float = 0.0
    shown: float = -math.inf

    def layer(self, model: Model) -> None:
        """Before each layer. A sampler is stopped at its steps, where there is a picture."""
        if self.given_up.is_set() or (self.stop.is_set() and not model.has_sampler):
            raise Stopped
        if time.monotonic() - self.began > MAX_SECONDS:
            raise _too_long()

    def step(self, model: Model, step: Step) -> None:
        if self.stop.is_set():
            raise Stopped(_underway(model, step))
        now = time.monotonic()
        if now - self.shown >= _SHOWN_EVERY:
            self.shown = now
            self.told.put(_underway(model, step))


def _work(models: Models, request: RestorationRequest, folder: Path, watch: _Watch) -> None:
    try:
        with models.use(request.models) as (loaded, sums), ask_before_layers(loaded, watch.layer):
            watch.began = time.monotonic()
            soft = request.strength_map
            chain.check(loaded, request.settings, request.mask is not None, soft is not None)
            given = loaded, request.photo, request.mask, request.settings
            made = chain.restore(*given, callback=watch.step, strength_map=soft)
        if not watch.given_up.is_set():
            seconds = time.monotonic() - watch.began
            watch.told.put(_written(loaded, sums, request, folder, made, seconds))
    except Exception as error:
        watch.told.put(_explained(error))


def _underway(model: Model, step: Step) -> Underway:
    first = to_uint8(step.x0[:1].float().cpu())[0].permute(1, 2, 0).numpy()
    picture = np.repeat(first, 3, -1) if first.shape[-1] == 1 else first
    return Underway(model.name, step.number, step.total, step.t, picture)


def _written(
    loaded: list[Model],
    sums: list[str],
    request: RestorationRequest,
    folder: Path,
    made: chain.Restored,
    seconds: float,
) -> Done:
    files = [folder / f"restored_{number + 1}.png" for number in range(len(made.images))]
    for image, file in zip(made.images, files, strict=True):
        write_png(image, file, made.profile)
    mask, soft = request.mask, request.strength_map
    whole = job.Job(
        image=request.photo.read_bytes(),
        mask=None if mask is None else mask.read_bytes(),
        strength_map=None if soft is None else soft.read_bytes(),
        models=[*map(job.ModelName, request.models, sums)],
        settings=request.settings,
        results=[job.digest(path.read_bytes()) for path in files],
        precisions=[model.precision for model in loaded],
    )
    place = folder / "job.zip"
    place.write_bytes(job.pack(whole))
    return Done(made.images, files, place, made.sigma, seconds)


def _explained(error: Exception) -> Exception:
    """What the one who asked may read; the rest goes to the log."""
    if isinstance(error, InputError | Stopped):
        return error
    if is_lack(error):
        return InputError("the memory does not suffice for this: take a smaller photo, or fewer")
    traceback.print_exception(error)
    return InputError("this could not be restored; the log of the server says why")
