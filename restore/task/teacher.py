"""A restorer that another one learns from, seen through turned and mirrored views."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from restore import zoo
from restore.build import restored
from restore.content import ORIGINS
from restore.ensemble import views
from restore.network.size import check_shape
from restore.stream import SampleStream
from restore.task.adversarial import AdversarialTask
from restore.task.base import Task
from restore.task.key import Key
from restore.types import Batch, InputError, Observation

_OTHERS = [*views()][1:]  # but the image as it lies


class Teacher(Callback):
    """Gives a regression the results of a frozen model as targets: data distillation.

    The mean over turned and mirrored views of an image is nearer to the truth than a single result
    (`restore.ensemble`), and costs as many calls as there are views. A network that learns this
    mean has the gain in one call (Radosavovic et al. 2018). It learns fast: what it lacks is a
    small part of the error, so that gradients are far less noisy than those of clean targets are.

    path: a run folder, checkpoint or bundle, or the name of a released model, read as a stranger's
    file is; often what init.path names. num_views: 1 to 7 of the seven that are not the image as it
    lies, drawn anew for each batch, whose mean is the target; all have the same mean in the long
    run, and each costs one call of the teacher. A teacher that is the student's start would say in
    the eighth what the student says already. Validation compares with the clean images, as always.

    Raises InputError for a model that cannot be read, or whose result is not one call of a network.
    """

    def __init__(self, path: str | None = None, num_views: int = 1, seed: int = 0) -> None:
        if path is None:
            raise InputError(
                "callback.teacher.path is needed: a run folder, a checkpoint, or the name of a "
                "released model, as callback.teacher.path=denoise_any"
            )
        if not 1 <= num_views <= len(_OTHERS):
            raise InputError(
                f"callback.teacher.num_views={num_views} must be in [1, {len(_OTHERS)}]"
            )
        try:
            stored = zoo.read(path)
        except InputError as error:
            raise InputError(f"callback.teacher.path={error}") from error
        self.task = restored(stored.content).requires_grad_(False)
        if not getattr(self.task, "ensembles", False):
            raise InputError(
                f"callback.teacher.path={path} is a {type(self.task).__name__}, whose result is "
                "not one call of its network: give a denoiser, inpainter or colorizer"
            )
        self.path, self.num_views, self.seed = path, num_views, seed
        self.file = stored.path
        self.origin = {key: stored.content.get(key) for key in ("experiment", "config", *ORIGINS)}

    def check(self, task: Task, batch: Batch) -> None:
        """Raises InputError for a task that cannot learn from it, or a batch that it cannot see."""
        if not isinstance(task, AdversarialTask) or task.adversary is not None:
            raise InputError(
                f"callback.teacher replaces the targets of a regression, and this "
                f"{type(task).__name__} is none: take task=denoising, inpainting or colorization "
                "with adversary=null, or leave the teacher out"
            )
        try:
            self.task.check_observation(batch)
            check_shape(self.task.network, self.result(batch, 0), batch["target"].shape)
        except InputError as error:
            raise InputError(f"callback.teacher.path={self.path}: {error}") from error

    def result(self, observation: Observation, number: int) -> Tensor:
        """[B, C, H, W] in [-1, 1], not clipped: the mean over the views of the batch `number`."""
        drawn = SampleStream(self.seed, Key.TEACHER, number).uniform(len(_OTHERS))
        chosen = sorted(range(len(_OTHERS)), key=drawn.__getitem__)[: self.num_views]
        with torch.no_grad(), self.task.ensembled([_OTHERS[one] for one in chosen]):
            made: Tensor = self.task.restore(observation)[:, 0]
        return made

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.task.to(pl_module.device)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int
    ) -> None:
        with trainer.precision_plugin.forward_context():
            batch["target"] = self.result(batch, pl_module.batches).to(batch["target"].dtype)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        self.task.cpu()
