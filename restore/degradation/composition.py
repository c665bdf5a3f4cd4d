"""Degradations made of others."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from restore.degradation.choice import Choice
from restore.degradation.contract import Degradation, Degraded, makes_holes
from restore.stream import Stream, fold
from restore.types import InputError

_MIXTURE, _PART, _STEP, _STAGE = -7, -8, -9, -10  # keep the streams of a seed apart


class _Alternatives:
    """Degradations of which each sample takes one.

    `sigma` is stated only where all of them state it, whichever a batch takes; no operator is.
    """

    def __init__(self, parts: list[Degradation]) -> None:
        _check_parts(parts)
        self.parts = parts
        self._fields: set[str] | None = None

    def input_channels(self, image_channels: int) -> int:
        channels = [part.input_channels(image_channels) for part in self.parts]
        if len(set(channels)) > 1:
            raise InputError(
                f"degradations of different input channels cannot be mixed: {channels}"
            )
        return channels[0]

    @property
    def makes_holes(self) -> bool:
        return all(makes_holes(part) for part in self.parts)

    def take(self, target: Tensor, seeds: Tensor, choice: Tensor) -> Degraded:
        """Sample b by part choice[b] [B]; InputError where only some parts make holes."""
        if self._fields is None:
            self._fields = self._common(target[:1], seeds[:1])
        made: dict[str, Tensor] = {}
        for number, part in enumerate(self.parts):
            chosen = choice == number
            if chosen.any():
                some = cast(dict[str, Tensor], part(target[chosen], seeds[chosen]))
                for key in self._fields:
                    shape = (len(target), *some[key].shape[1:])
                    made.setdefault(key, some[key].new_empty(shape))[chosen] = some[key]
        return cast(Degraded, {**made, "target": target})

    def _common(self, target: Tensor, seeds: Tensor) -> set[str]:
        """The fields that every part makes, learnt from one sample, besides the target."""
        fields = [set(part(target, seeds)) for part in self.parts]
        with_hole = sum("hole" in one for one in fields)
        if 0 < with_hole < len(fields):
            raise InputError(
                f"{with_hole} of {len(fields)} mixed degradations make holes: mix degradations "
                "with holes or without, or give the others an empty hole (Box(size=0))"
            )
        common = set.intersection(*fields) - {"target", "operator"}
        # A level without its operator would say that the image itself was measured.
        return common - {"sigma"} if any("operator" in one for one in fields) else common


class Mixture(_Alternatives):
    """Each sample takes one of the degradations, drawn by weight (equal where none are given).

    `sigma` is stated only where all of them state it, and none an operator.
    """

    def __init__(self, degradations: list[Degradation], weights: list[float] | None = None) -> None:
        self.choice = Choice(len(degradations), weights)
        super().__init__(degradations)

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        return self.take(target, fold(seeds, _PART), self.choice(fold(seeds, _MIXTURE)))


class Chain:
    """Degradations one after another, each on what the one before it left.

    States no `sigma`: what follows a noise changes it. Holes may come from the last step alone.
    """

    def __init__(self, steps: list[Degradation]) -> None:
        if not steps:
            raise InputError("a chain of degradations takes one step or more, got none")
        _check_parts(steps)
        self.steps = steps

    def input_channels(self, image_channels: int) -> int:
        for step in self.steps:
            image_channels = step.input_channels(image_channels)
        return image_channels

    @property
    def makes_holes(self) -> bool:
        return makes_holes(self.steps[-1])

    def __call__(self, target: Tensor, seeds: Tensor) -> Degraded:
        made = Degraded(target=target, input=target)
        for number, step in enumerate(self.steps):
            if "hole" in made:
                raise InputError("a degradation with holes must be the last step of a chain")
            degraded = step(made["input"], fold(seeds, _STEP, number))
            made["input"] = degraded["input"]
            if "hole" in degraded:
                made["hole"] = degraded["hole"]
        return made


class Curriculum(_Alternatives):
    """From `start` to `stop` over `updates` of training.

    A sample takes `stop` with probability `progress` and else `start`; evaluation is at 1, always
    `stop`. `sigma` is stated only where both state it. A curriculum is no part of another
    degradation.
    """

    def __init__(self, start: Degradation, stop: Degradation, updates: int) -> None:
        if updates < 1:
            raise InputError(f"curriculum updates must be at least 1, got {updates}")
        super().__init__([start, stop])
        self.updates = updates

    def __call__(self, target: Tensor, seeds: Tensor, progress: float = 1.0) -> Degraded:
        stop = Stream(fold(seeds, _STAGE)).uniform() < progress
        return self.take(target, seeds, stop.to(torch.int64))

    def at(self, updates: int) -> Callable[[Tensor, Tensor], Degraded]:
        """The degradation after so many updates of training."""
        return partial(self, progress=min(1.0, updates / self.updates))


def _check_parts(parts: list[Any]) -> None:
    if any(isinstance(part, Curriculum) for part in parts):
        raise InputError(
            "a curriculum cannot be part of another degradation: make it the outer one"
        )
