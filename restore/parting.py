"""`restore compare RUN_A RUN_B`: where two runs part, and what about them differs.

Importing this module must stay instant.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restore.errors import DONE, FAILED
from restore.run_files import CHECKPOINTS, read_config, read_metrics, read_result

if TYPE_CHECKING:
    from torch import Tensor

ABOUT = "where two runs part: first logged update, first tensor; config, versions and data"
EXAMPLES = """examples:
  restore compare RUN_A RUN_B             a line for each difference; exit code 1 where there is one

A resumed run and the same run without an interruption have none. Configs are those of the folders,
times are no difference, and checkpoints are compared update by update."""
_TIMES = ("images_per_second",)  # logged, and never twice the same
_SHOWN = 5  # names in a line
_NONE = "–"  # a cell that is not there
Line = tuple[str, str]  # what differs, and how


def arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("a", "b"):
        parser.add_argument(name, metavar=f"RUN_{name.upper()}", type=Path, help="a run folder")
    parser.set_defaults(command=lambda given: show(given.a, given.b))


def show(a: Path, b: Path) -> int:
    """Prints a line a difference; 0 without one, else 1."""
    found = list(differences(a, b))
    for what, how in found:
        print(f"{what:<10}{how}")
    if not found:
        updates, files = len(_logged(a).keys() & _logged(b).keys()), len(_pairs(a, b))
        counted = f"{_number(updates, 'logged update')} and {_number(files, 'checkpoint')}"
        print(f"no difference in {counted}")
    return FAILED if found else DONE


def differences(a: Path, b: Path) -> Iterator[Line]:
    """What differs between two run folders, causes before effects.

    Raises InputError for a folder that holds no run, or a checkpoint that cannot be read.
    """
    configs = [flat(read_config(folder)) for folder in (a, b)]
    yield from (("config", line) for line in _between(*configs))
    records = [read_result(folder) for folder in (a, b)]
    if all(records):
        versions = [{key: one.get(key) for key in ("commit", "device", "python", "versions")}
                    for one in records]  # fmt: skip
        yield from (("versions", line) for line in _between(*map(flat, versions)))
    pairs = _pairs(a, b)
    contents = [_read(path) for path in pairs[0][1:]] if pairs else []
    if contents:
        data = [flat(content.get("fingerprint", {})) for content in contents]
        yield from (("data", line) for line in _between(*data))
    yield from _first_update(_logged(a), _logged(b))
    yield from _first_tensor(pairs, contents)
    if not pairs:
        yield "weights", f"no checkpoint of the same update in {a} and {b}"


def flat(node: Any, path: str = "") -> dict[str, Any]:
    """Dotted key -> leaf; items of a list by their number."""
    if isinstance(node, Mapping) and node:
        pairs: Sequence[tuple[Any, Any]] = list(node.items())
    elif isinstance(node, list | tuple) and node:
        pairs = list(enumerate(node))
    else:
        return {path: node} if path else {}
    found: dict[str, Any] = {}
    for key, value in pairs:
        found |= flat(value, f"{path}.{key}" if path else str(key))
    return found


def _between(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    """A line for a key that differs, and for a whole section that one side has alone."""
    sections = [{part for key in side for part in _sections(key)} for side in (a, b)]
    said = set()
    for key in dict.fromkeys([*a, *b]):
        if key in a and key in b:
            if a[key] != b[key]:
                yield f"{key}: {a[key]!r} in A, {b[key]!r} in B"
            continue
        have, own, others = ("A", a, sections[1]) if key in a else ("B", b, sections[0])
        top = next(part for part in _sections(key) if part not in others or part == key)
        count = sum(one == top or one.startswith(f"{top}.") for one in own)
        if count == 1:
            yield f"{key}: {own[key]!r} in {have} alone"
        elif top not in said:
            yield f"{top}: in {have} alone, with {count} keys"
        said.add(top)


def _sections(key: str) -> Iterator[str]:
    """A dotted key and what it lies in, the outermost first: a, a.b, a.b.c."""
    parts = key.split(".")
    yield from (".".join(parts[: k + 1]) for k in range(len(parts)))


def _logged(folder: Path) -> dict[int, dict[str, str]]:
    """Update -> metric -> cell as it was written, without times."""
    found: dict[int, dict[str, str]] = {}
    for row in read_metrics(folder):
        cells = {key: cell for key, cell in row.items() if cell and key not in ("step", *_TIMES)}
        found.setdefault(int(row["step"]), {}).update(cells)
    return found


def _first_update(
    a: Mapping[int, dict[str, str]], b: Mapping[int, dict[str, str]]
) -> Iterator[Line]:
    """Of those that both have logged; nothing where all are equal. A cell that one of them lacks is
    a difference where the other rows of both have such cells."""
    shared = {name for row in a.values() for name in row} & {n for row in b.values() for n in row}
    for update in sorted(a.keys() & b.keys()):
        one, other = a[update], b[update]
        either = [name for name in {**one, **other} if name in shared]
        names = [name for name in either if one.get(name) != other.get(name)]
        if names:
            shown = [
                "{} {} in A, {} in B".format(
                    name, *_told_apart(one.get(name, _NONE), other.get(name, _NONE))
                )
                for name in names[:_SHOWN]
            ]
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield "metrics", f"first at step {update}: {'; '.join(shown)}{more}"
            return
    if not a.keys() & b.keys():
        yield "metrics", f"no update that both have logged ({len(a)} in A, {len(b)} in B)"


def _told_apart(one: str, other: str) -> tuple[str, str]:
    """Two numbers with as few digits as show their difference, four at least."""
    for digits in range(4, 18):
        try:
            spelled = f"{float(one):.{digits}g}", f"{float(other):.{digits}g}"
        except ValueError:
            break
        if spelled[0] != spelled[1]:
            return spelled
    return one, other


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _pairs(a: Path, b: Path) -> list[tuple[int, Path, Path]]:
    """Checkpoints of the same update, in the order of updates."""
    found = [_checkpoints(folder) for folder in (a, b)]
    shared = sorted(found[0].keys() & found[1].keys())
    return [(update, found[0][update], found[1][update]) for update in shared]


def _checkpoints(folder: Path) -> dict[int, Path]:
    """Update -> a checkpoint of it, `last` before others."""
    from restore.checkpoint import SUFFIX, seal

    found: dict[int, Path] = {}
    for path in sorted((folder / CHECKPOINTS).glob(f"*{SUFFIX}")):
        stated = seal(path)
        if stated is not None and (stated.updates not in found or path.stem == "last"):
            found[stated.updates] = path
    return found


def _read(path: Path) -> dict[str, Any]:
    from restore import checkpoint

    return checkpoint.read(path)


def _first_tensor(
    pairs: Sequence[tuple[int, Path, Path]], first: Sequence[dict[str, Any]]
) -> Iterator[Line]:
    """In the earliest checkpoints that differ: weights, their average, optimizers."""
    for number, (update, *paths) in enumerate(pairs):
        one, other = first if number == 0 else map(_read, paths)
        for what, part in _PARTS.items():
            difference = _different(flat(part(one)), flat(part(other)))
            if difference:
                yield "weights", f"first at update {update} ({paths[0].name}), {what} {difference}"
                return


_PARTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "of the network:": lambda content: content["state_dict"],
    "of their average:": lambda content: content.get("ema", {}).get("weights", {}),
    "of the optimizer:": lambda content: content.get("optimizer_states", []),
}


def _different(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """The first entry that is not the same, described; "" where all are."""
    import torch

    for key in dict.fromkeys([*a, *b]):
        if key not in a or key not in b:
            return f"{key} in {'A' if key in a else 'B'} alone"
        one, other = a[key], b[key]
        if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
            if one != other:
                return f"{key}: {one!r} in A, {other!r} in B"
        elif one.shape != other.shape or one.dtype != other.dtype:
            return f"{key}: {one.dtype} {[*one.shape]} in A, {other.dtype} {[*other.shape]} in B"
        elif unequal := int(_unequal(one, other).sum()):
            largest = (one.double() - other.double()).abs().max().item()
            return f"{key}: {unequal} of {one.numel()} values, by {largest:.3g} at most"
    return ""


def _unequal(one: "Tensor", other: "Tensor") -> "Tensor":
    """Where values differ; NaN in both is the same."""
    return (one != other) & ~(one.isnan() & other.isnan())
