"""What the doctor asks of the machine: GPUs, precision, W&B, optional packages, room and locks."""

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import netrc
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from restore import busy, launch, precision

Status = Literal["ok", "absent", "wrong"]

_NEEDED = 2 * 2**30  # bytes: a training with its checkpoints
_SHARED = 2**28  # bytes of /dev/shm, by which loader workers hand batches over
_HOST = "api.wandb.ai"
_NVIDIA = Path("/dev/nvidiactl")
_OPTIONAL = (  # package, what it is for, and what installs it
    ("wandb", "logger=wandb", "wandb"),
    ("optuna", "search=tpe and search=random", "'restore[sweep]', in a checkout -e '.[sweep]'"),
    ("gradio", "restore app", "'restore[app]', in a checkout -e '.[app]'"),
    ("onnxruntime", "ONNX files", "'restore[export]', in a checkout -e '.[export]'"),
    ("diffusers", "folders of diffusers' models", "diffusers"),
)


@dataclass(frozen=True)
class Check:
    """One line of the doctor. "absent" is no fault: something optional is missing."""

    status: Status
    what: str
    found: str
    cure: str = ""  # what to do about it


def checks() -> Iterator[Check]:
    yield from _gpus()
    yield from _cores()
    yield _bf16()
    yield from _optional()
    if importlib.util.find_spec("wandb") is not None:
        yield _wandb()
    yield from _room(Path.cwd())


def _gpus() -> Iterator[Check]:
    if not torch.cuda.is_available():
        yield _no_gpu(built=torch.version.cuda, driver=_NVIDIA.exists())
        return
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        what = f"GPU {number}"
        try:
            with torch.cuda.device(number):
                ones = torch.ones(64, 64, device="cuda")
                right = bool((ones @ ones == 64).all())
                free, whole = torch.cuda.mem_get_info()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            cure = (
                "install a torch whose CUDA knows this GPU, or set CUDA_VISIBLE_DEVICES without it"
            )
            yield Check("wrong", what, f"{about.name}: {reason}", cure)
            continue
        size = f"{free / 2**30:.1f} of {whole / 2**30:.1f} GiB free"
        status: Status = "ok" if right else "wrong"
        yield Check(status, what, f"{about.name}, {size}", "" if right else "its sums are wrong")


def _no_gpu(built: str | None, driver: bool) -> Check:
    """Why torch sees no GPU. built: the CUDA of torch; driver: whether NVIDIA's is loaded."""
    if driver and built is None:
        cure = "install a CUDA build of torch, as pytorch.org/get-started names it"
        return Check("wrong", "GPU", "there is one, and torch is a build for CPUs alone", cure)
    if driver:
        cure = "look at nvidia-smi and CUDA_VISIBLE_DEVICES; a driver may be older than CUDA needs"
        return Check("wrong", "GPU", f"torch for CUDA {built} cannot use the GPU of here", cure)
    return Check("absent", "GPU", "none: trainer=cpu", "trainer=gpu on a machine with one")


def _cores() -> Iterator[Check]:
    """Only where the machine tells."""
    found, cores = busy.busy(), launch.cores()
    if found is None:
        return
    text = f"{cores}, {found:.1f} of them busy with other work"
    fitting = busy.fitting_beside(found)
    waits = torch.get_num_threads() > fitting
    cure = f"OMP_NUM_THREADS={fitting} for work on the processor beside it" if waits else ""
    yield Check("absent" if cure else "ok", "cores", text, cure)


def _bf16() -> Check:
    chosen, reason = precision.choose(precision.device_of("auto"))
    return Check("ok", "trainer.precision=auto", f"{chosen}: {reason}")


def _optional() -> Iterator[Check]:
    for package, use, name in _OPTIONAL:
        if importlib.util.find_spec(package) is None:
            yield Check("absent", package, f"not installed, for {use}", f"pip install {name}")
        else:
            yield Check("ok", package, importlib.metadata.version(package))


def _wandb() -> Check:
    """Looks for a key without asking the network, since an offline run needs none."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return Check("ok", "W&B key", f"not needed, WANDB_MODE={os.environ['WANDB_MODE']}")
    known = bool(os.environ.get("WANDB_API_KEY"))
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        known = known or netrc.netrc().authenticators(_HOST) is not None
    if known:
        return Check("ok", "W&B key", "there; logger=wandb logger.offline=false uses it")
    cure = "wandb login, or set WANDB_API_KEY; runs are kept for `wandb sync` until then"
    return Check("absent", "W&B key", "none", cure)


def _room(here: Path) -> Iterator[Check]:
    for what, place in (("here", here), ("for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        cure = "" if free >= _NEEDED else f"make room on the disk of {place}"
        status: Status = "wrong" if cure else "ok"
        yield Check(status, f"free space {what}", f"{free / 2**30:.1f} GiB of 2 needed", cure)
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        cure = "" if free >= _SHARED else "docker run --shm-size=8g, or data.num_workers=0"
        found = f"{free / 2**20:.0f} MiB for the workers of the loader"
        yield Check("wrong" if cure else "ok", "shared memory", found, cure)
    yield _locks(here)


def _locks(here: Path) -> Check:
    """Whether a run folder made here can be held by one run."""
    try:
        with tempfile.TemporaryFile(dir=here) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:
        cure = "go to a folder of yours, or give hydra.run.dir=FOLDER"
        return Check("wrong", "writing here", str(error.strerror), cure)
    except OSError as error:
        cure = "start one run a folder, or give hydra.run.dir on another disk"
        return Check("absent", "locks here", str(error.strerror), cure)
    return Check("ok", "writing and locks here", "possible")
