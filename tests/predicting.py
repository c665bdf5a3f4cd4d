"""`restore predict` in this process, as its tests call it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from entry import Ended

from restore import cli


def runner(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Calls `restore predict ARGUMENTS` on the CPU, from `folder`."""
    monkeypatch.chdir(folder)

    def ran(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["restore", "predict", *arguments, "--device", "cpu"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return ran


def lines(ended: Ended) -> list[dict[str, Any]]:
    """The JSON of each photo."""
    return [json.loads(line) for line in ended.out.splitlines()]
