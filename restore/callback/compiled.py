"""Networks whose training step is compiled."""

import os
import shutil
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from restore.types import InputError


class Compiled(Callback):
    """Compiles the task's network, and its adversary's, by torch.compile: training steps alone.

    Kernels are fused, which pays where memory is the limit: on a GPU. The first step waits for
    the compiler, so short trainings lose. Validation, samples and tests meet sizes of all kinds
    and run as always; checkpoints hold the same names as without. Raises InputError for a backend
    that torch does not have, and where the default one finds no C compiler, which it needs.
    """

    def __init__(self, backend: str = "inductor") -> None:
        known = torch._dynamo.list_backends(exclude_tags=())
        if backend not in known:
            raise InputError(f"callback.compiled.backend={backend}: choose from {', '.join(known)}")
        compilers = (os.environ.get("CC", ""), "cc", "gcc", "clang", "cl")
        if backend == "inductor" and not any(map(shutil.which, filter(None, compilers))):
            raise InputError(
                "callback=compiled needs a C compiler and finds none: install one (Debian: gcc), "
                "or leave callback=default"
            )
        self.backend = backend

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        adversary = getattr(pl_module, "adversary", None)
        networks: list[nn.Module] = [pl_module.network]
        networks += [] if adversary is None else [adversary.network]
        for network in networks:
            network.compile(backend=self.backend)
        torch.compiler.set_stance("force_eager")

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        torch.compiler.set_stance("default")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        torch.compiler.set_stance("force_eager")

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        torch.compiler.set_stance("default")
