import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from entry import ROOT, Command, Ended

if "RESTORE_DATA" in os.environ:  # tests change the working directory
    os.environ["RESTORE_DATA"] = str((ROOT / os.environ["RESTORE_DATA"]).resolve())


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Runs `python train.py ARGUMENTS` (or evaluate.py) in this process, in an empty folder."""
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_MAIN_MODULE", "__main__")  # conf/ is found beside the script's file
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*arguments: str, script: str = "train") -> Ended:
        from importlib import import_module

        from restore import errors

        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            errors.run(import_module(script).main)
        printed = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, printed.out, printed.err)

    yield run
    GlobalHydra.instance().clear()


@pytest.fixture
def environment() -> dict[str, str]:
    """Of a child process: one thread, and no data but the embedded."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
