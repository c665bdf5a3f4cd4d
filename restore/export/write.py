"""`restore export`: a trained model in another format, measured against what it was made of."""

import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restore import __version__, bundle, zoo
from restore.ability import Ability
from restore.build import restored
from restore.data.terms import learnt_from, licence
from restore.evaluation.load import method
from restore.evaluation.results import checkpoint_name
from restore.export import card, check, diffusers, kair, onnx
from restore.folder import write_whole
from restore.recovery.preemption import undone
from restore.released import MODEL, WEIGHTS, described, is_bundle
from restore.run_files import read_result
from restore.task.restoration import RestorationTask
from restore.types import InputError

CARD = "README.md"
FORMATS: dict[str, Any] = {"onnx": onnx, "diffusers": diffusers, "kair": kair}


@dataclass(frozen=True)
class ExportSettings:
    """What the command line says beside model and folder."""

    kind: bundle.Kind = "float32"  # of the weights
    check: tuple[str, ...] = ()  # benchmarks
    licence: str | None = None
    size: tuple[int, int] | None = None  # height and width of all images of an onnx graph
    packages: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()  # sampler and guidance of a check: see `check.sampling`


def bundled(place: str, output: Path, settings: ExportSettings) -> list[check.Checked]:
    """Writes model.safetensors, model.json and a card into `output`; what a check measured.

    Raises:
        InputError: no such model, or one of the files is there already.
        RunError: the check found a loss. Nothing is left in both cases.
    """
    if settings.size:
        raise InputError("--size belongs to --format onnx: leave it out")
    if settings.drawn and not settings.check:
        raise InputError(
            f"--with {settings.drawn[0]} is of a check: name a benchmark by --check or leave it out"
        )
    given = {"packages": list(settings.packages), **check.sampling(settings.drawn)}
    stored = zoo.read(place)
    task = restored(stored.content, packages=settings.packages)
    said, content = _said(stored, settings), _trained(stored)
    rows: list[check.Checked] = []
    with staged(output, (WEIGHTS, MODEL, CARD)) as folder:
        bundle.write(content, folder, said, settings.kind)
        if settings.check:
            size = (folder / WEIGHTS).stat().st_size
            pair = method(place, given), method(folder, given)
            rows = check.measure(*pair, settings.kind, size, settings.check)
            check.check(rows)
            said = {**said, "check": check.kept(rows, settings.drawn, _source(stored))}
            bundle.write(content, folder, said, settings.kind)
        model = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        name = output.resolve().name
        ability = Ability(task, name) if isinstance(task, RestorationTask) else None
        write_whole(folder / CARD, card.text(name, model, ability))
    return rows


def converted(place: str, form: str, output: Path, settings: ExportSettings) -> list[check.Checked]:
    """Writes the model into `output` in one of FORMATS; what a check measured.

    Raises:
        InputError: no such model, one that the format cannot hold, or a file that is there already.
        RunError: the check found a loss. Nothing is left in all these cases.
    """
    if settings.kind != "float32" or settings.licence or settings.drawn:
        raise InputError(
            "--half, --int8, --with and --licence belong to --format bundle: leave them out"
        )
    if settings.size and form != "onnx":
        raise InputError("--size belongs to --format onnx: leave it out")
    stored, module = zoo.read(place), FORMATS[form]
    task = restored(stored.content, packages=settings.packages)
    if not isinstance(task, RestorationTask):
        raise InputError(f"{place}: {type(task).__name__} restores no images; choose another model")
    rows: list[check.Checked] = []
    with staged(output, module.FILES) as folder:
        path = module.write(task, folder, **({"size": settings.size} if settings.size else {}))
        if settings.check:
            original = method(place, {"packages": list(settings.packages)})
            made = module.method(task, path, stored.content)
            size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
            rows = check.measure(original, made, form, size, settings.check)
            check.check(rows)
    return rows


def _trained(stored: zoo.StoredModel) -> dict[str, Any]:
    """The content with the adversary beside which it was trained; a bundle is read without."""
    if not is_bundle(stored.path):
        return stored.content
    config = stored.content["config"]
    beside = described(stored.path)["config"]["task"].get("adversary")
    if beside is None:
        return stored.content
    task = {**config["task"], "adversary": beside}
    return {**stored.content, "config": {**config, "task": task}}


def _source(stored: zoo.StoredModel) -> str:
    """How the model that is exported stores its weights."""
    return str(_known(stored).get("weights", "float32"))


def _known(stored: zoo.StoredModel) -> dict[str, Any]:
    """What a bundle that is exported says of itself; nothing of a run or a checkpoint."""
    return described(stored.path) if is_bundle(stored.path) else {}


def _said(stored: zoo.StoredModel, settings: ExportSettings) -> dict[str, Any]:
    """What a bundle says beside config, facts and weights."""
    known = _known(stored)
    data = known.get("data") or learnt_from(stored.content)
    return {
        "licence": settings.licence or known.get("licence") or licence(data),
        "data": data,
        "versions": {"restore": __version__, "torch": importlib.metadata.version("torch")},
        "record": known.get("record") or _record(stored),
    }


def _record(stored: zoo.StoredModel) -> Mapping[str, Any] | None:
    """result.json of the run that wrote the checkpoint; None where it is not beside it.

    What it measured of other weights is left out: the last ones, or an average that was made later.
    """
    with suppress(InputError):
        record = read_result(stored.path.parent.parent)
        same = record.get("id") == stored.content.get("run")
        if not same or record.get("experiment") != stored.content["experiment"]:
            return None
        own = checkpoint_name(str(stored.path)).rpartition("@")[2]
        rows = record.get("evaluation", [])
        return {**record, "evaluation": [one for one in rows if _is_of(one, own)]}
    return None


def _is_of(row: Mapping[str, Any], digest: str) -> bool:
    return str(row.get("checkpoint", digest)).endswith(digest)


@contextmanager
def staged(output: Path, names: Sequence[str]) -> Iterator[Path]:
    """A folder beside `output`, whose files get there when all went well; else nothing does.

    Raises:
        InputError: `output` holds one of `names`, or cannot be made.
    """
    for name in names:
        if (output / name).exists():
            raise InputError(f"{output / name} exists: name another folder by -o, or take it away")
    new = [one for one in (output, *output.parents) if not one.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=output))
    except OSError as error:
        raise InputError(f"-o {output} cannot be written: {error.strerror}") from error
    try:
        with undone(lambda: _take_away(folder, new)):
            yield folder
        for path in sorted(folder.iterdir()):
            os.replace(path, output / path.name)
    except BaseException:
        _take_away(folder, new)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_away(folder: Path, new: Sequence[Path]) -> None:
    """Removes the folder, and of its parents those that were made for it and are empty."""
    shutil.rmtree(folder, ignore_errors=True)
    for one in new:
        with suppress(OSError):  # it is not empty
            one.rmdir()
