"""Chains of models on one photo, one after the other."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from restore.app import work
from restore.app.models import Models


class Begun(NamedTuple):
    """A chain is at work from now on."""

    models: list[str]


def run(
    models: Models, requests: list[work.RestorationRequest], folder: Path, stop: threading.Event
) -> Iterator[Begun | work.Underway | work.Done]:
    """What `work.run` tells of each request, behind a word that it begins.

    folder: of these requests alone; each gets a place of its own in it. Raises what `work.run`
    raises.
    """
    for number, request in enumerate(requests, start=1):
        yield Begun(request.models)
        place = folder / str(number)
        place.mkdir()
        yield from work.run(models, request, place, stop)
