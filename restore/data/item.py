"""What a source gives, checked where it is read: the user may have written the source."""

import operator
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from torch import Tensor, uint8

from restore.data.source import Item, Source, Split
from restore.errors import is_lack
from restore.types import InputError, RunError

T = TypeVar("T")


def make_source(made: Callable[..., Source], root: Path, split: Split) -> Source:
    """The source of a split; InputError where its class fails, or does not say its channels."""
    owner: Any = made.func if isinstance(made, partial) else made

    def call() -> Source:
        source = made(root=root, split=split)
        _ = source.channels, source.num_classes
        return source

    name = getattr(owner, "__name__", type(owner).__name__)
    return _asked(owner, f"{name} cannot be made", call)


def count(source: Source) -> int:
    """How many images a source has; InputError where it cannot say so."""
    kind = type(source)
    return _asked(kind, f"the length of {kind.__name__} cannot be read", lambda: len(source))


def read_item(source: Source, index: int) -> Item:
    """Image `index` of a source.

    Raises:
        InputError: a file that cannot be read, a class of the user's own that fails, or an image
            that is not what `Item` says.
    """
    kind = type(source)
    failed = f"image {index} of {kind.__name__} cannot be read"
    return checked(_asked(kind, failed, lambda: source[index]), source)


def _asked(kind: Any, failed: str, call: Callable[[], T]) -> T:
    """What the class `kind` of a source answers to a call.

    Raises InputError with `failed` and the reason: a file that cannot be read, or any exception of
    a class that is not ours. A fault of ours stays one, and so does a lack of memory.
    """
    try:
        return call()
    except (InputError, RunError):
        raise
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        said = f"{error.filename}: {error.strerror}" if named else str(error)
        raise InputError(f"{failed}: {said}") from error
    except Exception as error:
        if kind.__module__.startswith("restore.") or is_lack(error):
            raise
        place = _place(error.__traceback__, kind.__module__.partition(".")[0])
        said = " ".join([f"{type(error).__name__}:", *str(error).split()]).removesuffix(":")
        raise InputError(f"{failed}: {said}{place}") from error


def _place(traceback: TracebackType | None, package: str) -> str:
    """The file and the line of a package at which an exception left it last."""
    said = ""
    while traceback is not None:
        frame = traceback.tb_frame
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package:
            said = f" ({frame.f_code.co_filename}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return said


def checked(given: Item, source: Source) -> Item:
    """The item; InputError where it is not what `source` has to give.

    Framing, augmentation and scaling take any numbers, so that images in [0, 1] would train as
    black ones; and the class behind the last one is what networks hear where there is no class.
    """
    classes = source.num_classes
    wrong = _wrong(given, source.channels, classes)
    if wrong is None:
        return given
    label = "label" if classes is None else f"label from 0 to {classes - 1}"
    raise InputError(
        f"{type(source).__name__} gave {wrong}: a source gives restore.data.source.Item(image, "
        f"{label}, name), its image a torch tensor of uint8 [{source.channels}, H, W]"
    )


def _wrong(given: object, channels: int, classes: int | None) -> str | None:
    """What was given in the place of an item with a uint8 tensor [channels, H, W] and one of so
    many classes; else None."""
    if not isinstance(given, Item):
        return f"a {type(given).__name__}"
    image: object = given.image
    if not isinstance(image, Tensor):
        return f"an image that is a {type(image).__name__}"
    if image.dtype != uint8 or image.ndim != 3 or len(image) != channels:
        return f"an image of {str(image.dtype).removeprefix('torch.')} {[*image.shape]}"
    if classes is not None and not _is_class(given.label, classes):
        return f"the label {given.label!r:.40}"
    return None if isinstance(given.name, str) else f"a name that is a {type(given.name).__name__}"


def _is_class(label: Any, classes: int) -> bool:
    try:
        return operator.index(label) in range(classes)
    except TypeError:
        return False
