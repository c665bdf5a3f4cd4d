"""The models that the app offers, by name: found again at any time, loaded when they are used."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from restore import shelf
from restore.api import Model, load
from restore.types import InputError

_KEPT = 4  # models in memory


@dataclass(frozen=True)
class Kind:
    """What a model does and what it must be told."""

    task: str
    parameters: int
    fills_holes: bool
    colorizes: bool
    has_sampler: bool
    needs_sigma: bool
    has_guidance: bool
    ensembles: bool

    @classmethod
    def of(cls, model: Model) -> "Kind":
        return cls(
            type(model.task).__name__,
            sum(one.numel() for one in model.task.network.parameters()),
            model.fills_holes,
            model.colorizes,
            model.has_sampler,
            model.needs_sigma,
            model.has_guidance,
            model.ensembles,
        )


@dataclass
class _Known:
    path: Path
    kind: Kind
    lock: threading.Lock  # a model does one job at a time


class Models:
    """Those of some places: run folders, checkpoints, and folders of runs at any depth."""

    def __init__(
        self,
        places: Iterable[Path],
        packages: tuple[str, ...] = (),
        device: str | None = None,
    ) -> None:
        self.places, self.packages, self.device = list(places), packages, device
        self._known: dict[str, _Known] = {}
        self._loaded: OrderedDict[str, Model] = OrderedDict()
        self._change = threading.RLock()
        self.refused: dict[str, str] = {}  # what cannot be used, and why
        self.refresh()

    def refresh(self) -> None:
        """Looks for models again; those that are known already are not read again."""
        with self._change:
            found = shelf.models(self.places)
            for name in set(self._known) - set(found):
                del self._known[name]
                self._loaded.pop(name, None)
            for name, path in found.items():
                known = self._known.get(name)
                if known is None or known.path != path:
                    self._add(name, path)
            self._known = {name: self._known[name] for name in found if name in self._known}

    def _add(self, name: str, path: Path) -> None:
        try:
            kind = Kind.of(load(path, self.packages, "cpu"))
        except InputError as error:
            if name not in self.refused:
                print(f"left out: {error}", file=sys.stderr)
            self.refused[name] = str(error)
            return
        self._known[name] = _Known(path, kind, threading.Lock())
        self.refused.pop(name, None)

    def kinds(self) -> dict[str, Kind]:
        with self._change:
            return {name: known.kind for name, known in self._known.items()}

    def kind(self, name: str) -> Kind:
        """Raises InputError for a name that is not offered, whatever a request says."""
        return self._get(name).kind

    def digest(self, name: str) -> str:
        """SHA-256 of the file that holds its weights."""
        return shelf.digest(self._get(name).path)

    def _get(self, name: str) -> _Known:
        with self._change:
            if not isinstance(name, str) or name not in self._known:
                raise InputError("choose a model from the list")
            return self._known[name]

    @contextmanager
    def use(self, names: list[str]) -> Iterator[list[Model]]:
        """Gives the models, and to nobody else meanwhile; waits while they are at work."""
        with ExitStack() as stack:
            for name in sorted(set(names)):  # one order for all, so that nobody waits in a circle
                stack.enter_context(self._get(name).lock)
            yield [self._model(name) for name in names]

    def _model(self, name: str) -> Model:
        with self._change:
            if name not in self._loaded:
                self._loaded[name] = load(self._get(name).path, self.packages, self.device)
            self._loaded.move_to_end(name)
            while len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
            return self._loaded[name]
