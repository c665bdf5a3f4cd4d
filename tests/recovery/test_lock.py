"""A folder belongs to one run, and one process at a time writes in it."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT

from restore.recovery import lock
from restore.types import InputError, RunError


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    yield
    lock.release()


def other(folder: Path, then: str = "") -> subprocess.Popen[str]:
    """Another process that holds the folder's lock, or says why it cannot."""
    code = f"""
import sys, pathlib
sys.path.insert(0, {str(ROOT)!r})
from restore.recovery import lock
try:
    lock.hold(pathlib.Path({str(folder)!r}))
    print("held", flush=True)
    {then or "sys.stdin.read()"}
except lock.InputError as error:
    print(error, flush=True)
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    lock.hold(tmp_path)
    lock.hold(tmp_path)  # again is no matter
    process = other(tmp_path)
    said = process.communicate()[0]
    assert f"is in use by process {os.getpid()} on " in said and " since 20" in said
    assert (tmp_path / lock.LOCK).read_text().startswith(f"process {os.getpid()} ")


def test_a_kill_releases_and_the_holder_is_named(tmp_path: Path) -> None:
    process = other(tmp_path)
    assert first_line(process) == "held"
    with pytest.raises(InputError, match=f"in use by process {process.pid} on"):
        lock.hold(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    lock.hold(tmp_path)


def test_a_forked_worker_does_not_hold_on(tmp_path: Path) -> None:
    worker = "import os, time; pid = os.fork(); pid or time.sleep(60); print(pid, flush=True)"
    process = other(tmp_path, f"{worker}; os._exit(0)")
    assert first_line(process) == "held"
    pid = int(first_line(process))
    process.wait()
    try:
        lock.hold(tmp_path)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_what_is_released_says_nothing_and_is_free(tmp_path: Path) -> None:
    """Sizes alone are looked at: to open and close the file here would release the lock."""
    path = tmp_path / lock.LOCK
    path.write_text("of a process that was killed\n" * 99)
    lock.hold(tmp_path)
    assert 0 < path.stat().st_size < 500
    lock.release()
    assert path.stat().st_size == 0
    process = other(tmp_path)
    assert first_line(process) == "held"
    process.communicate()


@pytest.mark.parametrize("trace", lock.TRACES)
def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path, trace: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / trace).write_text("")
    with pytest.raises(InputError) as refused:
        lock.claim(tmp_path / "run")
    text = str(refused.value)
    assert f"resume.path={tmp_path / 'run'}" in text and "another hydra.run.dir" in text
    assert os.listdir(tmp_path / "run") == [trace]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="cannot be made or opened") as refused:
            lock.claim(folder)
        assert (f"run folder {folder} cannot" in str(refused.value)) == (len(str(folder)) < 200)
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_taken_away_is_noticed(tmp_path: Path) -> None:
    lock.check_there(tmp_path / "of nobody")
    run = tmp_path / "of a day" / "run"
    lock.claim(run)
    lock.check_there(run)
    run.rename(tmp_path / "moved")
    with pytest.raises(RunError, match="taken away"):
        lock.check_there(run)
    run.mkdir()
    (run / lock.LOCK).write_text("another")
    with pytest.raises(RunError, match="taken away"):
        lock.check_there(run)


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    def refused(*given: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, name, refused)


def test_a_file_system_without_locks_is_told_and_believes_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(monkeypatch, "lockf", errno.ENOLCK)
    lock.hold(tmp_path, "sweep")
    told = f"{tmp_path} is on a file system without locks: start one sweep a folder\n"
    assert capsys.readouterr().err == told
    refuse(monkeypatch, "fcntl", errno.ENOLCK)
    lock._held.clear()  # as another process sees it
    assert str(lock.holder(tmp_path)).startswith(f"process {os.getpid()} on ")
    (tmp_path / lock.LOCK).write_text("")  # as `release` leaves it
    assert lock.holder(tmp_path) is None
    refuse(monkeypatch, "fcntl", errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        lock.holder(tmp_path)


def test_a_holder_that_has_not_said_its_name_yet_is_one(tmp_path: Path) -> None:
    process = other(tmp_path)
    assert first_line(process) == "held"
    for said, named in (
        (b"", "another process"),
        (b"process \xff\n", "process \N{REPLACEMENT CHARACTER}"),
    ):
        (tmp_path / lock.LOCK).write_bytes(said)
        assert lock.holder(tmp_path) == named
        with pytest.raises(InputError, match=f"is in use by {named}: wait"):
            lock.hold(tmp_path)
    process.communicate()
    assert lock.holder(tmp_path) is None and lock.holder(tmp_path / "nowhere") is None


def test_a_folder_by_another_name_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    lock.hold(tmp_path / "run")
    held = {**lock._held}
    lock.hold(tmp_path / "link")
    assert lock._held == held and lock.holder(tmp_path / "link") is not None
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").mkdir()
    for name in ("run", "link"):
        assert not lock.is_there(tmp_path / name)


def test_identity(tmp_path: Path) -> None:
    assert lock.identity(tmp_path) is None
    name = lock.new_id()
    lock.write_identity(tmp_path, name, "digits", ["seed=3"])
    known = lock.identity(tmp_path)
    assert known is not None and known["id"] == name and known["overrides"] == ["seed=3"]
    assert json.loads((tmp_path / "run.json").read_text()) == known
    lock.write_identity(tmp_path, None, "digits", [])  # of a run that began before runs had one
    assert (lock.identity(tmp_path) or {})["id"] is None
    for text in ("", "[]", '{"id": 3}', '{"id": "'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(InputError, match=r"run\.json does not say"):
            lock.identity(tmp_path)


def test_only_the_first_process_of_a_launcher_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "MASTER_ADDR": "a"}
    for name, value in {**torchrun, "MASTER_PORT": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        assert lock.is_first() == (rank == 0)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    monkeypatch.delenv("MASTER_ADDR")
    assert lock.is_first()  # a rank that a shell has kept
