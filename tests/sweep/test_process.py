"""Processes of a job: a clean start, signals passed on, nothing left."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from entry import ROOT

from restore.sweep import gpu, process
from restore.types import InputError


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(*pids: int) -> bool:
    """Within five seconds."""
    for _ in range(100):
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def pids(path: Path, count: int) -> list[int]:
    """The process ids that `count` processes have written to a file, a line each."""
    for _ in range(200):
        found = path.read_text().split() if path.exists() else []
        if len(found) == count:
            return [int(one) for one in found]
        time.sleep(0.05)
    raise AssertionError(f"{path}: {found}")


NOTE = "import os, time; print(os.getpid(), file=open('pids', 'a'), flush=True)\n"


def test_what_a_command_leaves_behind_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = NOTE + "time.sleep(60)"
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {other!r}])\n"
    code += "import pathlib, time\nwhile not pathlib.Path('pids').exists(): time.sleep(0.01)\n"
    code += "print('end'); sys.exit(7)"
    ended = process.run([sys.executable, "-c", code], tmp_path / "log", process.environment())
    assert ended == (7, None)
    assert (tmp_path / "log").read_text() == "end\n"
    assert gone(*pids(tmp_path / "pids", 1))


def test_variables_of_a_launcher_do_not_reach_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    leaks = [
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK"),
        *("GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE", "ROLE_NAME", "MASTER_ADDR"),
        *("MASTER_PORT", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "TORCHELASTIC_RUN_ID"),
        *("RESTORE_SWEEP", "RESTORE_PARENT", "RESTORE_RANKS", "RESTORE_AGREED_precision"),
    ]
    kept = ["PATH", "RESTORE_DATA", "WANDB_MODE", "CUDA_VISIBLE_DEVICES", "HTTP_PROXY", "PLOT"]
    for name in leaks + kept:
        monkeypatch.setenv(name, "1")
    assert set(process.environment()) & {*leaks, *kept} == set(kept)


SWEEP = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from restore.sweep import process
{NOTE}
start = 'from restore.recovery.parent import die_with_parent; die_with_parent(); '
rank = start + {NOTE!r} + 'time.sleep(60)'
job = start + 'import subprocess, sys;' \\
    'subprocess.Popen([sys.executable, "-c", sys.argv[1]]); ' + {NOTE!r} + 'time.sleep(60)'
env = dict(process.environment(), PYTHONPATH={str(ROOT)!r})
code, told = process.run([sys.executable, "-c", job, rank], Path("log"), env)
print(code, told)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1]
)
def test_a_job_and_its_ranks_end_with_their_sweep(tmp_path: Path, number: int) -> None:
    sweep = subprocess.Popen(
        [sys.executable, "-c", SWEEP], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    running = pids(tmp_path / "pids", 3)
    assert all(alive(pid) for pid in running)
    sweep.send_signal(number)
    printed = sweep.communicate(timeout=20)[0]
    assert gone(*running)
    if number not in (signal.SIGKILL, signal.SIGINT):
        assert printed == f"-{int(number)} {int(number)}\n"
    if number == signal.SIGINT:
        assert printed.endswith(f" {int(number)}\n")


def signalled(*numbers: int) -> subprocess.Popen[bytes]:
    """Sends signals to this process once a command has noted its id."""
    code = "import os, sys, time\nwhile not os.path.exists('pids'): time.sleep(0.01)\n"
    code += "for number in sys.argv[1:]:\n"
    code += f"    os.kill({os.getpid()}, int(number)); time.sleep(0.3)\n"
    return subprocess.Popen([sys.executable, "-c", code, *(str(int(one)) for one in numbers)])


DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + NOTE + "time.sleep(30)"


@pytest.mark.parametrize(("grace", "count"), [(0.5, 1), (60, 2)])
def test_a_job_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace: float, count: int
) -> None:
    """After its time for saving, or at a second signal."""
    monkeypatch.setattr(process, "GRACE", grace)
    monkeypatch.chdir(tmp_path)
    other = signalled(*[signal.SIGTERM] * count)
    ended = process.run([sys.executable, "-c", DEAF], tmp_path / "log", process.environment())
    other.wait()
    assert ended == (-signal.SIGKILL, signal.SIGTERM)


def test_what_this_process_ignores_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nohup ignores SIGHUP, for a sweep that outlives its terminal."""
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handlers = [signal.getsignal(number) for number in process.STOPS]
        other = signalled(signal.SIGHUP)
        code = NOTE + "time.sleep(1)"
        ended = process.run([sys.executable, "-c", code], tmp_path / "log", process.environment())
        other.wait()
        assert ended == (0, None)
        assert [signal.getsignal(number) for number in process.STOPS] == handlers
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_job_saves_where_a_launcher_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """submitit's handler of a preemption, for one."""

    def leave(number: int, frame: object) -> None:
        raise KeyError("preempted")

    monkeypatch.chdir(tmp_path)
    saving = "import signal, sys\n"
    saving += "signal.signal(15, lambda *given: (open('saved', 'w').close(), sys.exit(0)))\n"
    before = signal.signal(signal.SIGUSR2, leave)
    other = signalled(signal.SIGUSR2)
    try:
        code = saving + NOTE + "time.sleep(30)"
        with pytest.raises(KeyError, match="preempted"):
            process.run([sys.executable, "-c", code], tmp_path / "log", process.environment())
    finally:
        signal.signal(signal.SIGUSR2, before)
        other.wait()
    assert (tmp_path / "saved").exists() and gone(*pids(tmp_path / "pids", 1))


def test_a_job_of_a_thread_knows_its_parent(tmp_path: Path) -> None:
    """Python takes handlers of signals in the main thread alone."""
    code = "import os; print(os.environ['RESTORE_PARENT'])"
    given = [sys.executable, "-c", code], tmp_path / "log", process.environment()
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(process.run, *given).result() == (0, None)
    assert (tmp_path / "log").read_text() == f"{os.getpid()}\n"


def test_slots_of_gpus_are_shared_between_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,GPU-a/b")
    monkeypatch.setattr(gpu.tempfile, "gettempdir", lambda: str(tmp_path))
    with gpu.take(1, 2) as first, gpu.take(2, 2) as two, gpu.take(1, 2) as again:
        assert (first, two, again) == ("0", "1,GPU-a/b", "0")
        code = "import sys; from restore.sweep import gpu\n"
        code += "gpu.tempfile.gettempdir = lambda: sys.argv[1]\n"
        code += "with gpu.take(1, 2) as seen: print(seen)"
        command = [sys.executable, "-c", code, str(tmp_path)]
        other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert other.stdout == "1\n"
        held = gpu._allocate(tmp_path / f"restore-gpu-{os.getuid()}", ["0"], 1, 2)
        assert held == {}
    with gpu.take(3, 1) as everything:
        assert everything == "0,1,GPU-a/b"


def test_gpus_are_given_in_their_order_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,GPU-a/b")
    monkeypatch.setattr(gpu.tempfile, "gettempdir", lambda: str(tmp_path))
    with gpu.take(1, 2) as first:
        assert first == "0"
        with gpu.take(3, 2) as all_of_them:  # the emptier ones are taken first
            assert all_of_them == "0,1,GPU-a/b"
        names = gpu.visible()
        folder = tmp_path / f"restore-gpu-{os.getuid()}"
        assert gpu._allocate(folder, names, 3, 1) == {}  # "0" has no slot left of one
        free = gpu._allocate(folder, names, 2, 1)
        assert sorted(free) == ["1", "GPU-a/b"]  # so that none of them was kept
        for one in free.values():
            one.release()
    assert sorted(gpu._allocate(folder, names, 3, 1)) == sorted(names)


@pytest.mark.parametrize(("named", "count"), [("", 0), ("3", 1)])
def test_a_machine_with_too_few_gpus_cannot_share_them(
    monkeypatch: pytest.MonkeyPatch, named: str, count: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    with pytest.raises(InputError, match=f"needs {count + 1} GPUs and this machine shows {count}"):
        gpu.take(count + 1, 2).__enter__()


@pytest.mark.parametrize(
    ("script", "seen"),
    [("echo 0; echo 1", ["0", "1"]), ("echo No devices were found; exit 6", []), (None, [])],
)
def test_the_gpus_are_those_that_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, seen: list[str]
) -> None:
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.visible() == seen


@pytest.mark.parametrize(
    ("named", "seen"), [("", []), ("-1", []), ("0", ["0"]), ("2,GPU-a", ["2", "GPU-a"])]
)
def test_the_gpus_are_those_that_the_environment_leaves(
    named: str, seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 5\n")  # and not all that there are
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpu.visible() == seen
