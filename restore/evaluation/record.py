"""Where a number came from: commit, versions, device, seconds, memory."""

import importlib.metadata
import json
import math
import platform
import resource
import subprocess
from pathlib import Path
from typing import Any

import torch

from restore import launch
from restore.callback.progress import Throughput
from restore.folder import write_whole
from restore.precision import cpuinfo
from restore.task.base import Task

PACKAGES = ("torch", "lightning", "hydra-core", "torchmetrics", "kornia", "numpy")


def provenance(device: str) -> dict[str, Any]:
    """Commit, dirty flag (experiments/ left out), versions and device of this process."""
    return {
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", ".", ":!experiments")),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": device_name(device),
    }


def training(throughput: Throughput, task: Task, device: str) -> dict[str, Any]:
    """What the training of a task cost on that device."""
    return {
        "updates": task.updates,
        "images": throughput.images,
        "seconds": round(throughput.seconds, 1),
        "images_per_second": round(throughput.images / max(throughput.seconds, 1e-9), 1),
        "waiting": round(throughput.waiting, 3),
        "peak_memory_mib": peak_memory(device) // 2**20,
        "parameters": sum(p.numel() for p in task.parameters()),
    }


def device_name(device: str) -> str:
    """The GPU's name, or the processor's with the number of cores that this process may use."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    # Linux tells no model of an ARM processor.
    name = cpuinfo("model name") or platform.processor() or platform.machine()
    return f"{name}, {launch.cores()} cores"


def peak_memory(device: str) -> int:
    """The most bytes so far: what tensors held on the GPU, or this process in memory."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Writes whole, to the disk; NaN and infinities become null, which JSON can hold."""

    def finite(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: finite(value) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [finite(value) for value in node]
        return None if isinstance(node, float) and not math.isfinite(node) else node

    write_whole(path, json.dumps(finite(record), indent=2) + "\n")


def _git(*arguments: str) -> str:
    """Output of a git command in the source tree; "" outside a checkout, or without git."""
    root = Path(__file__).resolve().parents[2]
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, encoding="utf-8"
        )
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
