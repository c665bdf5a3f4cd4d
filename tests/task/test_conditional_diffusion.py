"""A conditional diffusion learns from, and restores, whatever the degradation leaves."""

import math
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from test_diffusion_by_hand import Recorder, levels
from torch import Tensor

from restore.degradation.composition import Chain
from restore.degradation.contract import Degraded
from restore.degradation.gray import Gray
from restore.degradation.mask import Box, Half, Mask
from restore.degradation.noise import Gaussian
from restore.diffusion.classifier_free import ClassifierFree
from restore.diffusion.condition import Condition
from restore.diffusion.guidance import Replacement
from restore.diffusion.likelihood import DPS, PiGDM
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling, ddim, ddpm, dpm_solver_pp_2m
from restore.diffusion.schedule import Cosine, LinearBeta, ZeroTerminalSNR
from restore.network.unet import UNet
from restore.task.diffusion import Diffusion
from restore.types import Batch, Facts, InputError

HALF, GRAY, NOISE = Mask(Half("right")), Gray(), Gaussian(25.0)
GRAY_HALF = Chain([GRAY, HALF])
KINDS = {"mask": HALF, "gray": GRAY, "noise": NOISE}
NUM_CLASSES = 3


def facts(degradation: Any, channels: int = 3) -> Facts:
    inputs = degradation.input_channels(channels)
    return Facts(channels, inputs, 8, NUM_CLASSES, getattr(degradation, "makes_holes", False))


def batch(degradation: Any, count: int = 16) -> Batch:
    target = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    index = torch.arange(count)
    degraded: Degraded = degradation(target, index)
    names = [str(i) for i in range(count)]
    return cast(Batch, {**degraded, "index": index, "label": index % NUM_CLASSES, "name": names})


def recorded(degradation: Any, **settings: Any) -> Diffusion:
    settings = {
        "schedule": LinearBeta(),
        "min_snr_gamma": None,
        "sampler": Sampling(ddim, 4),
        "condition": Condition(),
        **settings,
    }
    sgd = partial(torch.optim.SGD, lr=0.1)
    task = Diffusion(facts(degradation), Recorder, optimizer=sgd, **settings)
    task.network.answer = lambda x, t: 0.3 * x[:, :3] - 0.1  # type: ignore[assignment]
    return task


def tiny(degradation: Any, **settings: Any) -> Diffusion:
    """A small UNet that does not start as zero."""
    torch.manual_seed(0)
    network = partial(UNet, width=4, multipliers=(1, 2), num_blocks=1, attention=(), head_size=4)
    settings = {"sampler": Sampling(ddim, 3), "condition": Condition(), **settings}
    sgd = partial(torch.optim.SGD, lr=0.1)
    task = Diffusion(facts(degradation), network, Cosine(), optimizer=sgd, **settings)
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return task.eval()


def split(task: Diffusion) -> tuple[Tensor, Tensor, Tensor]:
    """What the network was shown: x_t over r, input, what is missing."""
    shown: Any = task.network
    image, rest = shown.x[:, :3], shown.x[:, 3:]
    return image, rest[:, :-1], rest[:, -1:]


@pytest.mark.parametrize("name", KINDS)
def test_the_network_sees_noise_input_and_what_is_missing(name: str) -> None:
    data, task = batch(KINDS[name]), recorded(KINDS[name])
    task.losses(data, None)  # validation drops nothing
    _, image, missing = split(task)
    torch.testing.assert_close(image.float(), data["input"])
    hole = data.get("hole", torch.zeros(16, 1, 8, 8))
    assert torch.equal(missing.float(), hole)


def test_what_stands_in_the_hole_is_not_seen() -> None:
    data, task = batch(HALF), recorded(HALF)
    task.losses({**data, "input": data["input"] + data["hole"]}, None)
    assert torch.equal(split(task)[1].float(), data["input"])


@pytest.mark.parametrize("loss", ["hole", "everywhere"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_loss_by_hand(name: str, loss: Any, gamma: float | None) -> None:
    condition = Condition(dropout=0.25, loss=loss)
    task = recorded(KINDS[name], condition=condition, min_snr_gamma=gamma, parameterization="eps")
    data = batch(KINDS[name])
    value = task.losses(data, 0)["denoising"].double()
    noisy, _, missing = split(task)
    alpha, sigma, _ = levels(task)
    eps = (noisy - alpha * data["target"]) / sigma
    error = (task.network.output.double() - eps).square().mean(1, keepdim=True)  # type: ignore[union-attr]
    counted = missing if loss == "hole" and name == "mask" else torch.ones_like(missing)
    per_sample = [(error[i] * counted[i]).sum() / counted[i].sum() for i in range(16)]
    snr = (alpha / sigma).square().flatten()
    weight = torch.ones(16) if gamma is None else snr.clamp(max=gamma) / snr
    expected = (weight * torch.stack(per_sample)).mean()
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_a_perfect_conditional_network_has_no_loss(name: str) -> None:
    """It knows the image where it counts, says nonsense elsewhere, and reads the noise off x_t."""
    schedule, data = Cosine(), batch(KINDS[name])
    task = recorded(KINDS[name], schedule=schedule, parameterization="v")

    def answer(seen: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in schedule(t.double()))
        eps = (seen[:, :3].double() - alpha * data["target"]) / sigma
        missing = seen[:, -1:] if "hole" in data else torch.ones_like(seen[:, -1:])
        nonsense = 100 * (missing == 0)
        return (alpha * eps - sigma * data["target"]).float() + nonsense

    task.network.answer = answer  # type: ignore[assignment]
    assert 0 <= task.losses(data, 0)["denoising"].item() < 1e-7
    if name == "mask":
        everywhere = recorded(HALF, schedule=schedule, condition=Condition(loss="everywhere"))
        everywhere.network.answer = answer  # type: ignore[assignment]
        assert everywhere.losses(data, 0)["denoising"].item() > 1


def test_an_empty_hole_is_judged_everywhere() -> None:
    none = Mask(Box(size=0))
    task, data = recorded(none, condition=Condition(dropout=0.0)), batch(none)
    assert math.isfinite(task.losses(data, 0)["denoising"].item())


def test_a_share_is_shown_nothing_and_hears_no_class() -> None:
    share, count = 0.25, 2000
    data = batch(HALF, count)
    task = recorded(HALF, condition=Condition(dropout=share), class_conditional=True)
    task.losses(data, 0)
    _, image, missing = split(task)
    which = missing.flatten(1).amin(1) == 1
    assert which.double().mean().item() == pytest.approx(
        share, abs=5 * (share * (1 - share) / count) ** 0.5
    )
    assert (image[which] == 0).all()
    torch.testing.assert_close(image[~which].float(), data["input"][~which])
    assert torch.equal(missing[~which].float(), data["hole"][~which])
    label = task.network.label
    assert isinstance(label, Tensor)
    assert (label[which] == NUM_CLASSES).all()
    kept = (label[~which] == data["label"][~which]).double().mean().item()
    assert kept == pytest.approx(0.9, abs=0.05)  # label_dropout takes its own tenth
    task.losses(data, 1)
    again = split(task)[2].flatten(1).amin(1) == 1
    assert not torch.equal(again, which)
    task.losses({**data, "index": data["index"].flip(0)}, 0)  # by index, not by place
    assert torch.equal(split(task)[2].flatten(1).amin(1) == 1, which.flip(0))
    never = recorded(HALF, condition=Condition(dropout=0.0))
    never.losses(data, 0)
    assert torch.equal(split(never)[2].float(), data["hole"])


def test_dropout_leaves_noise_and_times_as_they_were() -> None:
    """So that conditional and unconditional trainings differ in nothing else."""
    seen = []
    for condition in (None, Condition()):
        task = recorded(HALF, condition=condition)
        task.losses(batch(HALF), 3)
        seen.append((split(task)[0], task.network.t))
    assert torch.equal(seen[0][0], seen[1][0]) and torch.equal(seen[0][1], seen[1][1])  # type: ignore[arg-type]


def test_labels_that_the_network_does_not_hear_change_nothing() -> None:
    """The same samples lose their condition, whether the data has labels or not."""
    missing, data = [], batch(HALF)
    for given in (data, {key: value for key, value in data.items() if key != "label"}):
        task = recorded(HALF, condition=Condition(dropout=0.5))
        task.losses(cast(Batch, given), 0)
        missing.append(split(task)[2])
    assert torch.equal(*missing)


CORRELATION, KNOWN = 0.8, 0.7


def exact(schedule: Any) -> Any:
    """E[x0 | x_t, known left pixel] of two standard normal pixels of CORRELATION."""

    def answer(seen: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in schedule(t.double()))
        y, image, missing = seen.double().unbind(1)
        right, left, nothing = y[..., 1:], image[..., :1], missing[..., :1]
        assert (missing[..., 1] == 1).all() and (nothing == 0).all()
        mean, variance = CORRELATION * left, 1 - CORRELATION**2
        gain = (alpha * variance / (alpha**2 * variance + sigma**2))[:, 0]
        said = mean + gain * (right - alpha[:, 0] * mean)
        return torch.cat([torch.full_like(said, 9.0), said], dim=-1)[:, None].float()

    return answer


@pytest.mark.parametrize("method", [ddim, ddpm, dpm_solver_pp_2m])
@pytest.mark.parametrize(
    "schedule", [Cosine(), ZeroTerminalSNR(LinearBeta())], ids=["cosine", "ztsnr"]
)
def test_samples_reach_the_true_conditional_mean(method: Any, schedule: Any) -> None:
    """0.560, where RePaint's 210 calls of the joint prior reach 0.461: no bias by construction."""
    count = 4000
    pixels = Facts(1, 1, None, None, has_hole=True)
    task = Diffusion(
        pixels,
        Recorder,
        schedule,
        Sampling(method, 100),
        condition=Condition(),
        parameterization="x0",
        clip=False,
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )
    task.network.answer = exact(schedule)  # type: ignore[assignment]
    given = torch.tensor([KNOWN, 0.0]).expand(1, 1, 1, 2)
    hole = torch.tensor([0.0, 1.0]).expand(1, 1, 1, 2)
    observation: Any = {"input": given, "hole": hole, "index": torch.tensor([5]), "name": [""]}
    with torch.no_grad():
        drawn = task.restore(observation, count)[0, :, 0, 0]
    assert (drawn[:, 0] == KNOWN).all()
    deviation = (1 - CORRELATION**2) ** 0.5
    mean = drawn[:, 1].mean().item()
    assert mean == pytest.approx(CORRELATION * KNOWN, abs=5 * deviation / count**0.5)
    assert drawn[:, 1].std().item() == pytest.approx(deviation, rel=0.12)


CFG = ClassifierFree(weight=2.0, rescale=0.5)


@pytest.mark.parametrize("guidance", [None, CFG, Replacement()], ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("sampler", [Sampling(ddim, 3), RePaint(4, 2, 2)], ids=["ddim", "repaint"])
def test_known_pixels_of_fills_are_bit_equal(sampler: Any, guidance: Any) -> None:
    data, task = batch(HALF, 3), tiny(HALF, sampler=sampler, guidance=guidance)
    restored = task.restore(data, 2)
    assert restored.shape == (3, 2, 3, 8, 8) and restored.isfinite().all()
    for n in range(2):
        assert torch.equal(restored[:, n, ..., :4], data["target"][..., :4])
        assert (restored[:, n, ..., 4:] != 0).all()


@pytest.mark.parametrize("name", ["gray", "noise"])
@pytest.mark.parametrize("guidance", [None, CFG], ids=["plain", "cfg"])
def test_what_has_no_hole_is_restored_by_any_sampler(name: str, guidance: Any) -> None:
    data, task = batch(KINDS[name], 3), tiny(KINDS[name], guidance=guidance)
    task.check(data)
    restored = task.restore(data, 2)
    assert restored.shape == (3, 2, 3, 8, 8) and restored.isfinite().all()
    other: Batch = {**data, "input": data["input"].flip(-1)}
    assert (task.restore(other, 2) - restored).abs().max() > 1e-3  # it looks


def test_guidance_doubles_the_calls_where_it_acts() -> None:
    plain, guided = tiny(HALF), tiny(HALF, guidance=ClassifierFree(interval=[0.5, 1.0]))
    assert plain.num_calls == 3 and guided.num_calls == 5  # times 1, 2/3 and 1/3


def test_one_checkpoint_is_a_prior_too() -> None:
    task = tiny(HALF)
    with torch.no_grad():
        images = task.generate(torch.tensor([3, 4]), (8, 8))
    assert images.shape == (2, 3, 8, 8) and (images[0] - images[1]).abs().max() > 0.1
    told = recorded(HALF)
    told.generate(torch.tensor([3, 4]), (8, 8))
    _, image, missing = split(told)  # as in training where the condition is dropped
    assert (image == 0).all() and (missing == 1).all()
    with pytest.raises(InputError, match="makes no new images"):
        tiny(HALF, condition=Condition(dropout=0.0)).generate(torch.tensor([3]), (8, 8))


@pytest.mark.parametrize(
    ("learned", "seen", "settings", "named"),
    [
        (HALF, NOISE, {}, "this model fills holes: use a degradation with a mask"),
        (NOISE, HALF, {}, "this model was shown no holes"),
        (NOISE, GRAY, {}, "restores inputs of 3 channels and the degradation leaves 1"),
        (GRAY, NOISE, {}, "restores inputs of 1 channels and the degradation leaves 3"),
        (GRAY_HALF, GRAY_HALF, {}, "and of 3 channels the degradation leaves 1"),
        (HALF, HALF, {"condition": Condition(0.0), "guidance": CFG}, "never trained without"),
        (HALF, HALF, {"condition": None, "guidance": CFG}, "never trained without"),
        (NOISE, NOISE, {"guidance": Replacement()}, "guidance=replacement fills holes"),
    ],
)
def test_what_a_model_cannot_serve_is_said_before_work(
    learned: Any, seen: Any, settings: dict[str, Any], named: str
) -> None:
    task, data = tiny(learned, **settings), batch(seen, 2)
    for use in (task.check, task.check_observation, task.restore):
        with pytest.raises(InputError, match=named):
            use(data)


def test_a_start_needs_an_input_like_the_image() -> None:
    with pytest.raises(InputError, match="3 channels and the degradation leaves 1"):
        tiny(GRAY).restore(batch(GRAY, 2), start=0.5)
    assert tiny(NOISE).restore(batch(NOISE, 2), start=0.7).shape == (2, 1, 3, 8, 8)


def test_the_leaf_of_the_condition_is_the_class() -> None:
    leaf = Path(__file__).parents[2] / "conf" / "condition" / "observation.yaml"
    assert instantiate(OmegaConf.load(leaf)) == Condition()


def test_settings_of_the_condition() -> None:
    for share in (-0.1, 1.0):
        with pytest.raises(InputError, match=f"dropout={share}"):
            Condition(dropout=share)
    with pytest.raises(InputError, match="loss=edge must be hole or everywhere"):
        Condition(loss="edge")  # type: ignore[arg-type]


def test_settings_of_edm() -> None:
    with pytest.raises(
        InputError, match=r"edm has weights of its own, set task\.min_snr_gamma=null"
    ):
        tiny(HALF, parameterization="edm").check()
    tiny(HALF, parameterization="edm", min_snr_gamma=None).check()
    with pytest.raises(InputError, match=r"sigma_data=0\.0 must be positive"):
        tiny(HALF, parameterization="edm", min_snr_gamma=None, sigma_data=0.0).check()


def test_a_label_alone_can_be_guided_by_when_it_is_given() -> None:
    settings = {"condition": None, "class_conditional": True, "sampler": RePaint(4, 2, 2)}
    data = batch(HALF, 3)
    plain = tiny(HALF, given_label=True, **settings).restore(data)
    guided = tiny(HALF, given_label=True, guidance=ClassifierFree(3.0), **settings).restore(data)
    assert (plain - guided).abs().max() > 1e-3
    with pytest.raises(InputError, match="this one has none"):
        tiny(HALF, guidance=ClassifierFree(3.0), **settings).check(data)


@pytest.mark.parametrize("guidance", [DPS(), PiGDM()], ids=lambda one: one.name)
def test_a_given_label_is_no_obstacle_to_gradients(guidance: Any) -> None:
    """As Lightning validates: in inference mode, by weights that learn."""
    task = tiny(HALF, guidance=guidance, class_conditional=True, given_label=True)
    with torch.inference_mode():
        assert task.restore(batch(HALF, 2)).isfinite().all()


def test_learned_variance_is_bounded_over_the_hole() -> None:
    task = tiny(HALF, learned_variance=True, sampler=Sampling(partial(ddpm, variance="learned"), 3))
    data = batch(HALF, 4)
    assert {"denoising", "bound"} == task.losses(data, 0).keys()
    assert task.restore(data).isfinite().all()
    # Known pixels of the target change the noisy input, but no term of the loss reads them.
    bare = tiny(HALF, learned_variance=True, condition=Condition(dropout=0.0))
    for parameter in bare.parameters():
        parameter.data.zero_()
    shifted: Batch = {**data, "target": data["target"] + 0.3 * (1 - data["hole"])}
    for name, value in bare.losses(data, None).items():
        torch.testing.assert_close(bare.losses(shifted, None)[name], value)
