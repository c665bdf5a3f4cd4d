"""trainer.precision=auto: the fastest precision that this machine computes and does not emulate."""

import platform
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from restore.launch import agree
from restore.types import InputError

Config = dict[str, Any]
Device = Literal["cpu", "cuda", "mps"]

EXACT, MIXED = "32-true", "bf16-mixed"
# Time of a step in bfloat16 over its time in float32: up to PAYS auto takes bfloat16 where the
# processor's flags do not decide; above EMULATED a precision set by hand is warned of.
PAYS, EMULATED = 0.9, 1.1
_SECONDS = 1.0  # of measuring
_X86 = ("x86_64", "AMD64", "i686")
_UNITS = {"avx512_bf16", "amx_bf16"}  # x86 flags of processors that multiply bfloat16
_LOCK = threading.Lock()
_met: list[bool] = []  # by each who computes exactly now: whether TF32 was allowed before


def settle(config: Config) -> tuple[Config, list[str]]:
    """The config with a precision in the place of `auto`, the same in all processes.

    With it the lines that tell the user what auto has become, that a precision set by hand is
    emulated, in the process that has decided, or that a GPU is left idle.

    Raises:
        InputError: a GPU is asked for and there is none, or fp16 without one, for which Lightning
            would take another precision.
    """
    trainer = config["trainer"]
    wanted = trainer.get("precision") or EXACT
    accelerator = str(trainer.get("accelerator", "auto"))
    device = device_of(accelerator)
    if device == "cpu":
        _check_without_gpu(accelerator, str(wanted))
    notes: list[str] = []
    if accelerator == "cpu" and torch.cuda.is_available():
        notes.append("device: a CPU, and the GPU of this machine is idle; trainer=gpu uses it")

    def decide() -> str:
        precision, reason = choose(device)
        notes.append(f"precision: {precision} ({reason})")
        return precision

    def measure() -> str:
        measured = ratio(device)
        if measured > EMULATED:
            notes.append(
                f"warning: trainer.precision={wanted} is emulated: a step takes {measured:.1f} "
                f"times as long as with {EXACT} here; trainer.precision=auto chooses"
            )
        return ""

    if wanted == "auto":
        wanted = agree("precision", decide)
    elif str(wanted).startswith("bf16") and has_bf16(device) is not True:
        agree("emulated", measure)
    return {**config, "trainer": {**trainer, "precision": wanted}}, notes


def _check_without_gpu(accelerator: str, wanted: str) -> None:
    if accelerator not in ("cpu", "auto"):
        raise InputError(
            f"trainer.accelerator={accelerator}: torch sees no GPU here: set trainer=cpu, or "
            "install the build of torch for your GPU (`restore doctor` looks at the machine)"
        )
    if wanted in ("16-mixed", "16-true", "16"):
        raise InputError(
            f"trainer.precision={wanted} needs a GPU: on a CPU set bf16-mixed, 32-true or auto"
        )


@contextmanager
def exact(precision: str = EXACT) -> Iterator[None]:
    """In float32 all digits count while this lasts, in every thread; of another precision nothing.

    PyTorch lets the convolutions of GPUs from Ampere on round float32 to the 10 bits of TF32.
    """
    if precision != EXACT:
        yield
        return
    flags = torch.backends.cudnn
    with _LOCK:
        _met.append(flags.allow_tf32)
        flags.allow_tf32 = False
    try:
        yield
    finally:
        with _LOCK:
            flags.allow_tf32 = _met.pop()  # the first who came has met what was before


@contextmanager
def usable(name: str) -> Iterator[None]:
    """What is done on a device inside of this ends in one line where it is not there.

    name: how the user has named it, as device=cuda. Raises InputError.
    """
    try:
        yield
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:  # as torch tells it
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{name} cannot be used: {reason}") from error


def device_of(accelerator: str) -> Device:
    """What Lightning takes for an accelerator's name."""
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("gpu", "mps", "auto") and torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def choose(device: Device) -> tuple[str, str]:
    """A precision, and why."""
    if device == "mps":
        return EXACT, "an Apple GPU"
    if device == "cuda":
        name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
        if has_bf16(device):
            return MIXED, f"{name} has bfloat16 units"
        # From Volta on there are units for fp16.
        return ("16-mixed" if capability >= (7, 0) else EXACT), f"{name} has no bfloat16 units"
    known = has_bf16(device)
    if known is None:
        measured = ratio(device)
        says = f"a step in bfloat16 takes {measured:.2f} times as long as in float32 here"
        return (MIXED if measured <= PAYS else EXACT), says
    if known:
        return MIXED, "the processor has bfloat16 units"
    return EXACT, "the processor has no bfloat16 units"


def has_bf16(device: Device) -> bool | None:
    """Whether the device multiplies bfloat16; None where only a measurement can tell."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "mps":
        return None
    flags = processor_flags()
    if platform.machine() not in _X86 or not flags:
        return None
    if flags & _UNITS:
        return True if torch_sees_bf16() else None
    return None if "avx512bw" in flags else False  # below, torch has no kernel but a slow one


def processor_flags() -> set[str]:
    """Features of the first processor as Linux names them; empty where it does not tell."""
    return set(cpuinfo("flags", "Features").split())


def cpuinfo(*names: str) -> str:
    """What Linux says of the first processor by one of these names; "" where it does not tell."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""


def torch_sees_bf16() -> bool:
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def ratio(device: Device) -> float:
    """Time of a training step of two convolutions in bfloat16 over the time in float32.

    The two alternate for about a second, and medians are compared: other programs disturb both.
    """
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.SiLU(), nn.Conv2d(64, 64, 3, padding=1))
    net, images = net.to(device), torch.rand(8, 3, 32, 32, device=device)
    times: dict[bool, list[float]] = {False: [], True: []}
    _step(net, images, False), _step(net, images, True)
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end or not times[True]:
        for low in times:
            times[low].append(_step(net, images, low))
    return statistics.median(times[True]) / statistics.median(times[False])


def _step(net: nn.Module, images: torch.Tensor, low: bool) -> float:
    started = time.perf_counter()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=low):
        loss = net(images).square().mean()
    loss.backward()
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
