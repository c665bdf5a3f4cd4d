"""How the processes of one run end together."""

import signal
import subprocess
import time
from types import SimpleNamespace
from typing import Any

import pytest

from restore.errors import FAILED
from restore.recovery import preemption
from restore.types import InputError


def trainer(*commands: str) -> Any:
    """One whose launcher has started these ranks."""
    procs = [subprocess.Popen(["sh", "-c", command]) for command in commands]
    return SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(procs=procs)))


@pytest.mark.parametrize(("end", "code"), [("exit 2", 2), ("exit 1", 1), ("kill -9 $$", FAILED)])
def test_the_rank_that_failed_first_gives_the_exit_code(end: str, code: int) -> None:
    run = trainer("exec sleep 60", f"sleep 0.1; {end}")
    procs = list(run.strategy.launcher.procs)
    assert preemption.settle(run, RuntimeError("Connection closed by peer")) == code
    assert procs[0].wait(5) == -signal.SIGKILL
    assert run.strategy.launcher.procs == []  # what Lightning's observer looks at


def test_an_error_of_its_own_ends_the_others_at_once() -> None:
    run = trainer("exec sleep 60")
    (rank,) = run.strategy.launcher.procs
    started = time.monotonic()
    assert preemption.settle(run, InputError("a.png is broken")) is None
    assert rank.wait(5) == -signal.SIGKILL and time.monotonic() - started < 4


def test_a_run_of_one_process_has_nothing_to_settle() -> None:
    alone = SimpleNamespace(strategy=SimpleNamespace(launcher=None))
    assert preemption.settle(alone, RuntimeError("x")) is None


def test_what_nohup_ignores_stays_ignored() -> None:
    before = {number: signal.getsignal(number) for number in preemption.CODES}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
        signals = preemption.Signals(SimpleNamespace(is_global_zero=False), patient=True)  # type: ignore[arg-type]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) == signals._handle
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_evaluation_that_a_signal_ends_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its rows are written after the last benchmark."""

    class Ended(Exception):
        pass

    def end(trainer: Any, number: int) -> None:
        raise Ended

    monkeypatch.setattr(preemption, "end_at_once", end)
    alone: Any = SimpleNamespace(is_global_zero=True)
    before = {number: signal.getsignal(number) for number in preemption.CODES}
    try:
        preemption.Signals(alone, patient=False)
        with pytest.raises(Ended):
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert capfd.readouterr().err == "\nended by SIGTERM: what was measured is not recorded\n"
