"""What an installed wheel does outside any checkout: trainings, a sweep, ranks, own packages."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from entry import ROOT
from test_outside import MYLAB, OWN

TINY = ("debug=smoke", "benchmark=[]")


class Installed:
    """An environment that holds built packages, and finds what they need in this one's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "env" / "bin"
        venv.create(folder / "env", with_pip=False)
        (self.site,) = (folder / "env" / "lib").glob("python*/site-packages")
        # Its own .pth files, such as that of an editable install, are not read from there.
        (self.site / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith("PYTHON")
        } | {"OMP_NUM_THREADS": "1", "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def install(self, source: Path, name: str) -> None:
        """Builds the wheel of a copy, in which nothing of an earlier build lies."""
        copy, wheels = self.folder / f"source_{name}", self.folder / "wheels"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        quiet = ["--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
        self.run(*pip, "wheel", *quiet, "--wheel-dir", str(wheels), str(copy))
        self.run(
            *pip,
            "--python",
            str(self.bin / "python"),
            "install",
            *quiet,
            *map(str, wheels.glob(f"{name}-*")),
        )
        shutil.rmtree(copy)

    def run(self, *command: str, code: int = 0, cwd: Path | None = None) -> str:
        ended = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr


LEFT_OUT = (
    ".git",
    ".venv",
    "outputs",
    "multirun",
    "build",
    "*.egg-info",
    "tests",
    "__pycache__",
)


@pytest.mark.slow
@pytest.mark.ci
def test_wheel_trains_sweeps_and_takes_own_packages(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    here = Installed(tmp_path)
    restore = str(here.bin / "restore")
    here.install(ROOT, "restore")
    here.install(MYLAB, "mylab")
    assert "fill_digits" in here.run(restore, "train", "--help", OWN[0])

    said = here.run(restore, "train", "-m", *OWN, *TINY, "network=partial,dilated")
    sweep = Path(said.split("\n")[0])
    assert sweep.is_relative_to(tmp_path / "multirun")
    assert [len(list(sweep.glob(f"{job}/result.json"))) for job in (0, 1)] == [1, 1]

    run = tmp_path / "run"
    two = ("trainer=ddp_cpu", "trainer.devices=2", f"hydra.run.dir={run}")
    here.run(restore, "train", *OWN, *TINY, *two)
    foreign = json.loads((run / "result.json").read_text())["foreign"]
    assert foreign["mylab.network.PartialConv"] == "mylab 0.1.0"
    more = (restore, "train", f"resume.path={run}", "max_updates=3", "resume.allow_inexact=true")
    assert "packages=[mylab]" in here.run(*more, code=2)
    here.run(*more, "packages=[mylab]")
    measured = (f"checkpoint={run}", "baseline=[mean_fill]", "benchmark=digits_scratches")
    said = here.run(restore, "evaluate", *measured, OWN[0], "packages=[mylab]")
    assert "mean_fill" in said and "edge_error" in said

    listed = "import restore.released as r; print([one.name for one in r.released()], r.folder())"
    said = here.run(str(here.bin / "python"), "-c", listed)
    assert "inpaint_scenes_regression" in said and str(here.site) in said
    started = ("experiment=inpaint_any", "data=photos", "init=inpaint")
    said = here.run(restore, "train", *started, *TINY)
    assert Path(said.split("\n")[0]).is_relative_to(tmp_path / "outputs")
    assert "next: restore train -m experiment=inpaint_any " in said

    assert "mylab2_digits" in here.run(restore, "new", "mylab2")
    here.install(tmp_path / "mylab2", "mylab2")
    python = str(here.bin / "python")
    said = here.run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path / "mylab2")
    assert "2 passed" in said
    own = ("experiment=mylab2_digits", "hydra.searchpath=[pkg://mylab2.conf]", *TINY)
    here.run(restore, "train", *own)
