"""What the tests of the command lines share."""

import argparse
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

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


class Parsed(BaseException):
    """A command line that argparse has taken; no error, which `main` would explain."""


def stop_when_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends every command line where it would begin to work, by `Parsed`."""
    parse = argparse.ArgumentParser.parse_args

    def parsed(self: argparse.ArgumentParser) -> argparse.Namespace:
        raise Parsed(parse(self).command)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
