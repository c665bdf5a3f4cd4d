"""`restore new` writes a package that passes its own test and trains."""

import json
import sys
from pathlib import Path

import pytest
from entry import Command

from restore.new import create
from restore.types import InputError


def test_new_package_is_whole_and_trains(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create("hazelnut")
    assert folder == tmp_path / "hazelnut" and len((folder / "README.md").open().readlines()) <= 10
    assert not [path for path in folder.rglob("*") if "NAME" in path.name]
    assert not [path for path in folder.rglob("*.*") if "NAME" in path.read_text()]
    monkeypatch.syspath_prepend(str(folder))
    own: dict[str, object] = {}
    exec((folder / "tests" / "test_network.py").read_text(), own)
    own["test_every_weight_learns"]()  # type: ignore[operator]
    run = tmp_path / "run"
    ended = command(
        "experiment=hazelnut_digits",
        "hydra.searchpath=[pkg://hazelnut.conf]",
        "debug=smoke",
        f"hydra.run.dir={run}",
    )
    assert ended.code == 0, ended.err
    assert "'packages=[hazelnut]'" in ended.out and "'hydra.searchpath=[pkg:" in ended.out
    assert "hazelnut.network.Net" in json.loads((run / "result.json").read_text())["foreign"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "hazelnut"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my-lab", "is no name of a package"),
        ("../up", "is no name of a package"),
        ("class", "is no name of a package"),
        ("", "is no name of a package"),
        ("json", "installed package"),
        ("torch", "installed package"),
        ("there", "is there already"),
    ],
)
def test_bad_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match=says):
        create(name)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
