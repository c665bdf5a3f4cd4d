"""What a user reads of an error, and how often."""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed

from restore import cli, errors, fellows
from restore.types import InputError, RunError


@pytest.fixture
def store() -> Iterator[distributed.Store]:
    """Of a group of one process; others of its run would ask the same one."""
    shared = distributed.HashStore()
    distributed.init_process_group("gloo", store=shared, rank=0, world_size=1)
    yield shared
    distributed.destroy_process_group()


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_a_run_says_one_line(
    store: distributed.Store, capsys: pytest.CaptureFixture[str], kind: type[Exception]
) -> None:
    code = {InputError: errors.BAD_INPUT, RunError: errors.FAILED}[kind]
    for name in ("a", "a", "b"):
        assert errors.explain(kind(f"{name}.png is damaged")) == code
    assert capsys.readouterr().err == "error: a.png is damaged\n"


def test_processes_of_torchrun_say_one_line_before_they_have_a_group(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(agent.port)}
    for name, value in {**place, "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, value)
    for _ in range(3):
        assert errors.explain(InputError("too many processes")) == errors.BAD_INPUT
    assert capsys.readouterr().err == "error: too many processes\n"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    errors.explain(InputError("again"))
    monkeypatch.setattr(fellows, "_WAITS", timedelta(seconds=0.05))
    monkeypatch.setenv("MASTER_PORT", "1")  # nobody is there
    errors.explain(InputError("alone"))
    assert capsys.readouterr().err == "error: again\nerror: alone\n"


def test_an_error_is_said_where_the_store_is_gone(
    store: distributed.Store,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*given: object) -> int:
        raise torch.distributed.DistNetworkError("Broken pipe")

    monkeypatch.setattr(
        distributed.distributed_c10d._get_default_store().__class__, "add", gone, raising=False
    )
    for _ in range(2):
        errors.explain(InputError("a.png is damaged"))
    assert capsys.readouterr().err == 2 * "error: a.png is damaged\n"


@pytest.mark.parametrize("end", ["Connection closed by peer", "Connection reset by peer"])
@pytest.mark.parametrize("kind", [InputError, RunError])
def test_the_end_of_another_process_has_its_exit_code_and_no_traceback(
    store: distributed.Store, capsys: pytest.CaptureFixture[str], kind: type[Exception], end: str
) -> None:
    lost = RuntimeError(f"[gloo/transport/tcp/pair.cc:547] {end}")
    assert errors.explain(lost) == errors.FAILED  # nobody has said why
    assert end in capsys.readouterr().err
    code = errors.explain(kind("a.png is damaged"))
    assert errors.explain(lost) == code
    assert capsys.readouterr().err == "error: a.png is damaged\n"
    assert errors.explain(RuntimeError("a fault of its own")) == errors.FAILED
    assert "a fault of its own" in capsys.readouterr().err


def test_a_name_that_is_too_long_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = tmp_path / ("x" * 300)
    monkeypatch.setattr("sys.argv", ["restore", "compare", str(name), str(name)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == errors.BAD_INPUT
    with pytest.raises(OSError) as raised:
        name.exists()
    assert errors.explain(raised.value) == errors.BAD_INPUT
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all("File name too long" in line for line in said)


@pytest.mark.parametrize("where", ["restore.listing.show", "restore.cli._add_rooms"])
def test_an_interrupted_word_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """Ctrl-C while a word works or is still imported, and SIGTERM while the app still starts."""

    def stopped(*given: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, stopped)
    monkeypatch.setattr("sys.argv", ["restore", "list"])
    with pytest.raises((SystemExit, KeyboardInterrupt)) as ended:
        cli.main()
    assert isinstance(ended.value, SystemExit) and ended.value.code == errors.INTERRUPTED == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_has_enough_is_no_error() -> None:
    code = "import sys; from restore.cli import main; sys.argv = ['restore', 'completion', 'bash']"
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-c", f"{code}; main()"]
    ended = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, check=False)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (errors.DONE, b"")


def test_a_warning_of_restore_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # what it is afterwards
    errors.readable()
    own, other = errors.__file__, torch.__file__
    warnings.warn_explicit("no key; training goes on", UserWarning, own, 7)
    assert capsys.readouterr().err == "warning: no key; training goes on\n"
    warnings.warn_explicit("a kernel is slow", UserWarning, other, 7)
    warnings.warn_explicit("an old name", DeprecationWarning, own, 7)
    said = capsys.readouterr().err
    assert f"{other}:7: UserWarning: a kernel is slow" in said
    assert f"{own}:7: DeprecationWarning: an old name" in said
