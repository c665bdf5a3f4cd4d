"""What every task that restores images shares."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from restore.ensemble import SelfEnsemble
from restore.task import validation
from restore.task.base import Task, replace_attribute
from restore.tiling import Tiled
from restore.types import Batch, InputError, Observation


class RestorationTask(Task):
    """A learning rule that ends in `restore`.

    Validation measures what it restores (`val/psnr` and the rest of `restore.task.validation`): all
    of it where that costs one call of the network, else the first `val_images` samples, as many as
    `validation.CALLS` calls restore.
    """

    needs_sigma = False  # whether the network looks at the noise level
    ensembles = False  # whether a result is one call of `network`, so that `ensembled` serves it
    val_images = 0  # see `restore.task.diffusion.Diffusion`

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        places = validation.places(batch["index"], self.num_calls, self.val_images)
        if places is None or (self.num_calls > 1 and not self._serves(batch)):
            return
        for name, (mean, count) in validation.measure(self.restore, batch, places).items():
            weight = count * self.weight(batch) // len(batch["index"])
            self.log(f"val/{name}", mean.float(), batch_size=weight, sync_dist=True)

    def log_terms(
        self, stage: str, terms: dict[str, Tensor], batch_size: int = 1, total: bool = True
    ) -> None:
        """Refuses terms with the name of what validation measures, whose means they would spoil."""
        taken = terms.keys() & validation.NAMES
        if taken:
            raise InputError(
                f"task.loss has a term called {min(taken)}, as a metric of the validation is: give "
                "it another name"
            )
        super().log_terms(stage, terms, batch_size, total)

    def _serves(self, observation: Observation) -> bool:
        try:
            self.check_observation(observation)
        except InputError:  # a prior that nothing leads learns all the same
            return False
        return True

    @abstractmethod
    def restore(
        self,
        observation: Observation,
        num_samples: int = 1,
        *,
        seed: int | None = None,
        start: float | None = None,
        callback: Callable[[Any], None] | None = None,
    ) -> Tensor:
        """Restored images [B, num_samples, C, H, W] in [-1, 1]; not clipped.

        A deterministic task returns num_samples equal images. seed: of the samples that are drawn;
        None is the task's own. start: strength in (0, 1] of the noise that is laid over the input
        for a sampler to start from; None starts from pure noise. callback: sees every step of a
        sampler. A task without a sampler uses none of the three.
        """

    @property
    def num_calls(self) -> int:
        """Network evaluations (NFE) that one restored image costs."""
        return 1

    def within(self, side: int, needed: Tensor | None = None) -> AbstractContextManager[None]:
        """While it lasts, about side x side px at most are seen at once; see `Tiled`."""
        views = self.network if isinstance(self.network, SelfEnsemble) else None
        owner = self if views is None else views
        return replace_attribute(owner, "network", Tiled(owner.network, side, needed=needed))

    def ensembled(
        self, seen: Sequence[tuple[int, bool]] | None = None
    ) -> AbstractContextManager[None]:
        """While it lasts, a result is the mean over views of the input; see `SelfEnsemble`.

        Raises InputError for a task whose result is not one call of its network.
        """
        if not self.ensembles:
            raise InputError(
                f"self_ensemble=true: a result of {type(self).__name__} is not one call of its "
                "network, leave it out"
            )
        return replace_attribute(self, "network", SelfEnsemble(self.network, seen))

    def calls_from(self, start: float | None) -> int:
        """`num_calls` where samples begin at `start`; InputError without a sampler to start."""
        if start is not None:
            raise InputError(f"start={start}: {type(self).__name__} has no sampler, leave it out")
        return self.num_calls

    def check_observation(self, observation: Observation) -> None:
        """Raises InputError where `restore` cannot serve such observations."""
        channels, images = observation["input"].shape[1], self.facts.image_channels
        if "hole" in observation and channels != images:
            raise InputError(
                f"a hole is filled between known pixels, and of {images} channels the degradation "
                f"leaves {channels} there: take the hole out, or what takes channels away"
            )
        if channels != self.facts.input_channels:
            raise InputError(
                f"this model restores inputs of {self.facts.input_channels} channels and the "
                f"degradation leaves {channels}: choose a benchmark of the checkpoint's task"
            )

    def check(self, batch: Batch | None = None) -> None:
        super().check(batch)
        if batch is not None:
            self.check_observation(batch)
