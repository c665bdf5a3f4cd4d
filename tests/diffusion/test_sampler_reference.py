"""Step by step against the schedulers of diffusers, with one network and the same noise."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from restore.diffusion.parameterization import Predictor
from restore.diffusion.sampler import ddim, ddpm, dpm_solver_pp_2m, heun
from restore.diffusion.schedule import EDM, LinearBeta, Schedule, ZeroTerminalSNR
from restore.diffusion.walk import Step
from restore.stream import Stream

diffusers = pytest.importorskip("diffusers")

SHAPE = (2, 3, 4, 4)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def network(y: Tensor, t: Tensor) -> Tensor:
    """Near the eps of data N(0, 1/4), so that x stays of unit size, and not linear."""
    alpha, sigma = (v.view(-1, 1, 1, 1) for v in LinearBeta()(t))
    return sigma / (sigma**2 + alpha**2 / 4) * y + 0.2 * sigma * torch.sin(5 * y)


def noise(seed: int) -> Tensor:
    return Stream(torch.arange(SHAPE[0]) + seed).normal(*SHAPE[1:])


def draws() -> Stream:
    return Stream(torch.arange(SHAPE[0]) + 50)


def ours(
    method: Callable[..., Tensor],
    num_steps: int,
    kind: Any = "eps",
    schedule: Schedule | None = None,
) -> tuple[list[Tensor], Tensor]:
    """The x at every level, and the result."""
    steps: list[Step] = []
    schedule = schedule or LinearBeta()
    predictor = Predictor(network, kind, schedule, clip=False)
    times = schedule.times(num_steps)
    result = method(predictor, noise(0), schedule, times, draws(), steps.append)
    return [s.x for s in steps], result


def theirs(scheduler: Any, num_steps: int, **options: Any) -> list[Tensor]:
    scheduler.set_timesteps(num_steps)
    x, seen = noise(0), []
    for timestep in scheduler.timesteps:
        seen.append(x)
        t = (timestep.float() + 1) / 1000  # their level 0 is the first noisy one
        output = network(scheduler.scale_model_input(x, timestep), t.expand(len(x)))
        x = scheduler.step(output, timestep, x, **options).prev_sample
    return [*seen, x]


def compare(seen: list[Tensor], result: Tensor, reference: list[Tensor]) -> None:
    assert len(seen) == len(reference) - 1
    for number, (a, b) in enumerate(zip([*seen, result], reference, strict=True)):
        torch.testing.assert_close(a, b, **CLOSE, msg=lambda m, n=number: f"step {n}: {m}")


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm(variance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = draws()
    module = diffusers.schedulers.scheduling_ddpm
    monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: stream.normal(*shape[1:]))
    scheduler = diffusers.DDPMScheduler(
        clip_sample=False, timestep_spacing="trailing", variance_type=f"fixed_{variance}"
    )
    seen, result = ours(partial(ddpm, variance=variance), 50)
    reference = theirs(scheduler, 50)
    if variance == "large":  # they add noise even in the last of 50 steps
        result, reference = seen.pop(), reference[:-1]
    compare(seen, result, reference)


def test_ddim() -> None:
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    compare(*ours(ddim, 50), theirs(scheduler, 50))


def test_ddim_with_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = draws()
    module = diffusers.schedulers.scheduling_ddim
    monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: stream.normal(*shape[1:]))
    for eta in (1.0, 0.5):
        stream = draws()
        scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
        compare(*ours(partial(ddim, eta=eta), 50), theirs(scheduler, 50, eta=eta))


def test_ddim_from_zero_terminal_snr() -> None:
    scheduler = diffusers.DDIMScheduler(
        clip_sample=False,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
    )
    schedule = ZeroTerminalSNR(LinearBeta())
    compare(*ours(ddim, 20, "v", schedule), theirs(scheduler, 20))


@pytest.mark.parametrize("num_steps", [10, 20])
def test_dpm_solver(num_steps: int) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        beta_end=0.02,
        timestep_spacing="trailing",
        algorithm_type="dpmsolver++",
        solver_type="midpoint",
        solver_order=2,
        final_sigmas_type="zero",
    )
    compare(*ours(dpm_solver_pp_2m, num_steps), theirs(scheduler, num_steps))


def test_heun() -> None:
    """They work in x / alpha, one network call per `step`, with repeated time steps."""
    scheduler = diffusers.HeunDiscreteScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", timestep_spacing="trailing"
    )
    seen, result = ours(heun, 20)
    scheduler.set_timesteps(20)
    alpha = LinearBeta()(torch.ones(()))[0]
    x = noise(0) / alpha
    reference = [noise(0)]
    for index, timestep in enumerate(scheduler.timesteps):
        t = (timestep.float() + 1) / 1000
        output = network(scheduler.scale_model_input(x, timestep), t.expand(len(x)))
        x = scheduler.step(output, timestep, x).prev_sample
        if index % 2:
            s = (scheduler.timesteps[index + 1].double() + 1) / 1000
            reference.append((LinearBeta()(s)[0] * x).float())
    compare(seen, result, [*reference, x])


def test_edm_denoiser_and_euler() -> None:
    """Their preconditioning with sigma_data = 1 is v with the sign of the output turned."""
    scheduler = diffusers.EDMEulerScheduler(
        sigma_min=0.002, sigma_max=80.0, sigma_data=1.0, rho=7.0
    )
    steps: list[Step] = []
    schedule = EDM()
    predictor = Predictor(network, "v", schedule, clip=False)
    start = 80 * noise(0)
    result = ddim(predictor, start, schedule, schedule.times(18), draws(), steps.append)
    scheduler.set_timesteps(18)
    x = start
    for step, timestep in zip(steps, scheduler.timesteps, strict=True):
        torch.testing.assert_close(step.x, x, rtol=1e-5, atol=1e-4)
        output = -network(scheduler.scale_model_input(x, timestep), torch.full((2,), step.t))
        x = scheduler.step(output, timestep, x).prev_sample
    torch.testing.assert_close(result, x, rtol=1e-5, atol=1e-4)
