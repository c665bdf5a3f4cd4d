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
from restore.checkpoint import best_of
from restore.types import InputError

_KEPT = 4  # models in memory
_TRIES = 3
Stamp = tuple[tuple[int, int, int], ...]  # of files: they change where a training writes


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
    stamp: Stamp


@dataclass(frozen=True)
class Held:
    """A model in use, and the SHA-256 of its weights, whatever their file holds by now."""

    model: Model
    digest: str
    stamp: Stamp


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
        self._loaded: OrderedDict[str, Held] = OrderedDict()
        self._change = threading.RLock()
        self.refused: set[str] = set()  # what cannot be used; the log says why, in paths
        self.refresh()

    def refresh(self) -> None:
        """Looks for models again; those whose weights are known already are not read again."""
        with self._change:
            found = shelf.models(self.places)
            for name in set(self._known) - set(found):
                self._forget(name)
            for name, path in found.items():
                known = self._known.get(name)
                if known is None or known.path != path or known.stamp != _stamp(path):
                    self._add(name, path)
            self._known = {name: self._known[name] for name in found if name in self._known}
            self.refused &= set(found)

    def _forget(self, name: str) -> None:
        self._known.pop(name, None)
        self._loaded.pop(name, None)

    def _add(self, name: str, path: Path) -> None:
        try:
            held = self._read(path, "cpu")
        except InputError as error:
            if name not in self.refused:
                print(f"left out: {name}: {error}", file=sys.stderr)
            self.refused.add(name)
            self._forget(name)
            return
        known = self._known.get(name)
        lock = threading.Lock() if known is None else known.lock
        self._known[name] = _Known(path, Kind.of(held.model), lock, held.stamp)
        self.refused.discard(name)

    def kinds(self) -> dict[str, Kind]:
        with self._change:
            return {name: known.kind for name, known in self._known.items()}

    def kind(self, name: str) -> Kind:
        """Raises InputError for a name that is not offered, whatever a request says."""
        return self._get(name).kind

    def _get(self, name: str) -> _Known:
        with self._change:
            if not name:
                raise InputError("choose a model from the list")
            if not isinstance(name, str) or name not in self._known:
                raise InputError(
                    f"choose a model anew: {name} is gone; Look again lists what is there"
                )
            return self._known[name]

    @contextmanager
    def use(self, names: list[str]) -> Iterator[tuple[list[Model], list[str]]]:
        """Gives the models, to nobody else meanwhile, and the SHA-256 of the weights that they
        have, whatever their files hold by then; waits while they are at work.

        A training may have written better weights since: those are given.
        """
        with ExitStack() as stack:
            for name in sorted(set(names)):  # one order for all, so that nobody waits in a circle
                stack.enter_context(self._get(name).lock)
            held = [self._model(name) for name in names]
            yield [one.model for one in held], [one.digest for one in held]

    def _model(self, name: str) -> Held:
        with self._change:
            path, held = self._get(name).path, self._loaded.get(name)
            if held is None or held.stamp != _stamp(path):
                self._loaded[name] = self._read_again(name, path)
            self._loaded.move_to_end(name)
            while len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
            return self._loaded[name]

    def _read_again(self, name: str, path: Path) -> Held:
        """InputError in words for a visitor; the log says what is wrong."""
        try:
            return self._read(path, self.device)
        except InputError as error:
            print(f"{name}: {error}", file=sys.stderr)
            raise InputError(
                f"{name} is gone, or damaged: press Look again, and choose another"
            ) from error

    def _read(self, path: Path, device: str | None) -> Held:
        """Once more where a training replaces the file meanwhile."""
        for _ in range(_TRIES):
            stamp = _stamp(path)
            model, digest = load(path, self.packages, device), shelf.digest(path)
            if _stamp(path) == stamp:
                break
        return Held(model, digest, stamp)


def _stamp(path: Path) -> Stamp:
    """Of the files of a model; nothing where they cannot be looked at: who reads them says why."""
    best = best_of(path)
    try:
        files = [best] if best.is_file() else sorted(path.rglob("*"))
        found = [one.stat() for one in files]
    except OSError:
        return ()
    return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)
