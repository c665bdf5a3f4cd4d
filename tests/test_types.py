"""What the type checker proves."""

from pathlib import Path

import pytest
from entry import ROOT

RESTORER = """
from torch import Tensor
from restore.types import Observation

def restore(observation: Observation) -> Tensor:
    return observation["{key}"]
"""


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize(("key", "refused"), [("input", False), ("target", True)])
def test_no_restorer_sees_the_target(
    key: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mypy import api

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    path = tmp_path / "restorer.py"
    path.write_text(RESTORER.format(key=key))
    told, _, code = api.run(["--strict", "--config-file", "pyproject.toml", str(path)])
    assert (code != 0) == refused and ('no key "target"' in told) == refused, told
