"""What the tests of the command lines share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass
class Ended:
    """What a command line did: exit code, and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]
