"""What source text says of a class against what Python says of it once it is imported."""

import re
import subprocess
import sys
from collections.abc import Callable
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


OWN_TASK = """
import typing
from typing import Unpack
from restore.task.learning import Learning
class Own:
    def __init__(self, facts, gain: float = 1.0, **learning{annotation}): ...
"""


@pytest.fixture
def own_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes a task with settings of learning that are annotated so; its dotted path."""

    def written(package: str, annotation: str) -> str:
        (tmp_path / package).mkdir()
        text = OWN_TASK.format(annotation=annotation)
        (tmp_path / package / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        return f"{package}.Own"

    return written


@pytest.mark.parametrize(
    ("number", "annotation"),
    [(0, ": Unpack[Learning]"), (1, ": 'Unpack[Learning]'"), (2, ": typing.Unpack[Learning]")],
)
def test_settings_of_learning_are_those_of_every_task(
    number: int, annotation: str, own_task: Callable[[str, str], str]
) -> None:
    package = f"own_task_{number}"
    task = {"_target_": own_task(package, annotation), "gain": 2.0}
    check_early({"packages": [package], "task": {**task, "clip_norm": 1.0}})
    with pytest.raises(
        InputError, match=r"task\.clip_nrm is not a setting: did you mean clip_norm"
    ):
        check_early({"packages": [package], "task": {**task, "clip_nrm": 1.0}})


@pytest.mark.parametrize(("number", "annotation"), [(0, ""), (1, ": Any"), (2, ": 'no['")])
def test_a_task_is_told_how_to_take_the_settings_of_learning(
    number: int, annotation: str, own_task: Callable[[str, str], str]
) -> None:
    """To leave them out is no way out: the optimizer is among them."""
    package = f"untold_task_{number}"
    task = {"_target_": own_task(package, annotation), "gain": 1.0}
    way = r"takes \*\*learning .*: annotate it as \*\*learning: Unpack\[Learning\], of restore"
    with pytest.raises(InputError, match=rf"task\.clip_norm: {package}\.Own {way}"):
        check_early({"packages": [package], "task": {**task, "clip_norm": 1.0}})
    with pytest.raises(InputError, match=r"task\.other is not a setting"):
        check_early({"packages": [package], "task": {**task, "other": 1.0}})


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
