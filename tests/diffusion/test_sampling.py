from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from observing import observed
from omegaconf import OmegaConf
from torch import Tensor

from restore.diffusion.parameterization import Prediction
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling, ddim, ddpm, heun
from restore.diffusion.schedule import EDM, Cosine, LinearBeta, Rectified, Schedule, ZeroTerminalSNR
from restore.diffusion.walk import Step
from restore.stream import Stream
from restore.types import InputError

SCHEDULES = [LinearBeta(), Cosine(), ZeroTerminalSNR(LinearBeta()), EDM(), Rectified()]
CONF = Path(__file__).parents[2] / "conf"
CALLS = {
    "ddpm": 1000,
    "ddim": 50,
    "dpm_solver": 20,
    "heun": 35,
    "renoise": 50,
    "repaint_fast": 210,
    "repaint_mid": 910,
    "repaint_paper": 2410,
}


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "sampler").glob("*.yaml")))
def test_num_calls_is_what_is_counted(name: str) -> None:
    check_num_calls(instantiate(OmegaConf.load(CONF / "sampler" / f"{name}.yaml")), LinearBeta())
    assert CALLS[name] == instantiate(OmegaConf.load(CONF / "sampler" / f"{name}.yaml")).num_calls(
        LinearBeta()
    )


@pytest.mark.parametrize("num_steps", [1, 2, 5, 10, 18])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_num_calls_of_heun_depend_on_the_schedule(schedule: Schedule, num_steps: int) -> None:
    check_num_calls(Sampling(heun, num_steps), schedule)


def check_num_calls(sampler: Sampling | RePaint, schedule: Schedule) -> None:
    times, steps = list[float](), list[Step]()

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        times.append(float(t))
        return Prediction(x)

    pixel = torch.zeros(1, 1, 1, 1)
    known = observed(pixel, pixel + 1)
    stream = Stream(torch.tensor([0]))
    result = sampler(denoise, pixel, schedule, stream, steps.append, observation=known)
    assert len(times) == sampler.num_calls(schedule) and result.shape == pixel.shape
    wanted = sampler.calls(schedule).float().sort().values
    torch.testing.assert_close(torch.tensor(times).sort().values, wanted)
    assert [s.number for s in steps] == list(range(1, steps[-1].total + 1))


@pytest.mark.parametrize("path", sorted((CONF / "schedule").glob("*.yaml")), ids=lambda p: p.stem)
def test_schedule_leaves_are_the_defaults(path: Path) -> None:
    assert path.read_text().startswith("# @package task.schedule\n")
    schedule = instantiate(OmegaConf.load(path))
    default = {
        "linear": LinearBeta(),
        "cosine": Cosine(),
        "zero_terminal_snr": ZeroTerminalSNR(LinearBeta()),
        "edm": EDM(),
        "rectified": Rectified(),
    }
    t = torch.linspace(0, 1, 99)
    torch.testing.assert_close(schedule(t), default[path.stem](t), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Sampling(ddim, 0), "num_steps.*got 0"),
        (lambda: Sampling(ddim, 10**8), "num_steps.*at most 100000, got 100000000"),
        (lambda: RePaint(10**8, 1, 1), "num_steps|predictions.*at most 100000, got 100000000"),
        (lambda: RePaint(50, 10, 10**8), "predictions.*at most 100000"),
        (
            lambda: Sampling(ddim, 1001).num_calls(LinearBeta()),
            "num_steps=1001.*1000 levels.*LinearBeta",
        ),
        (lambda: RePaint(1001, 1, 1).num_calls(Cosine()), "num_steps=1001.*1000 levels.*Cosine"),
        (lambda: Cosine(num_steps=20).times(21), "num_steps=21.*20 levels"),
        (lambda: Sampling(partial(ddim, eta=1.5), 10), r"eta.*1\.5"),
        (lambda: Sampling(partial(ddim, eta=-0.1), 10), r"eta.*-0\.1"),
    ],
)
def test_bad_arguments_are_named_at_construction(make: Callable[[], object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        make()


def test_learned_variance_of_a_plain_denoiser_is_refused() -> None:
    sampling = Sampling(partial(ddpm, variance="learned"), 3)
    with pytest.raises(InputError, match="learned_variance=true"):
        sampling(
            lambda x, t: Prediction(x),
            torch.zeros(1, 1, 2, 2),
            LinearBeta(),
            Stream(torch.tensor([0])),
        )


@pytest.mark.parametrize("num_steps", [8, 10, 12, 14, 16, 18])
def test_heun_corrects_steps_whose_noise_falls_to_no_less_than_a_quarter(num_steps: int) -> None:
    levels = [80 ** (1 / 7) + k / (num_steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))
              for k in range(num_steps)]  # fmt: skip
    ratios = [(a / b) ** 7 for a, b in pairwise(levels)]  # Karras et al. 2022, eq. 5
    calls = num_steps + sum(ratio <= 4 for ratio in ratios)
    assert Sampling(heun, num_steps).num_calls(EDM()) == calls


def test_heun_corrects_no_step_that_spans_too_much() -> None:
    """From alpha = 0, or 4.9e-5 as cosine's end, the ratio of sigma / alpha is above 4."""
    seen: list[float] = []

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        seen.append(float(t))
        return Prediction(x)

    for schedule in (ZeroTerminalSNR(LinearBeta()), Cosine()):
        Sampling(heun, 10)(denoise, torch.zeros(1, 1, 1, 1), schedule, Stream(torch.tensor([0])))
        assert seen[:4] == pytest.approx([1, 0.9, 0.8, 0.8])
        seen.clear()
