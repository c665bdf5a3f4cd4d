"""A command of the user's after a checkpoint, whose answer is logged with that update."""

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from restore.checkpoint import SUFFIX, seal
from restore.recovery import aside
from restore.run_files import CHECKPOINTS
from restore.types import InputError

_PAUSE = 0.05  # seconds between two looks at a command that is waited for
FOLDER = ".on_checkpoint"  # below the run's: what the command sees and says


class Started(NamedTuple):
    update: int
    process: subprocess.Popen[bytes]
    began: float
    said: Path  # its standard output; what it says on stderr lies beside, as .log


class OnCheckpoint(Callback):
    """Runs `command` after a checkpoint: a list of words, without a shell.

    {checkpoint}, {run} and {update} are replaced in its words. If the last line that it prints is a
    JSON object, its numbers are logged as on_checkpoint/NAME of the update of the checkpoint.
    checkpoint: after which file. minutes: the command is killed after so many. gpus: what it finds
    in CUDA_VISIBLE_DEVICES; with "" it sees none. threads: OMP_NUM_THREADS.

    It runs beside the training, with a lower priority and one at a time: of the checkpoints that
    come meanwhile the newest is next. It sees a link to the checkpoint, which stays as it is when
    the file is replaced. A failure costs one warning. A training that ends well waits for the
    command of its last checkpoint, in `finish`; one that fails kills it. A resumed run runs a
    command only if it is named anew: who trusts a checkpoint's weights does not trust its commands.
    """

    def __init__(
        self,
        command: list[str] | None = None,
        checkpoint: Literal["last", "best"] = "last",
        minutes: float = 30.0,
        gpus: str | int = "",
        threads: int = 1,
    ) -> None:
        if command is not None and not command:
            raise InputError("callback.on_checkpoint.command=[] names no program: give words")
        if minutes <= 0 or threads < 1:
            raise InputError(
                "callback.on_checkpoint: minutes must be positive and threads at least 1, got "
                f"{minutes} and {threads}"
            )
        self.command = [str(word) for word in command or ()]
        self.checkpoint, self.minutes, self.threads = checkpoint, minutes, threads
        self.gpus = str(gpus)
        self._seen: int | None = None  # time of the newest checkpoint that was looked at
        self._next: tuple[int, Path] | None = None
        self._running: Started | None = None
        self._warned = False
        self._answer: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._seen = _time(self._file(trainer))  # of an earlier process of this run
        if trainer.is_global_zero:  # what that one ran when it was killed
            for link in (Path(trainer.default_root_dir) / FOLDER).glob(f"update-*{SUFFIX}"):
                link.unlink()
                _forget(link)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self._look(trainer)

    def on_validation_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        self._look(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._look(trainer)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        self._end(trainer)

    def finish(self, trainer: Trainer) -> dict[str, float]:
        """Waits for the commands of the checkpoints that are left, each within its limit.

        Returns the numbers of the newest answer, and its `update`; none where there was none.
        """
        try:
            self._look(trainer)
            if self._running is not None:
                print(f"waiting for the command after update {self._running.update}", flush=True)
            while self._running is not None:
                time.sleep(_PAUSE)
                self._look(trainer)
        finally:
            self._end(trainer)
        for logger in trainer.loggers:
            logger.save()
        return self._answer

    def _file(self, trainer: Trainer) -> Path:
        return Path(trainer.default_root_dir) / CHECKPOINTS / f"{self.checkpoint}{SUFFIX}"

    def _look(self, trainer: Trainer) -> None:
        """Takes up what has ended, and what is new; nothing that fails here ends a training."""
        if not (self.command and trainer.is_global_zero):
            return
        try:
            self._take_up(trainer)
            self._notice(trainer)
            if self._running is None and self._next is not None:
                (update, path), self._next = self._next, None
                self._running = self._start(trainer, update, path)
        except OSError as error:
            self._warn(str(error))

    def _notice(self, trainer: Trainer) -> None:
        file = self._file(trainer)
        written = _time(file)
        stated = seal(file) if written not in (None, self._seen) else None
        if stated is None:
            return
        self._seen = written
        if self._next is not None and self._next[1] != file:
            self._next[1].unlink(missing_ok=True)
        folder = Path(trainer.default_root_dir) / FOLDER
        folder.mkdir(exist_ok=True)
        link = folder / f"update-{stated.updates}{SUFFIX}"
        link.unlink(missing_ok=True)
        try:
            os.link(file, link)
        except OSError:  # a file system without links: the file may be newer when it is read
            link = file
        self._next = stated.updates, link

    def _start(self, trainer: Trainer, update: int, path: Path) -> Started:
        run = Path(trainer.default_root_dir).absolute()
        known = {"checkpoint": str(path.absolute()), "run": str(run), "update": str(update)}
        words = [_filled(word, known) for word in self.command]
        said = run / FOLDER / f"update-{update}.out"
        with said.open("wb") as out, said.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(
                aside.started(words),
                env=aside.environment(self.gpus, self.threads),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )
        return Started(update, process, time.monotonic(), said)

    def _take_up(self, trainer: Trainer) -> None:
        running = self._running
        if running is None:
            return
        code, log = running.process.poll(), running.said.with_suffix(".log")
        if code is None:
            if time.monotonic() - running.began > 60 * self.minutes:
                self._drop(running)
                why = f"killed after {self.minutes:g} minutes; see {log}"
                self._warn(f"update {running.update}: {why}")
            return
        self._drop(running)
        try:
            numbers = answered(running.said.read_text(encoding="utf-8", errors="replace"))
            if code:
                raise ValueError(f"exit code {code}")
        except ValueError as error:
            self._warn(f"update {running.update}: {error}; see {log}")
            return
        _forget(running.said)
        if numbers:
            self._answer = {"update": running.update, **numbers}
            named = {f"on_checkpoint/{name}": value for name, value in numbers.items()}
            for logger in trainer.loggers:
                logger.log_metrics(named, step=running.update)

    def _drop(self, running: Started) -> None:
        """Ends it and all that it has started, and takes its link to the checkpoint away."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
        running.said.with_suffix(SUFFIX).unlink(missing_ok=True)
        self._running = None

    def _end(self, trainer: Trainer) -> None:
        if self._running is not None:
            with contextlib.suppress(OSError):
                self._take_up(trainer)  # it may have ended in time
        if (running := self._running) is not None:
            self._drop(running)
            _forget(running.said)
        if self._next is not None and self._next[1] != self._file(trainer):
            self._next[1].unlink(missing_ok=True)
        self._next = None
        with contextlib.suppress(OSError):  # not empty: it tells of a failure
            (Path(trainer.default_root_dir) / FOLDER).rmdir()

    def _warn(self, why: str) -> None:
        if not self._warned:
            self._warned = True
            rank_zero_warn(f"callback.on_checkpoint.command, {why}; training goes on")


def _forget(said: Path) -> None:
    """Removes what the command of an update has said, by the name of any of its files."""
    for suffix in (".out", ".log"):
        said.with_suffix(suffix).unlink(missing_ok=True)


def _time(file: Path) -> int | None:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def _filled(word: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\{(checkpoint|run|update)\}", lambda found: known[found[1]], word)


def answered(said: str) -> dict[str, float]:
    """The finite numbers of the JSON object that is the last line, if it is one.

    Raises ValueError for an object with a name that is none, or a number that is not finite.
    """
    lines = [line for line in said.splitlines() if line.strip()]
    try:
        content = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    found = {}
    for name, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not re.fullmatch(r"[\w./\[\]-]+", name) or not math.isfinite(value):
            raise ValueError(f"{name}={value} is no metric")
        found[name] = float(value)
    return found
