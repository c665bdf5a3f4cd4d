"""Distances between the distributions of restored images and of targets, in a feature space."""

import contextlib
import hashlib
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from restore.folder import cache, write_whole
from restore.metric.base import check_prediction, check_target, eight_bit
from restore.metric.extractor import load_extractor
from restore.types import InputError

COMPARABLE = 2048  # images; below, FID depends more on their number than on their quality
_AT_ONCE = 64  # images that go through a feature network together, whatever the batch and samples
_ZERO = torch.zeros((), dtype=torch.int64)


class Statistics(Protocol):
    """What is kept of one set of images."""

    @property
    def count(self) -> int: ...

    def add(self, features: Tensor, index: Tensor) -> None:
        """Takes in float64 features [B, D] of the images `index` [B]."""

    def merge(self, state: dict[str, Tensor]) -> None:
        """Takes in another set's `state()`."""

    def state(self) -> dict[str, Tensor]: ...


class DistributionMetric(ABC):
    """One number for a set of restored images and a set of targets; lower is better.

    A plain object, so that the feature network is part of no checkpoint. `update` on every batch,
    `merge` the `state()` of other processes, then `compute`. Images count as 8-bit values.
    """

    higher_is_better = False

    def __init__(self, kind: str, extractor: str | nn.Module) -> None:
        self.source = extractor  # metrics of one source share its features
        self.extractor, self.features = load_extractor(extractor)
        label = extractor if isinstance(extractor, str) else type(extractor).__name__.lower()
        self.name = kind if label == "inception" else f"{kind}_{label}"
        self._cache: Path | None = None
        self._cached: dict[str, Tensor] | None = None
        self.reset()

    @property
    @abstractmethod
    def definition(self) -> str:
        """The protocol with its version."""

    @property
    def num_images(self) -> int:
        """The number of images in the smaller set."""
        return min(self.restored.count, self._target().count)

    @property
    def comparable(self) -> bool:
        """Whether there are enough images to compare the number with that of another set size."""
        return self.num_images >= COMPARABLE

    @abstractmethod
    def _empty(self) -> Statistics: ...

    @abstractmethod
    def _distance(self, restored: Statistics, target: Statistics) -> float: ...

    def reset(self) -> None:
        """Forgets all images."""
        self.restored = self._empty()
        self.target = self._empty()
        self._digest = torch.zeros((), dtype=torch.int64)

    def use_cache(self, key: str) -> None:
        """Keeps the targets' statistics across runs under `key`, a digest of what they are.

        In `restore.folder.cache`. With them there, targets are no longer put through
        the feature network, only hashed; `compute` forgets statistics of other images. A folder
        that cannot be written costs time alone, and a damaged file is made anew.
        """
        digest = hashlib.sha256(f"{self.definition} {key}".encode()).hexdigest()[:32]
        self._cache = cache() / "reference" / f"{digest}.safetensors"
        self._cached = _kept(self._cache)

    @property
    def uses_cache(self) -> bool:
        return self._cache is not None

    @property
    def kept(self) -> int | None:
        """The digest of the images whose statistics were kept; None where none were."""
        return None if self._cached is None else int(self._cached["digest"])

    def forget_kept(self) -> None:
        """Puts the targets through the feature network, and keeps their statistics anew."""
        self._cached = None

    @property
    def is_cached(self) -> bool:
        """Whether the targets' statistics are known, so that their features are not needed."""
        return self._cached is not None

    def check(self, target: Tensor) -> None:
        """Raises InputError where the feature network does not take images like [B, C, H, W]."""
        extract(self.extractor, target)

    def update(self, restored: Tensor, target: Tensor, index: Tensor) -> None:
        """`update_all` of this metric alone."""
        update_all([self], restored, target, index)

    def add(self, features: dict[str, Tensor], index: dict[str, Tensor], digest: Tensor) -> None:
        """Takes in features of "restored" and "target", and a digest of the target images."""
        self._digest += digest
        self.restored.add(features["restored"], index["restored"])
        if self._cached is None:
            self.target.add(features["target"], index["target"])

    def state(self) -> dict[str, Tensor]:
        """All that was taken in, as tensors, for `merge` in another process."""
        parts = {"restored": self.restored.state(), "target": self.target.state()}
        named = {f"{part}.{key}": value for part, s in parts.items() for key, value in s.items()}
        return {**named, "digest": self._digest.clone()}

    def merge(self, state: dict[str, Tensor]) -> None:
        """Takes in the `state()` of the same metric on other images."""
        self.restored.merge(_part(state, "restored"))
        self.target.merge(_part(state, "target"))
        self._digest += state["digest"]

    def compute(self) -> float:
        """The distance; NaN where the statistics kept under the key are of other targets.

        Raises InputError for less than 2 images on either side.
        """
        target = self._target()
        if self.num_images < 2:
            raise InputError(f"metric {self.name} needs 2 images or more, got {self.num_images}")
        if self._cached is not None and self._cached["digest"] != self._digest:
            assert self._cache is not None
            with contextlib.suppress(OSError):
                self._cache.unlink(missing_ok=True)
            return math.nan
        if self._cache is not None and self._cached is None:
            _keep(self._cache, {**target.state(), "digest": self._digest})
        return self._distance(self.restored, target)

    def _target(self) -> Statistics:
        if self._cached is None:
            return self.target
        cached = self._empty()
        cached.merge({key: value for key, value in self._cached.items() if key != "digest"})
        return cached


def update_all(
    metrics: Sequence[DistributionMetric], restored: Tensor, target: Tensor, index: Tensor
) -> None:
    """Takes images into all metrics; those of one feature network share its features.

    restored [B, C, H, W] or samples [B, N, C, H, W], target [B, C, H, W], in [0, 1]; index [B]
    int64 tells images apart, and pairs the two sets. Raises InputError on a wrong dtype, shape or
    range, and on NaN or infinity.
    """
    if not metrics:
        return
    check_prediction(restored, 5 if restored.ndim == 5 else 4)
    check_target(target)
    if not len(restored) == len(target) == len(index):
        raise InputError(
            f"{len(restored)} restored, {len(target)} target images and {len(index)} indices do "
            "not fit: a distribution metric takes one of each"
        )
    num_samples = restored.shape[1] if restored.ndim == 5 else 1
    images = {"restored": eight_bit(restored.flatten(0, -4)), "target": eight_bit(target)}
    index = index.cpu()
    indices = {"restored": index.repeat_interleave(num_samples), "target": index}
    digest = _digest(images["target"]) if any(one.uses_cache for one in metrics) else _ZERO
    for source in dict.fromkeys(one.source for one in metrics):
        equal = [one for one in metrics if one.source == source]
        features = {"restored": extract(equal[0].extractor, images["restored"])}
        if not all(one.is_cached for one in equal):
            features["target"] = extract(equal[0].extractor, images["target"])
        for one in equal:
            one.add(features, indices, digest)


@torch.no_grad()
def extract(extractor: nn.Module, images: Tensor) -> Tensor:
    """Float64 features [B, D] on the CPU of images [B, C, H, W] in [0, 1]."""
    extractor = extractor.to(images.device)
    parts = [extractor(some.float()) for some in torch.split(images, _AT_ONCE)]
    features: Tensor = torch.cat(parts).double().cpu()
    return features


def _part(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _digest(images: Tensor) -> Tensor:
    """A sum of hashes of 8-bit images [B, C, H, W], int64 with wrap-around: order is no matter."""
    total = torch.zeros((), dtype=torch.int64)
    for image in (images * 255).round().to(torch.uint8).cpu():
        content = f"{list(image.shape)}".encode() + image.numpy().tobytes()
        value = int.from_bytes(hashlib.sha256(content).digest()[:8], "little", signed=True)
        total += torch.tensor(value)
    return total


def _kept(path: Path) -> dict[str, Tensor] | None:
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        return None


def _keep(path: Path, state: dict[str, Tensor]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save(state))
    except OSError as error:
        warnings.warn(f"{path} was not written: {error.strerror}", stacklevel=2)
