"""What the tests of the command lines share."""

import socket
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


def free_port() -> int:
    """A port on loopback that no process listens at."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
