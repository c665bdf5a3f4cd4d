"""Sweeps of real trainings: every launcher, one and two processes, jobs that fail or are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT, free_port
from test_train import TINY

from restore import checkpoint

DDP = ("trainer=ddp_cpu", "trainer.devices=2")
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Starts `train.py -m ARGUMENTS` into tmp_path/sweep; afterwards no process of it may run."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        settings = ("max_updates=2", f"hydra.sweep.dir='{tmp_path / 'sweep'}'", *arguments)
        command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, *settings]
        started.append(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env={**environment, "SWEEP_TEST": str(tmp_path), **variables},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
    assert not eventually_left(tmp_path)


def left(folder: Path) -> list[str]:
    """Command lines of processes that this test has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"SWEEP_TEST={folder}\0".encode() in (path / "environ").read_bytes()
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        # joblib's own trackers end by themselves
        if mine and "resource_tracker" not in line:
            found.append(line)
    return found


def eventually_left(folder: Path) -> list[str]:
    for _ in range(100):
        if not left(folder):
            return []
        time.sleep(0.1)
    return left(folder)


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "sweep" / "journal.jsonl"
    texts = path.read_text().splitlines() if path.exists() else []
    return sorted((json.loads(text) for text in texts), key=lambda line: int(line["job"]))


def ended(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=500)[0]


def check_job(folder: Path, ranks: int = 1) -> None:
    """A complete run, in which every rank had the same config."""
    log = (folder / "train.log").read_text()
    named = re.findall(r"^job \d+ rank (\d+) config (\w+)$", log, re.M)
    assert sorted(rank for rank, _ in named) == [str(rank) for rank in range(ranks)], log
    assert len({digest for _, digest in named}) == 1
    assert json.loads((folder / "result.json").read_text())["training"]["updates"] == 2
    assert (folder / "checkpoints" / "best.ckpt").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    ["basic", pytest.param("joblib", marks=pytest.mark.ci), "submitit_local"],
)
def test_two_processes_a_job_under_every_launcher(
    start: Start, tmp_path: Path, launcher: str
) -> None:
    extra = {"joblib": ["hydra.launcher.n_jobs=2"]}.get(launcher, [])
    process = start(*DDP, f"hydra/launcher={launcher}", *extra, "seed=1,2")
    printed = ended(process)
    assert process.returncode == 0, printed
    for job in "01":
        check_job(tmp_path / "sweep" / job, ranks=2)
    assert [line["status"] for line in lines(tmp_path)] == ["done", "done"]
    assert lines(tmp_path)[0]["hash"] != lines(tmp_path)[1]["hash"]
    assert os.listdir(tmp_path) == ["sweep"]


@pytest.mark.slow
@pytest.mark.ci
def test_optimizers_and_a_schedule_of_torch_by_name(start: Start, tmp_path: Path) -> None:
    """Classes that no file of conf/ names; the schedule halves the learning rate at each update."""
    process = start(
        "task.optimizer._target_=torch.optim.NAdam,torch.optim.RAdam",
        "task.optimizer.lr=0.004",
        "scheduler=constant",
        "task.scheduler._target_=torch.optim.lr_scheduler.ExponentialLR",
        *("~task.scheduler.factor", "~task.scheduler.total_iters", "+task.scheduler.gamma=0.5"),
    )
    printed = ended(process)
    assert process.returncode == 0, printed
    state = []
    for job in "01":
        check_job(tmp_path / "sweep" / job)
        content = checkpoint.read(tmp_path / "sweep" / job / "checkpoints" / "last.ckpt")
        (optimizer,), (schedule,) = content["optimizer_states"], content["lr_schedulers"]
        assert schedule["_last_lr"] == [0.001] == [optimizer["param_groups"][0]["lr"]]
        state.append(set(optimizer["state"][0]))
    assert "mu_product" in state[0] and "mu_product" not in state[1]  # of Nesterov's momentum


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["0raise", "1raise", "0exit", "1exit"])
def test_a_fault_on_any_rank_ends_its_job_alone(
    start: Start, tmp_path: Path, environment: dict[str, str], fault: str
) -> None:
    (tmp_path / "fault").mkdir()
    (tmp_path / "fault" / "sitecustomize.py").write_text(HOOK)
    path = f"{tmp_path / 'fault'}{os.pathsep}{ROOT}"
    process = start(*DDP, "seed=1,2,3", FAULT=fault, PYTHONPATH=path)
    printed = ended(process)
    assert process.returncode == 1, printed
    statuses = [line["status"] for line in lines(tmp_path)]
    assert statuses[::2] == ["done", "done"] and statuses[1] in ("failed", "killed"), printed
    assert "job 1" in printed.splitlines()[-1] and "train.log" in printed.splitlines()[-1]
    for job in "02":
        check_job(tmp_path / "sweep" / job, ranks=2)


# Python imports this at the start of every process: the second job's rank fails in its first batch.
HOOK = """
import os, sys
fault = os.environ["FAULT"]
if "restore.sweep.job" in sys.orig_argv and sys.orig_argv[-1].endswith("/1"):
    if os.environ.get("LOCAL_RANK", "0") == fault[0]:
        import restore.task.restoration as restoration
        def training_step(self, batch, batch_idx):
            if fault[1:] == "exit":
                os._exit(9)
            raise RuntimeError("fault on purpose")
        restoration.RestorationTask.training_step = training_step
"""


@pytest.mark.slow
def test_a_killed_rank_ends_its_job_alone(start: Start, tmp_path: Path) -> None:
    process = start(*DDP, "max_updates=100000,2", "trainer.val_check_interval=1000")
    log = tmp_path / "sweep" / "0" / "metrics.csv"
    wait_for(log.exists)
    ranks = [pid for pid in children(tmp_path) if environment_of(pid).get("LOCAL_RANK") == "1"]
    assert len(ranks) == 1
    os.kill(ranks[0], signal.SIGKILL)
    wait_for(lambda: len(lines(tmp_path)) == 1)
    assert lines(tmp_path)[0]["status"] in ("failed", "killed")
    wait_for(lambda: len(lines(tmp_path)) == 2)
    assert lines(tmp_path)[1]["status"] == "done"
    assert "train.log" in ended(process).splitlines()[-1]
    assert process.returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_of_joblib_and_their_jobs_end_with_the_sweep(
    start: Start, tmp_path: Path, number: int
) -> None:
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    process = start(*joblib, "seed=1,2", "max_updates=100000", "trainer.val_check_interval=1000")
    wait_for(lambda: len(children(tmp_path)) == 2)
    process.send_signal(number)
    process.wait()
    assert not eventually_left(tmp_path)


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.partition("=")[::2] for pair in pairs if pair)


def children(folder: Path) -> list[int]:
    """Processes of the jobs of the test that works in `folder`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_job = b"restore.sweep.job" in (path / "cmdline").read_bytes()
            if is_job and environment_of(int(path.name)).get("SWEEP_TEST") == str(folder):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "search",
    [pytest.param([], marks=pytest.mark.ci), ["search=random", "search.num_trials=4"]],
)
def test_a_killed_sweep_goes_on_where_it_was(
    start: Start, tmp_path: Path, environment: dict[str, str], search: list[str]
) -> None:
    space = "seed=1,2,3,4" if not search else "task.optimizer.lr=tag(log,interval(1e-5,1e-2))"
    process = start(*search, space)
    wait_for(lambda: len(lines(tmp_path)) == 2)
    wait_for((tmp_path / "sweep" / "2" / "config.yaml").exists)
    process.kill()
    process.wait()
    assert not eventually_left(tmp_path)
    before = {job: (tmp_path / "sweep" / job / "result.json").stat() for job in "01"}
    command = [str(Path(sys.executable).with_name("restore")), "sweep", str(tmp_path / "sweep")]
    again = subprocess.run([*command, "--resume"], env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout + again.stderr
    for job, stat in before.items():
        assert (tmp_path / "sweep" / job / "result.json").stat() == stat
    assert [line["job"] for line in lines(tmp_path)] == [0, 1, 2, 3]
    assert {line["status"] for line in lines(tmp_path)} == {"done"}
    for job in "0123":
        check_job(tmp_path / "sweep" / job)
    shown = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "sweep" / "sweep.png").exists()


@pytest.mark.slow
def test_a_preempted_job_of_submitit_goes_on_in_its_folder(start: Start, tmp_path: Path) -> None:
    """As a cluster preempts it: a signal to the task, which submitit then queues again."""
    lasting = ("max_updates=1000", "trainer.val_check_interval=500")
    process = start("hydra/launcher=submitit_local", *lasting, "seed=1")
    wait_for((tmp_path / "sweep" / "0" / "metrics.csv").exists)
    (job,) = children(tmp_path)
    task = int(Path(f"/proc/{job}/stat").read_text().rpartition(") ")[2].split()[1])
    os.kill(task, signal.SIGUSR2)  # submitit's default
    printed = ended(process)
    assert process.returncode == 0, printed
    result = json.loads((tmp_path / "sweep" / "0" / "result.json").read_text())
    assert result["training"]["updates"] == 1000
    assert len(result["resumed"]) == 1 and 0 < result["resumed"][0]["updates"] < 1000
    assert result["resumed"][0]["differences"] == []
    assert lines(tmp_path)[-1]["status"] == "done"


@pytest.mark.slow
def test_a_job_and_its_ranks_are_pruned_by_a_shared_study(start: Start, tmp_path: Path) -> None:
    import optuna

    from restore.sweep import study

    storage = str(tmp_path / "study")
    opened = study.open_study(storage, "ddpm_digits minimize val/loss", "minimize")
    seen = {step: 0.0 for step in (2, 4, 6)}
    opened.add_trial(optuna.create_trial(value=0.0, intermediate_values=seen))
    settings = ("search=tpe", "search.num_trials=2", "search.num_startup_trials=1")
    space = "task.optimizer.lr=interval(1e-4,1e-3)"
    process = start(*DDP, *settings, f"search.storage={storage}", "max_updates=8", space)
    printed = ended(process)
    assert process.returncode == 0, printed
    assert [line["status"] for line in lines(tmp_path)] == ["pruned"], printed
    assert "pruned after" in (tmp_path / "sweep" / "0" / "train.log").read_text()
    states = [trial.state.name for trial in study.open_study(storage, opened.study_name).trials]
    assert states == ["COMPLETE", "PRUNED"]


@pytest.mark.slow
@pytest.mark.ci
def test_torchrun_on_two_nodes_is_one_run(tmp_path: Path, environment: dict[str, str]) -> None:
    agents, port = [], free_port()
    for node in range(2):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2"]
        place = [f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}"]
        job = [str(ROOT / "train.py"), *TINY, "trainer=ddp_cpu", "trainer.devices=1"]
        agents.append(
            subprocess.Popen(
                [
                    *torchrun,
                    "--nproc-per-node=1",
                    *place,
                    *job,
                    "trainer.num_nodes=2",
                    "max_updates=2",
                ],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    printed = [agent.communicate(timeout=300)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], printed
    (run,) = (tmp_path / "outputs" / "ddpm_digits").iterdir()
    assert json.loads((run / "result.json").read_text())["training"]["images"] == 2 * 2 * 64
    assert "".join(printed).count(f"{run}\n") == 1
    assert os.listdir(tmp_path) == ["outputs"]
