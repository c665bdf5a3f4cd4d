"""A benchmark: data, frozen degradation, metrics and protocol under one name."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from restore.data.module import DataModule
from restore.metric.base import Metric
from restore.types import Facts, InputError

# What changes how fast a benchmark runs, or where its files lie, but not what it measures.
_INCIDENTAL = {"root", "batch_size", "num_workers"}
SLOW = 500  # network calls an image


class Benchmark:
    """The test split of `data`, restored num_samples times an image and measured by `metric`.

    bucket: names a group for every hole [B, 1, H, W]; metrics are averaged over all images and over
    each group. protocol: hash of the config, from `fingerprint`. slow_limit: photos instead of
    data.limit for methods that cost more than SLOW network calls an image (see `affordable`).
    """

    def __init__(
        self,
        name: str,
        data: DataModule,
        metric: dict[str, Metric],
        protocol: str,
        num_samples: int = 1,
        bucket: Callable[[Tensor], list[str]] | None = None,
        slow_limit: int | None = None,
    ) -> None:
        if num_samples < 1:
            raise InputError(f"benchmark {name}: num_samples={num_samples} must be at least 1")
        self.name = name
        self.data = data
        self.metrics = list(metric.values())
        self.protocol = protocol
        self.num_samples = num_samples
        self.bucket = bucket
        self.slow_limit = slow_limit

    def check(self, facts: Facts | None = None, label: str = "") -> None:
        """Raises InputError if files are missing or a method made for `facts` cannot serve."""
        self.data.check("test")
        mine = self.data.facts
        if facts is None:
            return
        for key in ("image_channels", "input_channels"):
            ours, theirs = getattr(mine, key), getattr(facts, key)
            if ours != theirs:
                raise InputError(
                    f"checkpoint {label} has {key}={theirs}, benchmark {self.name} has "
                    f"{ours}: choose a benchmark of the checkpoint's task"
                )


def affordable(config: dict[str, Any], num_calls: int) -> dict[str, Any]:
    """The benchmark's config with fewer photos where the method needs many network calls."""
    limit = config.get("slow_limit")
    if limit is None or num_calls <= SLOW:
        return config
    return {**config, "data": {**config["data"], "limit": limit}}


def fingerprint(config: Mapping[str, Any]) -> str:
    """Twelve hex digits that identify data, degradation, metrics and protocol of a benchmark."""

    def essential(node: Any) -> Any:
        if isinstance(node, Mapping):
            return {k: essential(v) for k, v in node.items() if k not in _INCIDENTAL}
        return [essential(v) for v in node] if isinstance(node, list) else node

    text = json.dumps(essential(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
