"""The folder of a run or of a sweep: made for Hydra, taken away where no work begins; the cache."""

import contextlib
import errno
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from restore.errors import FULL, explain
from restore.run_files import CONFIG, LOCK
from restore.types import InputError

HOMES = (Path("outputs"), Path("multirun"))  # where trainings write, if not told otherwise
_made: list[Path] = []  # folders that `make` has made, the innermost first


def make(place: str, kind: Literal["run", "sweep"] = "run") -> Path:
    """Makes the folder of a run or of a sweep with its parents; `remove_empty` takes them away.

    Raises:
        InputError: the folder cannot be made or written, or it is where the command was typed.
    """
    folder = Path(place).absolute()
    if not place.strip() or folder.resolve() == Path.cwd():
        raise InputError(
            f"hydra.{kind}.dir={place!r} is the working directory: a {kind} needs a folder of its "
            "own"
        )
    try:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        _made[:] = missing
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        remove_empty(folder)
        raise InputError(
            f"hydra.{kind}.dir={short(place)} cannot be made or written: {error.strerror}"
        ) from error
    return folder


def check_output(place: Path, folder: Path) -> None:
    """Raises InputError, before work, where nothing can be written into the folder of `-o place`;
    makes nothing."""
    above = (folder.absolute(), *folder.absolute().parents)
    there = next(one for one in above if os.path.lexists(one))
    code = errno.EACCES if there.is_dir() else errno.ENOTDIR
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise InputError(f"-o {place} cannot be written: {there}: {os.strerror(code)}")


def cache() -> Path:
    """Where what can be made anew is kept for all runs of a user: $RESTORE_CACHE, else `restore` in
    $XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("RESTORE_CACHE") or Path(home) / "restore")


def short(text: str) -> str:
    """A path for a line of an error, which must not fill a screen."""
    return text if len(text) <= 200 else f"{text[:197]}..."


@contextlib.contextmanager
def run_folder(folder: Path, alone: bool = True) -> Iterator[None]:
    """Takes away the folder that Hydra made if the run is refused before `work_begins`.

    alone: exits with the code of the error here, because Hydra would add lines of its own; a job of
    a sweep raises instead, so that the next one starts.
    """
    try:
        yield
    except Exception as error:
        if not (folder / CONFIG).exists():
            remove_empty(folder)
        if alone:
            sys.exit(explain(error))
        raise


def remove_empty(folder: Path) -> None:
    """Takes away a folder in which Hydra alone has written, and its empty parents in here."""
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink(missing_ok=True)
    for empty in (folder, *folder.parents):
        if empty in (folder, *_made) or Path.cwd() in empty.parents:
            with contextlib.suppress(OSError):  # not empty: somebody else's
                empty.rmdir()


@contextlib.contextmanager
def written_by_hydra() -> Iterator[None]:
    """Takes away the folder that `make` made where a disk refuses Hydra's own files, the first."""
    try:
        yield
    except OSError:
        if _made and not (_made[0] / CONFIG).exists():
            remove_empty(_made[0])
        raise


def work_begins(folder: Path, config: str) -> None:
    """Says where the run writes, as its first line, and keeps its resolved config there."""
    try:
        write_whole(folder / CONFIG, config)
    except OSError as error:
        raise InputError(f"run folder {folder} cannot be written: {error.strerror}") from error
    print(folder, flush=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Replaces a file by bytes or UTF-8 text, as `replacing` does."""
    packed = content if isinstance(content, bytes) else content.encode(errors="backslashreplace")
    with replacing(path) as file:
        file.write(packed)


@contextlib.contextmanager
def replacing(
    path: Path, temporary: Path | None = None, is_whole: Callable[[Path], bool] | None = None
) -> Iterator[BinaryIO]:
    """A file to write, which takes the name `path` at the end, whole and on the disk; after an
    error `path` is as it was, and nothing else is left.

    temporary: its name until then, on the same disk, by default one that no other process takes.
    is_whole: reads it back before it takes the name; where it says no, that is an OSError.
    """
    own = zlib.crc32(os.fsencode(path.name))  # the name itself may be as long as names can be
    temporary = temporary or path.with_name(f".{own:08x}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if is_whole is not None and not is_whole(temporary):
            raise OSError(f"{temporary} does not read back as it was written")
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError) and (error.errno in FULL or error.filename == str(temporary)):
            error.filename = str(path)  # a disk that is full names none, and this one nobody knows
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Makes the names in a folder outlive a crash of the machine, where its file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder may be written into and not be read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
