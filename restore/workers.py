"""data.num_workers=auto: as many workers as keep this machine's device from waiting for photos."""

import os
from typing import Any

import torch

from restore import launch
from restore.precision import Config, Device, device_of

AUTO = "auto"
MOST = 8  # of a process: each keeps decoded photos in its own share of data.cache_gb


def settle(config: Config, notes: list[str]) -> tuple[Config, list[str]]:
    """The config with a number in the place of each `auto`, and the notes with a line of it."""
    benchmarks = config.get("benchmark") or {}
    asked = [config, *benchmarks.values()]
    if not any(_is_auto(node) for node in asked):
        return config, notes
    trainer = config["trainer"]
    device, cores = device_of(str(trainer.get("accelerator", "auto"))), launch.cores()
    number = choose(device, cores // processes(device, trainer.get("devices", 1)))
    settled = {name: _with(node, number) for name, node in benchmarks.items()}
    own = _with(config, number)
    if number:
        kind = "a CPU" if device == "cpu" else "a GPU"
        notes = [*notes, f"workers: {number} a process ({kind}, {cores} cores)"]
    return {**own, **({"benchmark": settled} if settled else {})}, notes


def choose(device: Device, cores: int) -> int:
    """Workers of a process that has so many cores.

    A GPU computes while its process waits, so all cores but one may decode and crop. A CPU of few
    cores is better spent on the network.
    """
    if device == "cpu":
        return 2 if cores >= 4 else 0
    return max(1, min(MOST, cores - 1))


def processes(device: Device, devices: Any) -> int:
    """How many processes of the run share this machine; devices: as trainer.devices names them."""
    launched = os.environ.get("LOCAL_WORLD_SIZE")
    if launched:
        return max(1, int(launched))
    named = launch.wanted_devices({"devices": devices})
    if named is None and device == "cuda" and str(devices) in ("-1", "auto"):
        named = torch.cuda.device_count()
    return max(1, named or 1)


def _is_auto(node: Config) -> bool:
    return (node.get("data") or {}).get("num_workers") == AUTO


def _with(node: Config, number: int) -> Config:
    return {**node, "data": {**node["data"], "num_workers": number}} if _is_auto(node) else node
