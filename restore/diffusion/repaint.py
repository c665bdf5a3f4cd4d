"""RePaint: inpainting with an unconditional prior (Lugmayr et al. 2022).

Algorithm 1, with its line 5 corrected: the known part at level s has deviation sigma_s, which the
paper prints as (1 - alpha_bar_t). And the result is composited, which the paper leaves out.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from restore.diffusion.parameterization import Denoise
from restore.diffusion.sampler import check_calls
from restore.diffusion.schedule import Schedule
from restore.diffusion.walk import Callback, Step, Variance, ancestor, batch_time, times_from
from restore.stream import Stream
from restore.types import InputError, Observation


def jump_levels(num_steps: int, jump_length: int, jump_count: int) -> list[int]:
    """The levels visited, from num_steps down to 0; level k is times[num_steps - k].

    From each of the levels 1, 1 + jump_length, ... <= num_steps - jump_length, jump_count - 1
    jumps lead up by jump_length, at once: the j small steps of the paper have the same law.
    """
    jumps = dict.fromkeys(range(1, num_steps - jump_length + 1, jump_length), jump_count - 1)
    levels = [num_steps]
    while levels[-1] > 0:
        level = levels[-1]
        if jumps.get(level, 0) > 0:
            jumps[level] -= 1
            levels.append(level + jump_length)
        else:
            levels.append(level - 1)
    return levels


def repaint(
    denoise: Denoise,
    x: Tensor,
    schedule: Schedule,
    times: Tensor,
    stream: Stream,
    callback: Callback | None = None,
    *,
    image: Tensor,
    hole: Tensor,
    jump_length: int,
    jump_count: int,
    variance: Variance = "small",
) -> Tensor:
    """A sampler as in sampler.py, for image [B, C, H, W] and hole [B, 1, H, W] in {0, 1}.

    Known pixels of the result are bit-equal to the image.
    """
    times = times.cpu().double()
    num_steps = len(times) - 1
    levels = jump_levels(num_steps, jump_length, jump_count)
    total, number, fill = sum(b < a for a, b in pairwise(levels)), 0, hole > 0
    for level, then in pairwise(levels):
        t, s = times[num_steps - level], times[num_steps - then]
        if then > level:
            alpha_ts, sigma2_ts = schedule.transition(s, t)
            x = alpha_ts * x + sigma2_ts.sqrt() * stream.normal(*x.shape[1:])
            continue
        number += 1
        predicted = denoise(x, batch_time(t, x))
        if callback is not None:
            callback(Step(number, total, float(t), x, predicted.x0))
        if then == 0:
            return torch.where(fill, predicted.x0, image)
        # The known and the unknown part are different pixels: one noise serves both.
        z = stream.normal(*x.shape[1:])
        alpha_s, sigma_s = schedule(s)
        mean, deviation = ancestor(x, predicted, schedule, t, s, variance)
        filled = predicted.shifted(mean + deviation * z)
        x = torch.where(fill, filled, alpha_s * image + sigma_s * z)
    raise AssertionError("levels end in 0")


@dataclass(frozen=True)
class RePaint:
    """`repaint` on num_steps uniform times; paper: 250, 10, 10, which is 2410 predictions.

    variance: of the hole's steps; learned needs a network that was trained with it.
    """

    num_steps: int
    jump_length: int
    jump_count: int
    variance: Variance = "small"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large", "learned"):
            raise InputError(f"repaint: variance={self.variance}: use small, large or learned")
        if self.num_steps < 2:
            raise InputError(f"repaint: num_steps must be at least 2, got {self.num_steps}")
        if self.jump_count < 1:
            raise InputError(f"repaint: jump_count must be at least 1, got {self.jump_count}")
        if self.jump_length < 1:
            raise InputError(f"repaint: jump_length must be at least 1, got {self.jump_length}")
        if self.num_steps <= self.jump_length:
            raise InputError(
                f"repaint: num_steps must be at least {self.jump_length + 1}, one more than "
                f"jump_length={self.jump_length}, got {self.num_steps}"
            )
        check_calls("the number of predictions (with jumps)", self._num_calls)

    def num_calls(self, schedule: Schedule) -> int:
        """How often denoise is called; InputError for more steps than the schedule has."""
        return len(self.calls(schedule))

    def calls(self, schedule: Schedule, start: float = 1.0) -> Tensor:
        """The times at which denoise is called, [num_calls], in no order; see `times_from`."""
        times = times_from(schedule.times(self.num_steps), start)
        steps = len(times) - 1
        levels = jump_levels(steps, self.jump_length, self.jump_count)
        return times[[steps - level for level, then in pairwise(levels) if then < level]]

    def check(self, observation: Observation, is_led: bool) -> None:
        if "hole" not in observation and not is_led:
            raise InputError(
                "sampler=repaint fills holes: use a degradation with a mask, or, for what else is "
                "known, guidance=null_space"
            )

    @property
    def _num_calls(self) -> int:
        """One down each level, and jump_length again after every jump."""
        jumps = len(range(1, self.num_steps - self.jump_length + 1, self.jump_length))
        return self.num_steps + jumps * (self.jump_count - 1) * self.jump_length

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        schedule: Schedule,
        stream: Stream,
        callback: Callback | None = None,
        *,
        start: float = 1.0,
        observation: Observation,
    ) -> Tensor:
        """Fills the hole of the observation; see `Sampling` for the rest.

        Without a hole all is drawn, as a guidance leads: with null_space this is DDNM's travel in
        time (Wang et al. 2023, section 3.3).
        """
        return repaint(
            denoise,
            x,
            schedule,
            times_from(schedule.times(self.num_steps), start),
            stream,
            callback,
            image=observation["input"],
            hole=observation.get("hole", torch.ones_like(x[:, :1])),
            jump_length=self.jump_length,
            jump_count=self.jump_count,
            variance=self.variance,
        )
