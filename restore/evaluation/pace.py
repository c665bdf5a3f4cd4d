"""How fast a method that calls its network many times an image is on its way."""

import time
from typing import Any

from torch import nn

from restore.callback.meter import Meter


class Pace:
    """Counts the calls of `network` and shows the meter at each, so that a bar lives between two
    batches of minutes; as a context, after which the network is as it was."""

    def __init__(self, network: nn.Module, meter: Meter) -> None:
        self.network, self.meter = network, meter
        self.calls, self._seconds, self._started = 0, 0.0, 0.0

    def __enter__(self) -> "Pace":
        self._hook = self.network.register_forward_pre_hook(self._called)
        self.meter.words, self._started = self.words, time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self._hook.remove()
        self._seconds += time.monotonic() - self._started

    def words(self) -> str:
        """`420 calls, 12.3 calls/s` of the time inside the context; "" before the first call."""
        seconds = self._seconds + time.monotonic() - self._started
        if not self.calls or seconds <= 0:
            return ""
        return f"{self.calls} calls, {self.calls / seconds:.3g} calls/s"

    def _called(self, module: nn.Module, given: Any) -> None:
        self.calls += 1
        self.meter.update(self.meter.done)
