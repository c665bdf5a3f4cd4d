"""Every launcher, what each leaves behind, one process and two: as many as were asked for."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT, free_port
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch.distributed import HashStore

from restore import launch
from restore.types import InputError

PARENT = 4711
PLACE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29613"}
PORTS = {"7": "15007", "123456": "18456", "12_3": "15000"}  # of jobs, by their numbers
JOB = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "localhost"}


def torchrun(world_size: int, rank: int = 0) -> dict[str, str]:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "GROUP_RANK": 0}
    return {"TORCHELASTIC_RUN_ID": "7", **PLACE, **{k: str(v) for k, v in ranks.items()}}


def srun(tasks: int, rank: int = 0) -> dict[str, str]:
    ranks = {"SLURM_NTASKS": tasks, "SLURM_PROCID": rank, "SLURM_LOCALID": rank}
    return {**JOB, "SLURM_NODEID": "0", "SLURM_STEP_ID": "0"} | {
        name: str(value) for name, value in ranks.items()
    }


def lightning(world_size: int, rank: int = 1, parent: int = PARENT) -> dict[str, str]:
    ranks = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": world_size}
    own = {name: str(value) for name, value in ranks.items()}
    return {launch.RANKS: str(parent), **PLACE, **own}


ALONE: dict[str, dict[str, str]] = {
    "python": {},
    "a shell of salloc": {**JOB, "SLURM_NTASKS": "2"},
    "an interactive shell of srun": {**srun(2), "SLURM_JOB_NAME": "bash"},
    "a job that is named as an interactive one": {**srun(2), "SLURM_JOB_NAME": "interactive"},
    "the only task of a job": srun(1),
    "harmless numbers": {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
    "the start of another run": {launch.RANKS: "12", "WORLD_SIZE": "1"},
    "the start of a run of this shell": {launch.RANKS: str(PARENT)},
    "mpirun of one": {"OMPI_COMM_WORLD_SIZE": "1"},
    "half a torchrun": {"TORCHELASTIC_RUN_ID": "7"},
}


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("environ", ALONE.values(), ids=ALONE)
def test_alone_python_starts_what_is_asked_for(environ: dict[str, str], devices: int) -> None:
    found = launch.detect(environ, PARENT)
    assert (found.launcher, found.world_size, found.rank) == ("python", 1, 0)
    launch.check(found, devices, 1)


def test_a_second_task_was_started_by_srun_whatever_its_job_is_named() -> None:
    found = launch.detect({**srun(2, 1), "SLURM_JOB_NAME": "bash"}, PARENT)
    assert (found.launcher, found.world_size, found.rank) == ("srun", 2, 1)


def test_the_rank_of_a_task_is_not_its_place_on_its_machine() -> None:
    """The third of four processes is the first of the second machine."""
    slurm = {**srun(4, 2), "SLURM_LOCALID": "0", "SLURM_NODEID": "1"}
    other = {**torchrun(4, 2), "LOCAL_RANK": "0", "GROUP_RANK": "1"}
    plain = {name: value for name, value in other.items() if not name.startswith("TORCH")}
    for environ in (slurm, other, plain):
        found = launch.detect(environ, PARENT)
        assert (found.world_size, found.rank, found.local_rank) == (4, 2, 0)


def test_variables_alone_do_not_prove_that_others_were_started() -> None:
    step = launch.detect(srun(2), PARENT)
    variables = [srun(2), torchrun(2)]
    for environ, sign in zip(variables, ("SLURM_STEP_ID", "TORCHELASTIC_RUN_ID"), strict=True):
        assert launch.detect(environ, PARENT).certain
        del environ[sign]
        found = launch.detect(environ, PARENT)
        assert found.world_size == 2 and not found.certain
        with pytest.raises(InputError, match="or unset these variables"):
            launch.check(found, 1, 1)
    with pytest.raises(InputError, match=r"make the two agree$"):
        launch.check(step, 1, 1)


@pytest.mark.parametrize("job", ["7", "123456", "12_3"])
def test_tasks_meet_where_lightning_would(monkeypatch: pytest.MonkeyPatch, job: str) -> None:
    environ = {"SLURM_JOB_ID": job, "SLURM_NODELIST": "n[17-19,33]"}
    monkeypatch.setattr(os, "environ", dict(environ))
    launch._name_meeting_place()
    place = {name: os.environ[name] for name in PLACE}
    assert place == {"MASTER_ADDR": "n17", "MASTER_PORT": PORTS[job]}
    if job.isdecimal():
        monkeypatch.setattr(os, "environ", dict(environ))
        theirs = SLURMEnvironment(auto_requeue=False)
        assert [theirs.main_address, str(theirs.main_port)] == [*place.values()]
    monkeypatch.setattr(os, "environ", {**environ, **PLACE})
    launch._name_meeting_place()
    assert {name: os.environ[name] for name in PLACE} == PLACE  # as the user has named it


STARTED: dict[str, Any] = {
    "torchrun": torchrun,
    "torchrun in the only task of a job": lambda n, k: torchrun(n, k) | srun(1),
    "torchrun in a task of two": lambda n, k: torchrun(n, k) | srun(2),
    "torchrun in a shell of salloc": lambda n, k: torchrun(n, k) | ALONE["a shell of salloc"],
    "torchrun with mpirun around it": lambda n, k: torchrun(n, k) | {"PMI_SIZE": "2"},
    "srun": srun,
    "srun with a WORLD_SIZE left": lambda n, k: srun(n, k) | {"WORLD_SIZE": "5", "RANK": "3"},
    "srun with half a torchrun left": lambda n, k: srun(n, k) | ALONE["half a torchrun"],
    "env://": lambda n, k: {
        name: value for name, value in torchrun(n, k).items() if not name.startswith("TORCH")
    },
}
LAUNCHERS = dict.fromkeys(STARTED, "torchrun") | {"env://": "environment"}
LAUNCHERS |= {name: "srun" for name in STARTED if name.startswith("srun")}


@pytest.mark.parametrize("name", STARTED)
def test_two_that_were_started_are_two(name: str) -> None:
    for rank in range(2):
        found = launch.detect(STARTED[name](2, rank), PARENT)
        assert (found.launcher, found.world_size, found.rank) == (LAUNCHERS[name], 2, rank)
        launch.check(found, 2, 1)
        for devices, nodes in ((1, 1), (2, 2), (3, 1)):
            with pytest.raises(InputError, match=f"trainer.devices={devices} and"):
                launch.check(found, devices, nodes)


def test_one_that_torchrun_started_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for nobody: the address may be one that a shell has kept."""
    monkeypatch.setattr(os, "environ", torchrun(1))
    monkeypatch.setattr(launch, "_met", lambda _: pytest.fail("waited for others"))
    assert launch.ready({"devices": 1}).world_size == 1
    found = launch.detect(torchrun(1), PARENT)
    launch.check(found, 1, 1)
    with pytest.raises(InputError, match=r"torchrun started 1 process, .* ask for 2"):
        launch.check(found, 2, 1)


def test_a_machine_has_as_many_as_it_has_devices() -> None:
    found = launch.detect(torchrun(2, rank=1), PARENT)  # both on one machine
    with pytest.raises(InputError, match="number 2 on its machine"):
        launch.check(found, 1, 2)
    launch.check(launch.detect(torchrun(2, rank=1) | {"LOCAL_RANK": "0"}, PARENT), 1, 2)


def test_a_rank_of_lightning_knows_its_parent() -> None:
    found = launch.detect(lightning(2), PARENT)
    assert (found.launcher, found.world_size, found.rank) == ("lightning", 2, 1)
    inside = launch.detect({**srun(1), **lightning(2)}, PARENT)  # of the only task of a job
    assert (inside.launcher, inside.world_size, inside.rank) == ("lightning", 2, 1)


LEFT = {
    "WORLD_SIZE": ({"WORLD_SIZE": "3"}, "WORLD_SIZE=3"),
    "a rank": ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, "LOCAL_RANK=1"),
    "another node": ({"NODE_RANK": "1"}, "NODE_RANK=1"),
    "a rank of lightning": (lightning(2, parent=12), "LOCAL_RANK=1"),
    "mpirun": ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE=2"),
    "mpirun with env://": ({**torchrun(2), "PMI_SIZE": "2"}, "PMI_SIZE=2"),
}
LEFT["mpirun with env://"][0].pop("TORCHELASTIC_RUN_ID")


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("environ", "says"), LEFT.values(), ids=LEFT)
def test_what_others_left_is_refused(environ: dict[str, str], says: str, devices: int) -> None:
    found = launch.detect(environ, PARENT)
    with pytest.raises(InputError, match=rf"python started 1 process .*{says}.*unset"):
        launch.check(found, devices, 1)


def test_other_machines_start_by_torchrun_alone() -> None:
    with pytest.raises(InputError, match=r"trainer.num_nodes=2 .* torchrun --nnodes=2"):
        launch.check(launch.detect({}, PARENT), 8, 2)


def test_a_number_that_is_none() -> None:
    with pytest.raises(InputError, match="WORLD_SIZE=two in the environment is no number"):
        launch.detect({**torchrun(2), "WORLD_SIZE": "two"}, PARENT)


def test_the_number_that_is_asked_for_is_harmless() -> None:
    launch.check(launch.detect({"WORLD_SIZE": "2"}, PARENT), 2, 1)


@pytest.mark.parametrize("trainer", [None, "none", {"devices": 2, "num_nodes": "2"}])
def test_settings_of_a_wrong_kind_are_left_to_the_rules(
    monkeypatch: pytest.MonkeyPatch, trainer: Any
) -> None:
    monkeypatch.setattr(os, "environ", {})
    assert launch.ready(trainer).launcher == "python"


@pytest.mark.parametrize(
    ("devices", "number"),
    [(1, 1), (3, 3), ("2", 2), ([0, 3], 2), ("0,3,", 2), (-1, None), ("auto", None), (0, None)],
)
def test_devices_that_are_asked_for(devices: Any, number: int | None) -> None:
    assert launch.wanted_devices({"devices": devices}) == number


def test_without_others_a_folder_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {"MASTER_ADDR": "elsewhere", "LOCAL_RANK": "0"})
    assert launch.share(tmp_path, {"devices": 1}) == tmp_path
    assert os.environ == {launch.RANKS: str(os.getpid())}  # Lightning would believe the rest


def test_a_sweep_is_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    launch.check_sweep()
    monkeypatch.setattr(os, "environ", torchrun(2))
    with pytest.raises(InputError, match="each would run the whole sweep"):
        launch.check_sweep()


MEET = """
import os, sys
from pathlib import Path
from restore import launch
launch.DOUBT = 3
rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID")
own = Path.cwd() / f"run{rank}"
(own / ".hydra").mkdir(parents=True)
devices, num_nodes = map(int, sys.argv[1:])
try:
    found = launch.share(own, {"devices": devices, "num_nodes": num_nodes})
except launch.InputError as error:
    sys.exit(f"error: {error}")
print(found.name, launch.agree("precision", lambda: f"of {rank}"), flush=True)
"""


def started(folder: Path, devices: int, environ: dict[str, str]) -> "subprocess.Popen[str]":
    clean = {name: value for name, value in os.environ.items() if name not in launch.LEFT}
    return subprocess.Popen(
        [sys.executable, "-c", MEET, str(devices), "1"],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("step", [{}, {"SLURM_STEP_ID": "0"}], ids=["variables", "srun"])
def test_tasks_of_srun_share_a_folder_and_what_the_first_decides(
    tmp_path: Path, step: dict[str, str]
) -> None:
    job = {"SLURM_NODELIST": "127.0.0.1", "SLURM_JOB_ID": f"{os.getpid()}"}
    tasks = [srun(2, rank) | job for rank in range(2)]
    for task in tasks:
        task.pop("SLURM_STEP_ID")
    both = [started(tmp_path, 2, {**task, **step}) for task in tasks]
    assert [one.communicate(timeout=60)[0] for one in both] == ["run0 of 0\n"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["run0"]


def test_one_of_two_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {name: value for name, value in srun(2).items() if name != "SLURM_STEP_ID"}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    monkeypatch.setattr(launch, "DOUBT", 0.2)
    for name, value in {**environ, **place}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"srun started 2 processes .* but they did not meet at"):
        launch.ready({"devices": 2})


@pytest.fixture
def one_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that outlives its processes, as that of torchrun does."""
    place = iter([(HashStore(), 0, 2)] * 3)
    module = sys.modules["torch.distributed.rendezvous"]
    monkeypatch.setattr(module, "rendezvous", lambda *_, **__: place)
    monkeypatch.setattr(launch, "PATIENCE", 0.05)


def test_who_was_there_before_a_restart_is_waited_for_again(
    one_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", torchrun(2))
    first, second = (launch.Launch("torchrun", 2, rank, rank) for rank in range(2))
    with pytest.raises(InputError, match=r"did not meet at .* within 0\.05 s"):
        launch._met(second)
    launch._met(first)  # the other has been there
    os.environ["TORCHELASTIC_RESTART_COUNT"] = "1"
    with pytest.raises(InputError, match="did not meet"):
        launch._met(first)


def test_tasks_of_srun_need_no_place_to_be_named(
    one_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", srun(2))
    with pytest.raises(InputError, match="did not meet at localhost:15077 "):
        launch.ready({"devices": 2})


def test_what_the_first_decides_holds_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_stores", [HashStore()])
    for rank in range(2):
        (tmp_path / f"run{rank}" / ".hydra").mkdir(parents=True)
        # Each the first of its machine: only one of them is the first of the run.
        monkeypatch.setattr(os, "environ", torchrun(2, rank) | {"LOCAL_RANK": "0"})
        assert launch.agree("precision", lambda: f"of {rank}") == "of 0"  # noqa: B023
        assert launch.share(tmp_path / f"run{rank}", {"devices": 2}) == tmp_path / "run0"
    assert [path.name for path in tmp_path.iterdir()] == ["run0"]


def test_a_rank_of_lightning_takes_what_its_parent_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", {})
    assert launch.agree("precision", lambda: "of a run before") == "of a run before"
    assert launch.agree("precision", lambda: "of the parent") == "of the parent"
    monkeypatch.setattr(os, "environ", {**os.environ, **lightning(2, parent=os.getppid())})
    assert launch.agree("precision", lambda: "its own") == "of the parent"


@pytest.mark.slow
def test_two_nodes_of_torchrun_share_a_folder(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "script.py").write_text(MEET)
    rendezvous = ["--rdzv-backend=c10d", "--rdzv-id=7", f"--rdzv-endpoint=127.0.0.1:{free_port()}"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", *rendezvous]
    nodes = [
        subprocess.Popen(
            [*command, "--nproc-per-node=1", "script.py", "1", "2"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [node.communicate(timeout=120)[0] for node in nodes] == ["run0 of 0\n"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run0", "script.py"]
