from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling, Step, ddim, ddpm, heun
from restore.diffusion.schedule import EDM, Cosine, Linear, ZeroTerminalSNR
from restore.stream import Stream
from restore.types import InputError

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
    sampler = instantiate(OmegaConf.load(CONF / "sampler" / f"{name}.yaml"))
    calls, steps, schedule = 0, list[Step](), Linear()

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x

    pixel = torch.zeros(1, 1, 1, 1)
    known = {"image": pixel, "hole": pixel + 1} if sampler.inpaints else {}
    result = sampler(denoise, pixel, schedule, Stream(torch.tensor([0])), steps.append, **known)
    assert calls == sampler.num_calls == CALLS[name] and result.shape == pixel.shape
    assert sampler.inpaints == isinstance(sampler, RePaint)
    assert [s.number for s in steps] == list(range(1, steps[-1].total + 1))


@pytest.mark.parametrize("path", sorted((CONF / "schedule").glob("*.yaml")), ids=lambda p: p.stem)
def test_schedule_leaves_are_the_defaults(path: Path) -> None:
    assert path.read_text().startswith("# @package task.schedule\n")
    schedule = instantiate(OmegaConf.load(path))
    default = {
        "linear": Linear(),
        "cosine": Cosine(),
        "zero_terminal_snr": ZeroTerminalSNR(Linear()),
        "edm": EDM(),
    }
    t = torch.linspace(0, 1, 99)
    torch.testing.assert_close(schedule(t), default[path.stem](t), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Sampling(ddim, 0), "num_steps.*0"),
        (lambda: Sampling(partial(ddim, eta=1.5), 10), r"eta.*1\.5"),
        (lambda: Sampling(partial(ddim, eta=-0.1), 10), r"eta.*-0\.1"),
    ],
)
def test_bad_arguments_are_named_at_construction(make: Callable[[], object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        make()


def test_learned_variance_of_a_plain_denoiser_is_refused() -> None:
    sampling = Sampling(partial(ddpm, variance="learned"), 3)
    with pytest.raises(InputError, match="learned"):
        sampling(lambda x, t: x, torch.zeros(1, 1, 2, 2), Linear(), Stream(torch.tensor([0])))


def test_heun_from_zero_terminal_snr_asks_once_less() -> None:
    seen: list[float] = []

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        seen.append(float(t))
        return x

    x, schedule = torch.zeros(1, 1, 1, 1), ZeroTerminalSNR(Linear())
    Sampling(heun, 4)(denoise, x, schedule, Stream(torch.tensor([0])))
    assert seen == pytest.approx([1, 0.75, 0.5, 0.5, 0.25, 0.25])
