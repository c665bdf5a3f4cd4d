"""How many images a benchmark restores at a time."""

import os
from pathlib import Path

import torch

from restore.evaluation.benchmark import Benchmark

# Of a pixel of a batch: restoring took 0.2 to 2.4 KiB by the networks of conf/experiment/.
_BYTES_PER_PIXEL = 8 * 1024
_SHARE = 1 / 8  # of the memory: of the machine, because what is free differs from run to run
_LIMIT = Path("/sys/fs/cgroup/memory.max")


def batch_size(benchmark: Benchmark, device: torch.device) -> int:
    """The batch size of the benchmark's own data, less where its images would need much memory.

    It depends on the machine alone and not on what else runs there: the same batches every time
    give the same numbers to the last digit.
    """
    height, width = benchmark.data.first("test")["target"].shape[-2:]
    pixels = benchmark.num_samples * height * width
    fit = int(total(device) * _SHARE / (pixels * _BYTES_PER_PIXEL))
    return max(1, min(benchmark.data.batch_size, fit))


def total(device: torch.device) -> int:
    """Bytes of the device, or that this process may use of the machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    stated = _LIMIT.read_text(encoding="utf-8").strip() if _LIMIT.is_file() else "max"
    return min(physical, int(stated)) if stated.isdigit() else physical
