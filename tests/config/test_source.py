"""What source text says of a class against what Python says of it once it is imported."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT

from restore.config.signature import _parameters, check_early
from restore.config.source import describe
from restore.config.target import ALLOWED, resolve
from restore.config.value import fits
from restore.types import InputError

NAMED = {
    found
    for path in (ROOT / "conf").rglob("*.yaml")
    for found in re.findall(r"_target_: ([\w.]+\w)$", path.read_text(encoding="utf-8"), re.M)
}
TARGETS = sorted(
    one
    for one in ALLOWED | NAMED
    if not one.startswith(("restore.sweep.", "restore.config.")) and "." in one
)
VALUES = [
    1,
    -1,
    1.5,
    True,
    "x",
    None,
    [1],
    ["x"],
    [],
    {},
    {"a": 1},
    {"_target_": "x"},
    "auto",
    "16",
]


@pytest.mark.parametrize("target", TARGETS)
def test_source_text_and_signature_agree(target: str) -> None:
    described, actual = describe(target), _parameters(resolve(target))
    assert described is not None
    assert list(described.parameters) == list(actual)
    for name, parameter in described.parameters.items():
        assert parameter.required == actual[name].required, name
        if actual[name].annotation is Any:
            continue
        for value in VALUES:  # what text says is never stricter than the truth
            if fits(value, actual[name].annotation):
                assert fits(value, parameter.annotation), (name, value)
        if actual[name].annotation in (int, float, bool, str, int | None, float | None):
            assert parameter.annotation == actual[name].annotation, name


def test_it_follows_imports_bases_and_aliases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package_of_text"
    package.mkdir()
    (package / "__init__.py").write_text("from .a import Child as Renamed\n")
    (package / "a.py").write_text(
        "from typing import Literal\nfrom package_of_text.b import Base\n"
        "raise RuntimeError('imported')\n"
        "class Child(Base):\n    '''A child.'''\n"
    )
    (package / "b.py").write_text(
        "from typing import Literal\nKind = Literal['x', 'y']\n"
        "class Base:\n    def __init__(s, kind: Kind, *a, size: 'int | None' = 3, **rest): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = describe("package_of_text.Renamed")
    assert found is not None and found.doc == "A child."
    assert list(found.parameters) == ["kind", "size"]
    assert [one.required for one in found.parameters.values()] == [True, False]
    assert fits("y", found.parameters["kind"].annotation)
    assert not fits("z", found.parameters["kind"].annotation)
    assert not fits(1.5, found.parameters["size"].annotation)


def test_what_text_does_not_tell_is_left_to_the_class() -> None:
    assert describe("restore.network.unet.nope") is None
    assert describe("nowhere.Thing") is None
    check_early({"task": {"_target_": "restore.network.unet.nope", "anything": 1}})


def test_only_what_lies_deeper_can_lack_something_early() -> None:
    network = {"_target_": "restore.network.unet.UNet"}
    diffusion = {"_target_": "restore.task.diffusion.Diffusion", "network": network}
    check_early({"task": network})
    with pytest.raises(InputError, match=r"task\.network\.in_channels is missing"):
        check_early({"task": diffusion})


def test_nothing_is_imported() -> None:
    code = (
        "import sys\nfrom restore.config.source import describe\n"
        "assert describe('lightning.pytorch.Trainer').parameters['devices']\n"
        "assert describe('torch.optim.AdamW').parameters['eps']\n"
        "assert not {'torch', 'lightning', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
