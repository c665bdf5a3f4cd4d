"""How the processes of one run end together."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from restore.errors import FAILED
from restore.recovery import preemption
from restore.types import InputError, RunError


class Ended(BaseException):
    """In the place of the end of this process."""


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signals as they were, behind a test that handles them."""
    before = {number: signal.getsignal(number) for number in preemption.CODES}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def rank(number: int, *procs: subprocess.Popen[bytes]) -> Any:
    """The trainer of a process of a run that Lightning has started; `procs` are the others."""
    launcher = SimpleNamespace(procs=list(procs))
    strategy = SimpleNamespace(cluster_environment=LightningEnvironment(), launcher=launcher)
    return SimpleNamespace(strategy=strategy, is_global_zero=number == 0)


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


@pytest.mark.parametrize("error", [InputError("a.png is broken"), RunError("no memory is left")])
def test_an_error_of_its_own_ends_the_others_at_once(error: Exception) -> None:
    run = trainer("exec sleep 60")
    (other,) = run.strategy.launcher.procs
    started = time.monotonic()
    assert preemption.settle(run, error) is None
    assert other.wait(5) == -signal.SIGKILL and time.monotonic() - started < 4


def test_a_run_of_one_process_has_nothing_to_settle() -> None:
    alone = SimpleNamespace(strategy=SimpleNamespace(launcher=None))
    assert preemption.settle(alone, RuntimeError("x")) is None


def test_what_nohup_ignores_stays_ignored(handlers: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    signals = preemption.Signals(rank(1), patient=True)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) == signals._handle


def test_signals_are_left_to_the_main_thread() -> None:
    """`restore.benchmark` may be called in a thread of an app."""
    before = {number: signal.getsignal(number) for number in preemption.CODES}
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(preemption.Signals, rank(1), patient=False).result().received == 0
    assert before == {number: signal.getsignal(number) for number in preemption.CODES}


@pytest.mark.parametrize("number", [0, 1])
def test_an_evaluation_that_a_signal_ends_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], handlers: None, number: int
) -> None:
    """Its rows are written after the last benchmark."""

    def end(trainer: Any, number: int) -> None:
        raise Ended

    monkeypatch.setattr(preemption, "end_at_once", end)
    preemption.EndOnSignal().on_test_start(rank(number), SimpleNamespace())  # type: ignore[arg-type]
    with pytest.raises(Ended):
        signal.raise_signal(signal.SIGTERM)
    told = "\nended by SIGTERM: what was measured is not recorded\n" if number == 0 else ""
    assert capfd.readouterr().err == told


@pytest.mark.parametrize(
    ("number", "sent", "told"),
    [(0, signal.SIGINT, "a second Ctrl-C"), (1, signal.SIGINT, ""), (0, signal.SIGUSR1, "")],
)
def test_the_first_signal_to_a_training_is_remembered(
    capfd: pytest.CaptureFixture[str], handlers: None, number: int, sent: int, told: str
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signals = preemption.Signals(rank(number), patient=True)
    signal.raise_signal(sent)
    said = capfd.readouterr().err
    assert signals.received == sent and told in said and bool(said) == bool(told)


def test_exit_codes_are_128_and_the_signal_and_are_told_by_rank_0_alone() -> None:
    """Of SIGUSR1 that of SIGTERM; Lightning kills rank 0 where another rank fails."""
    stops = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP]
    codes = [preemption.Preempted(rank(0), one).code for one in stops]
    assert codes == [128 + 15, 128 + 15, 128 + 2, 128 + 1]
    assert [preemption.Preempted(rank(1), one).code for one in stops] == [0] * 4


@pytest.mark.parametrize(("number", "code"), [(0, 129), (1, 0)])
def test_a_process_that_ends_at_once_takes_the_others_along(
    monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    """Rank 0 kills those that still run; any other passes the signal on to rank 0."""
    did: list[Any] = []
    worker = SimpleNamespace(kill=lambda: did.append("worker"))

    def end(code: int) -> None:
        did.append(code)
        raise Ended

    monkeypatch.setattr(os, "kill", lambda *given: did.append(given))
    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(multiprocessing, "active_children", lambda: [worker])
    runs: Any = SimpleNamespace(pid=-1, poll=lambda: None)
    ended: Any = SimpleNamespace(pid=-2, poll=lambda: 0)
    run = rank(0, ended, runs) if number == 0 else rank(1)
    told = [] if number == 0 else [(os.getppid(), signal.SIGHUP)]
    killed = [(-1, signal.SIGKILL)] if number == 0 else []
    with pytest.raises(Ended), preemption.undone(lambda: did.append("undone")):
        preemption.end_at_once(run, signal.SIGHUP)
    assert did == [*told, "worker", *killed, "undone", code]
    with pytest.raises(Ended):
        preemption.end_at_once(run)
    assert "undone" not in did[-3:]


def test_ranks_that_save_are_waited_for_and_those_that_hang_are_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saves = subprocess.Popen(["sleep", "0.1"])
    preemption.wait_for_children(rank(0, saves))
    assert saves.wait() == 0
    hangs = subprocess.Popen(["sleep", "60"])
    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))  # a second at each look
    preemption.wait_for_children(rank(0, hangs))
    monkeypatch.undo()
    assert hangs.wait(5) == -signal.SIGKILL
