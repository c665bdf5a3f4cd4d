"""Two ways to do one thing, timed in turns: A B A B, so that a busy machine slows both alike."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """What one piece of work costs, ours and the peer's, medians of `turns`."""

    group: str
    name: str
    peer: str
    ours: float
    theirs: float
    spread: float  # of the ratio: its interquartile range over its median
    turns: int
    unit: str = "s"  # of ours and theirs; less is better
    gflop: float = 0.0  # of one piece of our work, where it is counted

    @property
    def ratio(self) -> float:
        """How many times faster than the peer we are."""
        return self.theirs / self.ours


def compare(
    group: str,
    name: str,
    peer: str,
    ours: Work,
    theirs: Work,
    *,
    turns: int = 7,
    least: float = 0.2,
) -> Row:
    """Each turn repeats a piece of work for about `least` seconds; a first one only warms up."""
    count = max(1, round(least / max(_seconds(ours, 1), 1e-6)))
    other = max(1, round(least / max(_seconds(theirs, 1), 1e-6)))
    pairs = [(_seconds(ours, count), _seconds(theirs, other)) for _ in range(turns)]
    return summarized(group, name, peer, pairs)


def summarized(group: str, name: str, peer: str, pairs: list[tuple[float, float]]) -> Row:
    """The row of pairs of seconds, ours and the peer's."""
    ratios = sorted(theirs / ours for ours, theirs in pairs)
    quarter = len(ratios) // 4
    return Row(
        *(group, name, peer),
        ours=statistics.median(ours for ours, _ in pairs),
        theirs=statistics.median(theirs for _, theirs in pairs),
        spread=(ratios[-1 - quarter] - ratios[quarter]) / statistics.median(ratios),
        turns=len(pairs),
    )


def _seconds(work: Work, count: int) -> float:
    """Of one piece of work, from `count` of them."""
    begun = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - begun) / count
