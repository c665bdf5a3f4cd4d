"""A sweep that goes on trusts no package that its file names and its user does not."""

from pathlib import Path

import pytest

from restore.sweep.again import command, resume
from restore.sweep.ranking import Sweep
from restore.types import InputError


@pytest.mark.parametrize(
    ("argument", "packages", "says"),
    [
        ("packages=[mylab]", ["mylab"], None),
        ("packages=mylab", ["mylab"], None),
        ("packages=[]", [], None),
        ("packages=[mylab]", [], "add --packages mylab"),
        ("++packages=[mylab,other]", ["mylab"], "add --packages mylab,other"),
        ("packages=['mylab']", ["mylab"], "which is no setting"),
        ("hydra.searchpath=[pkg://mylab.conf]", ["mylab"], None),
        ("hydra.searchpath=[pkg://mylab.conf]", [], "add --packages mylab"),
        ("hydra.searchpath=[file:///elsewhere]", ["mylab"], "which is no setting"),
        ("hydra.searchpath=[pkg://mylab.conf,/elsewhere]", ["mylab"], "which is no setting"),
    ],
)
def test_packages_are_named_anew(
    tmp_path: Path, argument: str, packages: list[str], says: str | None
) -> None:
    Sweep(["train.py", "-m", argument, "seed=1,2"], "/", "val/loss", "minimize").settle(tmp_path)
    if says is None:
        assert argument in command(tmp_path, packages)
        return
    with pytest.raises(InputError, match=says):
        command(tmp_path, packages)


def test_a_working_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    Sweep(["train.py", "-m", "seed=1,2"], str(home), "val/loss", "minimize").settle(tmp_path)
    with pytest.raises(InputError, match=f"started in {home}, as cwd of .*make that folder again"):
        resume(tmp_path)
