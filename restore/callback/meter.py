"""How far something is: a bar in a terminal, and a line now and then anywhere else."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

LINE_EVERY = 60.0  # seconds between two lines, at most, where nobody sees a bar
_BAR_EVERY = 0.25  # seconds between two looks at what a bar says: looking may wait for a GPU


class Meter:
    """`total` steps of `title`, of which `done` are behind us at the start.

    words: what is said beside the count, asked for only when something is written. In a terminal a
    bar, elsewhere a line every `every` seconds. Text is ASCII, which every terminal has.
    """

    def __init__(
        self,
        title: str,
        total: int,
        words: Callable[[], str] = lambda: "",
        done: int = 0,
        every: float = LINE_EVERY,
    ) -> None:
        self.title, self.total, self.words, self.every = title, total, words, every
        self.begun, self.done = done, done
        self.started = self.written = time.monotonic()
        console = Console()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(24),
                TextColumn("{task.fields[said]}"),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task(title, total=total, completed=done, said="")
            self._bar.start()

    def update(self, done: int, title: str | None = None, line: bool = False) -> None:
        """Steps behind us. line: writes one now, if nobody sees a bar."""
        self.done = done
        now = time.monotonic()
        if self._bar is not None:
            if line or now - self.written >= _BAR_EVERY or done >= self.total:
                self.written = now
                name = self.title if title is None else title
                self._bar.update(self._task, completed=done, description=name, said=self.said())
        elif line or now - self.written >= self.every:
            self.written = now
            print(f"{self.title if title is None else title}: {self.said()}", flush=True)

    def said(self) -> str:
        """`200 of 9000, loss 0.0123, 12 min left`."""
        parts = [f"{self.done} of {self.total}", self.words(), self.left()]
        return ", ".join(part for part in parts if part)

    def left(self) -> str:
        """Time to the end at the pace so far; "" before there is one."""
        steps = self.done - self.begun
        if steps < 1 or self.done >= self.total:
            return ""
        seconds = (time.monotonic() - self.started) / steps * (self.total - self.done)
        return f"{duration(seconds)} left"

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def duration(seconds: float) -> str:
    """`42 s`, `12 min`, `3 h 05 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
