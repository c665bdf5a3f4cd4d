import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT, Command, Ended

DATA = (ROOT / os.environ.get("RESTORE_DATA", "data")).resolve()
os.environ["RESTORE_DATA"] = str(DATA)  # tests change the working directory
LEFT_OUT = pytest.StashKey[int]()
LONGEST = "test_wheel.py"  # begun among the last, it would run alone at the end
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    os.environ["OMP_NUM_THREADS"] = "1"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what is in its background
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # and so nohup does
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of data files where there are none, and puts the longest first."""
    items.sort(key=lambda item: item.path.name != LONGEST)
    if DATA.is_dir() and any(DATA.iterdir()):
        return
    needing = [item for item in items if item.get_closest_marker("data")]
    items[:] = [item for item in items if not item.get_closest_marker("data")]
    config.hook.pytest_deselected(items=needing)
    config.stash[LEFT_OUT] = len(needing)


def pytest_collection() -> None:
    """Modules and tests live as long as the process: the collector need not look at them."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tells the process that reports how many a worker left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    count = terminalreporter.config.stash.get(LEFT_OUT, 0)
    if count:
        terminalreporter.write_line(
            f"{count} tests of data files left out: {DATA} has none. To run them: "
            "make test-data RESTORE_DATA=FOLDER"
        )


@pytest.fixture(autouse=True)
def _nothing_replaces_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of this process would end with its own exit code, perhaps 0."""

    def refuse(*given: object) -> None:
        raise AssertionError(f"execv{given} would have replaced the tests")

    monkeypatch.setattr(os, "execv", refuse)


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
    # Hydra composes all once more to look for hydra.mode, which nothing sets here.
    monkeypatch.setattr("hydra._internal.hydra.Hydra.get_mode", lambda *_, **__: None)

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
