"""Who started the processes of a run, how many really meet, and what they agree on.

Lightning believes the first variable that it finds. Here the processes are counted before work: a
run that was asked for two never trains on one, nor one beside another.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from restore.folder import remove_empty
from restore.types import InputError

RANKS = "RESTORE_RANKS"  # the process that lets Lightning start the others
AGREED = "RESTORE_AGREED_"  # what it has decided for them
# Seconds to wait for the other processes: where a launcher proves that there are some, and where
# variables of the environment alone say so.
PATIENCE, DOUBT = 300, 20
LEFT = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
CONTRACT = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # of torch's env://
MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "JSM_NAMESPACE_SIZE")

Launcher = Literal["python", "lightning", "torchrun", "srun", "environment"]
Trainer = Mapping[str, Any]  # its config

_stores: list[Any] = []  # rank 0 may be the store's server: it stays up until the process ends


@dataclass(frozen=True)
class Launch:
    """How this process came to be; world_size counts what was started before work.

    certain: whether the launcher leaves signs that no shell keeps by itself.
    claims: variables that speak of processes, though no launcher has set them as it should.
    """

    launcher: Launcher
    world_size: int = 1
    rank: int = 0
    local_rank: int = 0
    certain: bool = True
    claims: tuple[tuple[str, str], ...] = ()


def detect(environ: Mapping[str, str], parent: int) -> Launch:
    """Reads the environment of a process whose parent has the process id `parent`.

    Raises InputError for a number of processes or a rank that is no number.
    """
    if environ.get(RANKS) == str(parent) and environ.get("LOCAL_RANK", "0") != "0":
        return Launch("lightning", *_numbers(environ, "WORLD_SIZE", "LOCAL_RANK", "LOCAL_RANK"))
    if "TORCHELASTIC_RUN_ID" in environ and all(name in environ for name in CONTRACT):
        return Launch("torchrun", *_numbers(environ, "WORLD_SIZE", "RANK", "LOCAL_RANK"))
    if _is_task(environ):
        counts = _numbers(environ, "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
        return Launch("srun", *counts, certain="SLURM_STEP_ID" in environ)
    mpi = tuple((name, environ[name]) for name in MPI if environ.get(name, "1") != "1")
    if not mpi and all(name in environ for name in CONTRACT):
        counts = _numbers(environ, "WORLD_SIZE", "RANK", "LOCAL_RANK")
        return Launch("environment", *counts, certain=False)
    left = tuple((name, environ[name]) for name in LEFT[:5] if name in environ)
    return Launch("python", claims=mpi + left)


def _is_task(environ: Mapping[str, str]) -> bool:
    """Whether srun started this process beside others.

    The only task of a job starts the other ranks itself, as anywhere else; so does the shell of
    salloc, which has no SLURM_PROCID, and a job that is named as an interactive one.
    """
    interactive = environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if interactive and environ.get("SLURM_PROCID", "0") == "0":
        return False
    named = "SLURM_PROCID" in environ and "SLURM_LOCALID" in environ
    return named and environ.get("SLURM_NTASKS", "1") != "1"


def _numbers(environ: Mapping[str, str], *names: str) -> tuple[int, int, int]:
    for name in names:
        if not environ[name].isdecimal():
            raise InputError(f"{name}={environ[name]} in the environment is no number: unset it")
    world_size, rank, local_rank = (int(environ[name]) for name in names)
    return world_size, rank, local_rank


def here() -> Launch:
    return detect(os.environ, os.getppid())


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wanted_devices(trainer: Trainer) -> int | None:
    """Processes a machine that a config asks for; None where the machine decides (-1, auto)."""
    devices = trainer.get("devices", "auto")
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([one for one in devices.split(",") if one])
    text = str(devices)
    return int(text) if text.isdecimal() and int(text) > 0 else None


def check(launch: Launch, devices: int, num_nodes: int) -> None:
    """Raises InputError unless devices * num_nodes processes will meet."""
    wanted = devices * num_nodes
    settings = f"trainer.devices={devices} and trainer.num_nodes={num_nodes}"
    if launch.launcher == "python":
        _check_alone(launch, devices, num_nodes)
    elif launch.world_size != wanted:
        raise InputError(
            f"{_who(launch)}, but {settings} ask for {wanted}: make the two agree"
            + ("" if launch.certain else ", or unset these variables if nothing started others")
        )
    elif launch.local_rank >= devices:
        raise InputError(
            f"{_who(launch)}, and this is number {launch.local_rank + 1} on its machine, but "
            f"{settings}: set trainer.devices to the processes of one machine"
        )


def _check_alone(launch: Launch, devices: int, num_nodes: int) -> None:
    if num_nodes != 1:
        raise InputError(
            f"python started 1 process, but trainer.num_nodes={num_nodes} asks for "
            f"{devices * num_nodes} on {num_nodes} machines: start each machine by torchrun "
            f"--nnodes={num_nodes} --nproc-per-node={devices}"
        )
    harmless = {"WORLD_SIZE": ("1", str(devices))}  # the ranks must all be 0
    wrong = [one for one in launch.claims if one[1] not in harmless.get(one[0], ("0",))]
    if wrong:
        told = ", ".join(f"{name}={value}" for name, value in wrong)
        raise InputError(
            f"python started 1 process for trainer.devices={devices}, but the environment says "
            f"{told}: unset {' and '.join(name for name, _ in wrong)}, or start by torchrun "
            "--nproc-per-node=N with trainer.devices=N"
        )


def _who(launch: Launch) -> str:
    many = "1 process" if launch.world_size == 1 else f"{launch.world_size} processes"
    says = {
        "srun": f"srun started {many} (SLURM_NTASKS={launch.world_size})",
        "environment": f"WORLD_SIZE={launch.world_size} and RANK={launch.rank} stand for {many}",
        "torchrun": f"torchrun started {many}",
    }
    return says.get(launch.launcher, f"Lightning started {many}")


def ready(trainer: Trainer | None) -> Launch:
    """Counts the processes and waits until all have met; may be asked again.

    Raises InputError for another number than the config asks for, or where some do not come.
    """
    launch = here()
    trainer = trainer if isinstance(trainer, Mapping) else {}  # what is none is refused later
    devices, num_nodes = wanted_devices(trainer), trainer.get("num_nodes", 1)
    if devices is not None and isinstance(num_nodes, int):
        check(launch, devices, num_nodes)
    if launch.launcher == "python":
        for name in LEFT:  # Lightning would take them for a launcher's, and start nothing
            os.environ.pop(name, None)
        os.environ[RANKS] = str(os.getpid())
    elif launch.launcher != "lightning" and launch.world_size > 1 and not _stores:
        _stores.append(_met(launch))
    return launch


def _met(launch: Launch) -> Any:
    """A store that all processes share, once each has said that it is there."""
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if launch.launcher == "srun":
        _name_meeting_place()
    seconds = PATIENCE if launch.certain else DOUBT
    wait = timedelta(seconds=seconds)
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        store, _, _ = next(rendezvous("env://", launch.rank, launch.world_size, timeout=wait))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        met = PrefixStore(f"restore/{attempt}", store)
        met.set(f"here/{launch.rank}", "")
        met.wait([f"here/{rank}" for rank in range(launch.world_size)], wait)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{_who(launch)}, but they did not meet at {place} (MASTER_ADDR, MASTER_PORT) within "
            f"{seconds} s: start all of them, or unset the variables that a launcher has left"
        ) from error
    return met


def _name_meeting_place() -> None:
    """Names the place as Lightning does: the first node of a job, a port of its number."""
    if "MASTER_ADDR" not in os.environ:
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        nodes = os.environ.get("SLURM_NODELIST", "127.0.0.1")
        os.environ["MASTER_ADDR"] = SLURMEnvironment.resolve_root_node_address(nodes)
    job = os.environ.get("SLURM_JOB_ID", "0")[-4:]
    os.environ.setdefault("MASTER_PORT", str(15000 + int(job if job.isdecimal() else 0)))


def agree(name: str, decide: Callable[[], str]) -> str:
    """What the first process decides, in all of them."""
    if _stores:
        if here().rank == 0:
            _stores[0].set(name, decide())
        return str(_stores[0].get(name).decode())
    if here().launcher == "lightning" and AGREED + name in os.environ:
        return os.environ[AGREED + name]
    os.environ[AGREED + name] = decided = decide()
    return decided


def share(folder: Path, trainer: Trainer | None) -> Path:
    """Rank 0's folder on every rank; the others' own, which Hydra has made, are taken away.

    Hydra names a folder after the time, which no two processes share. Lightning hands the name to
    the ranks that it starts itself.
    """
    ready(trainer)
    if not _stores:
        return folder
    chosen = Path(agree("folder", lambda: str(folder)))
    if chosen != folder:
        remove_empty(folder)
    return chosen


def check_sweep() -> None:
    """Raises InputError where several processes would each run a whole sweep."""
    launch = here()
    if launch.world_size > 1:
        raise InputError(
            f"{_who(launch)}, and each would run the whole sweep: start it by python train.py -m, "
            "which starts the processes of every job itself"
        )
