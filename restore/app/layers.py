"""Questions from inside of a network at work, because no thread can be ended from outside."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from restore.api import Model


@contextmanager
def ask_before_layers(models: list[Model], ask: Callable[[Model], None]) -> Iterator[None]:
    """While it lasts, each layer of the models calls `ask` before its work; it may raise."""
    with ExitStack() as hooks:
        for model in models:
            for layer in model.task.modules():
                hooks.callback(layer.register_forward_pre_hook(_asking(ask, model)).remove)
        yield


def _asking(ask: Callable[[Model], None], model: Model) -> Callable[..., None]:
    def hook(layer: Any, given: Any) -> None:
        ask(model)

    return hook
