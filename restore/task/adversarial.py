"""The learning rule of the three GANs, and of their regression twins."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Unpack

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from restore.loss.content import ContentLoss, check_terms, checked_losses
from restore.network.size import check_shape
from restore.stream import Stream, fold
from restore.task.adversary import Adversary
from restore.task.key import Key
from restore.task.learning import Learning, make_optimizer
from restore.task.restoration import RestorationTask
from restore.types import Batch, Facts, InputError, Observation


class Turn(NamedTuple):
    """What a player did: its loss terms, whether an update was made, whether their sum is one."""

    terms: dict[str, Tensor]
    stepped: bool
    total: bool


class AdversarialTask(RestorationTask):
    """Content losses and, unless `adversary` is None, a discriminator that is trained beside.

    loss: content losses by name; None switches one off. They alone are validated (`val/loss`),
    because the verdict of a moving discriminator ranks no checkpoints. Parameters of the
    discriminator stay out of `network`, EMA and clip norm of the generator; clip_norm and
    accumulate mean the same for both. network: called with what `generator` knows. The other
    arguments are those of Task; adversary None is plain regression.
    """

    ensembles = True

    def __init__(
        self,
        facts: Facts,
        network: Callable[..., nn.Module],
        loss: Mapping[str, ContentLoss | None],
        adversary: Callable[..., Adversary] | None = None,
        seed: int = 0,
        **learning: Unpack[Learning],
    ) -> None:
        super().__init__(facts, **learning)
        self.network = self.generator(network)
        self.content = checked_losses(loss)
        self.seed = seed
        self._validated: tuple[Observation, tuple[Tensor, ...]] | None = None
        self.adversary: Adversary | None = None
        if adversary is not None:
            image_channels, condition_channels = self.judged_channels
            self.adversary = adversary(
                image_channels=image_channels,
                condition_channels=condition_channels,
                image_size=facts.image_size,
            )

    @abstractmethod
    def generator(self, network: Callable[..., nn.Module]) -> nn.Module:
        """The network for `facts`; InputError where the data does not suit the task."""

    @property
    @abstractmethod
    def judged_channels(self) -> tuple[int, int]:
        """Channels of what the discriminator judges, and of its condition."""

    @abstractmethod
    def predict(self, observation: Observation) -> tuple[Tensor, ...]:
        """The outputs of the generator, stage by stage; the last is the result."""

    def stages_of(self, observation: Observation) -> tuple[Tensor, ...]:
        """What `predict` says, and said already of the batch that is validated."""
        if self._validated is not None and self._validated[0] is observation:
            return self._validated[1]
        return self.predict(observation)

    def truth(self, batch: Batch) -> Tensor:
        """The target of every stage, which the discriminator learns to call real."""
        return batch["target"]

    @abstractmethod
    def condition(self, observation: Observation) -> Tensor:
        """What the discriminator sees beside the image, [B, condition_channels, H, W]."""

    def judged(self, stages: tuple[Tensor, ...], observation: Observation) -> Tensor:
        """The images that the discriminator learns to call fake."""
        return stages[-1]

    def result(self, observation: Observation) -> Tensor:
        """Restored images [B, C, H, W] in [-1, 1]; not clipped."""
        return self.judged(self.stages_of(observation), observation)

    def restore(
        self,
        observation: Observation,
        num_samples: int = 1,
        *,
        seed: int | None = None,
        start: float | None = None,
        callback: Callable[[Any], None] | None = None,
    ) -> Tensor:
        """The one result of each image, num_samples times."""
        return self.result(observation).unsqueeze(1).repeat_interleave(num_samples, 1)

    def check(self, batch: Batch | None = None) -> None:
        super().check(batch)
        if self.adversary and self.adversary.order == "alternating" and self.accumulate > 1:
            raise InputError(
                f"task.accumulate={self.accumulate} with task.adversary.order=alternating: the "
                "discriminator would step amid the generator's window; use simultaneous"
            )
        if batch is not None:
            training = self.training
            with torch.no_grad():
                stages = self.eval().predict(batch)
                self.check_stages(stages, batch)
                self.judged(stages, batch)
            self.train(training)

    def check_stages(self, stages: tuple[Tensor, ...], batch: Batch) -> None:
        """Raises InputError for a stage that is not of the shape of what it is compared with."""
        for stage in stages:
            check_shape(self.network, stage, self.truth(batch).shape)

    def configure_optimizers(self) -> Any:
        players = [(make_optimizer(self.optimizer, self.network.parameters()), self.scheduler)]
        if self.adversary is not None:
            players.append((self.adversary.optimizer(), self.adversary.make_scheduler))
        schedulers = [make(optimizer) for optimizer, make in players if make is not None]
        if self.adversary is not None and self.adversary.start > 0:
            # A step without gradients, which moves nothing: the optimizer rightly steps later than
            # its schedule, and torch would warn of that as of a mistake.
            players[1][0].step()
        return [optimizer for optimizer, _ in players], schedulers

    def updates_in(self, batches: int) -> int:
        windows = super().updates_in(batches)
        return windows if self.adversary is None else self.adversary.generator_turns(windows)

    def losses(self, batch: Batch, epoch: int | None) -> dict[str, Tensor]:
        return self.content_terms(self.stages_of(batch), self.truth(batch), batch.get("hole"))

    def content_terms(
        self, stages: tuple[Tensor, ...], target: Tensor, hole: Tensor | None
    ) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        for key, loss in self.content.items():
            said = check_terms(key, loss, loss(stages, target, hole), len(target))
            for name, value in said.items():
                terms[name] = terms.get(name, 0) + value.mean()
        return terms

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Says how well the discriminator tells real from restored images, too; not in the loss.

        Loss, metrics and this are of one call of the generator.
        """
        self._validated = batch, self.predict(batch)
        try:
            super().validation_step(batch, batch_idx)
            if self.adversary is not None:
                fake = self.judged(self.stages_of(batch), batch)
                found = self.adversary.accuracy(fake, self.truth(batch), self.condition(batch))
                self.log_terms("val", found, batch_size=self.weight(batch), total=False)
        finally:
            self._validated = None

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        if self.adversary is None:
            super().training_step(batch, batch_idx)
            return
        window = self.batches // self.accumulate
        generator_turn, discriminator_turn = self.adversary.turns(window, self.updates)
        self.batches += 1
        with torch.set_grad_enabled(generator_turn):
            stages = self.predict(batch)
            fake = self.judged(stages, batch)
        random = self._stream(batch, 0), self._stream(batch, 1)
        turn = window // self.adversary.every
        # One `fake` serves both turns: the generator is that of before either step.
        turns: list[Callable[[], Turn]] = []
        if generator_turn:
            turns.append(lambda: self._generate(batch, stages, fake, random[0]))
        if discriminator_turn:
            turns.append(lambda: self._discriminate(batch, fake, random[1], turn))
        if self.adversary.order == "alternating":
            turns.reverse()
        taken = [take() for take in turns]
        if any(one.stepped for one in taken):
            self.step_schedule()
        for one in taken:  # behind the step, at the number of the update, as every task logs
            self.log_terms("train", one.terms, total=one.total)

    def _generate(
        self, batch: Batch, stages: tuple[Tensor, ...], fake: Tensor, random: tuple[Stream, int]
    ) -> Turn:
        """Takes the generator's turn."""
        assert self.adversary is not None
        real = self.truth(batch)
        terms = self.content_terms(stages, real, batch.get("hole"))
        if self.updates >= self.adversary.start:
            condition = self.condition(batch)
            terms |= self.adversary.generator_terms(fake, real, condition, *random)
        return Turn(terms, stepped=self.descend(terms, self._players()[0]), total=True)

    def _discriminate(
        self, batch: Batch, fake: Tensor, random: tuple[Stream, int], turn: int
    ) -> Turn:
        """Takes the discriminator's turn, whose step is no update."""
        assert self.adversary is not None
        terms = self.adversary.discriminator_terms(
            fake, self.truth(batch), self.condition(batch), batch.get("hole"), *random, turn=turn
        )
        self.descend(terms, self._players()[1], "discriminator_")
        return Turn(terms, stepped=False, total=False)

    def _players(self) -> tuple[LightningOptimizer, LightningOptimizer]:
        players = self.optimizers()
        assert isinstance(players, list)
        return players[0], players[1]

    def _stream(self, batch: Batch, player: int) -> tuple[Stream, int]:
        # Keyed by updates and not batches: accumulated batches are one large batch here, too.
        seeds = fold(batch["index"], self.seed, Key.ADVERSARY, player, self.updates)
        return Stream(seeds), self.updates
