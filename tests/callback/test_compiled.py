"""Compiled training steps are the steps themselves; whatever else runs is not compiled."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from restore.callback.compiled import Compiled
from restore.config.compose import composed
from restore.training import run
from restore.types import InputError

SETTINGS = [
    "experiment=denoise_photos",
    "task.network.widths=[8,8,8]",
    "debug=smoke",
    "benchmark=[]",
    "max_updates=3",
    "trainer.val_check_interval=2",
    "trainer.precision=32-true",
    "data.num_workers=0",
]
CALLS = {"networks": 0}


def counting(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
    """A backend of torch.compile that changes nothing and counts its calls."""

    def call(*given: Any) -> Any:
        CALLS["networks"] += 1
        return graph.forward(*given)

    return call


class Phases(Callback):
    """The compiled calls during steps of training and during validations."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.validations: list[int] = []
        self._before = 0

    def on_train_batch_start(self, *_: Any) -> None:
        self._before = CALLS["networks"]

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps.append(CALLS["networks"] - self._before)

    def on_validation_start(self, *_: Any) -> None:
        self._before = CALLS["networks"]

    def on_validation_end(self, *_: Any) -> None:
        self.validations.append(CALLS["networks"] - self._before)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    torch._dynamo.list_backends()
    torch._dynamo.register_backend(counting, name="counting")
    yield
    registry = torch._dynamo.backends.registry
    registry._BACKENDS.pop("counting"), registry._COMPILER_FNS.pop("counting")
    torch.compiler.reset()
    torch.compiler.set_stance("default")


def trained(folder: Path, *more: str) -> tuple[run.Run, Phases]:
    folder.mkdir(exist_ok=True)
    phases = Phases()
    settings = [*SETTINGS, *more]
    made = run.prepare(composed("train", settings), folder, "id", settings, {"phases": phases})
    made.trainer.fit(made.task, datamodule=made.data)
    return made, phases


def test_a_gan_learns_the_same_compiled_or_not(tmp_path: Path) -> None:
    """Both networks are compiled, in every step and at no validation, and keep their names.

    After it nothing is held back.
    """
    plain, none = trained(tmp_path / "plain")
    assert none.steps == [0, 0, 0]
    more = ("callback=compiled", "callback.compiled.backend=counting")
    made, phases = trained(tmp_path / "compiled", *more)
    assert torch._dynamo.eval_frame._stance.stance == "default"
    assert len(phases.steps) == 3 and min(phases.steps) >= 2
    assert phases.validations and not any(phases.validations)
    ours, theirs = made.task.state_dict(), plain.task.state_dict()
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6, msg=name)


def test_a_gradient_penalty_is_that_of_the_network_as_it_is_written(tmp_path: Path) -> None:
    """No compiler has the second derivatives that it needs."""
    penalty = "task.adversary.r1_gamma=1.0"
    plain, _ = trained(tmp_path / "plain", penalty)
    more = ("callback=compiled", "callback.compiled.backend=aot_eager")
    made, _ = trained(tmp_path / "compiled", penalty, *more)
    for name, value in plain.task.state_dict().items():
        torch.testing.assert_close(made.task.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)


def test_a_backend_that_torch_lacks_is_refused() -> None:
    with pytest.raises(InputError, match=r"backend=inductr: choose from .*inductor"):
        Compiled("inductr")


def test_without_a_c_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="needs a C compiler"):
        Compiled()
