"""What is peculiar to the three tasks: inputs, what is judged, what is restored."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from players import Generator, adversary, trainer, weights
from torch import Tensor, nn
from torch.utils.data import DataLoader

from restore.data.framing import RandomPatch
from restore.data.module import DataModule
from restore.data.photos import Photos
from restore.degradation.composition import Chain
from restore.degradation.gray import Gray
from restore.degradation.linear import Linear
from restore.degradation.mask import Box, Half, Mask
from restore.degradation.noise import Gaussian
from restore.degradation.operator import Luminance
from restore.image import lab_from_rgb, rgb_from_lab
from restore.loss.color_classes import ColorClasses
from restore.loss.content import Pixels, TotalVariation
from restore.network.bias_free import BiasFreeUNet
from restore.network.colorization import ColorClassUNet, ColorizationUNet
from restore.network.inpainting import InpaintingGenerator
from restore.task.colorization import Colorizer
from restore.task.denoising import Denoiser
from restore.task.inpainting import InpaintingGAN
from restore.task.validation import compare
from restore.types import Batch, Facts, InputError, Observation

SGD = partial(torch.optim.SGD, lr=0.1)
RGB = Facts(image_channels=3, input_channels=3, image_size=16, num_classes=None)
LIGHTNESS = Facts(image_channels=3, input_channels=1, image_size=16, num_classes=None)
LOSS = {"pixels": Pixels()}


def batch(degradation: Any, size: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(0)
    target = rgb_from_lab(torch.rand(2, 3, size, size, generator=generator) * 0.6 - 0.3)
    index = torch.arange(2)
    return cast(Batch, {**degradation(target, index), "index": index, "name": ["a", "b"]})


def inpainting(**settings: Any) -> InpaintingGAN:
    return InpaintingGAN(
        RGB, partial(InpaintingGenerator, width=4), LOSS, optimizer=SGD, **settings
    )


def colorizer(facts: Facts = LIGHTNESS, **settings: Any) -> Colorizer:
    network = partial(ColorizationUNet, widths=(4, 4, 4, 4))
    return Colorizer(facts, network, **{"loss": LOSS, "optimizer": SGD, **settings})


def denoiser(network: Any = Generator, **settings: Any) -> Denoiser:
    return Denoiser(RGB, network, LOSS, optimizer=SGD, **settings)


def test_known_pixels_stay_bit_for_bit() -> None:
    given = batch(Mask(Box(size=7)))
    restored = inpainting().restore(given, num_samples=3)
    assert restored.shape == (2, 3, 3, 16, 16)
    known = (given["hole"] == 0).expand_as(given["target"])
    for sample in range(3):
        assert torch.equal(restored[:, sample][known], given["target"][known])
    assert not torch.equal(restored[:, 0][~known], given["input"][~known])


def test_colour_is_added_to_lightness_alone() -> None:
    """Another grey, taken for CIE L, would give images of another brightness."""
    colorizer().check(batch(Gray()))
    with pytest.raises(InputError, match="this grey is a Luminance: use degradation=gray"):
        colorizer().check(batch(Linear(Luminance())))


def test_no_hole_is_filled_between_pixels_without_colour() -> None:
    given = batch(Chain([Gray(), Mask(Half("right"))]))
    for task in (inpainting(), colorizer()):
        with pytest.raises(InputError, match="of 3 channels the degradation leaves 1 there"):
            task.check(given)


def test_inpainting_compares_both_stages_and_judges_the_composite() -> None:
    task, given = inpainting(adversary=adversary()), batch(Mask(Half("right")))
    coarse, refined = task.predict(given)
    terms = task.losses(given, 0)
    assert list(terms) == ["l1", "coarse_l1"]
    halves = (refined - given["target"]).abs().mean(dim=(0, 1, 2))
    torch.testing.assert_close(terms["l1"], halves[:8].mean() + halves[8:].mean())
    judged = task.judged((coarse, refined), given)
    assert torch.equal(judged[..., :8], given["target"][..., :8])
    assert torch.equal(judged[..., 8:], refined[..., 8:])
    assert torch.equal(task.condition(given), given["hole"])


@pytest.mark.parametrize("size", [16, 21])
def test_colorizer_keeps_the_lightness(size: int) -> None:
    given = batch(Gray(), size)
    restored = colorizer().restore(given, num_samples=2)
    assert restored.shape == (2, 2, 3, size, size)
    # Of colours inside the cube of sRGB: elsewhere clipping moves the lightness.
    inside = (restored[:, 0].abs() < 1).all(dim=1)
    assert inside.float().mean() > 0.5
    lightness = lab_from_rgb(restored[:, 0])[:, 0]
    assert (lightness - given["input"][:, 0])[inside].abs().max() < 1e-3


def test_colorizer_is_taught_ab() -> None:
    task, given = colorizer(adversary=adversary()), batch(Gray())
    whole = torch.cat([task.condition(given), task.truth(given)], dim=1)
    torch.testing.assert_close(rgb_from_lab(whole), given["target"], atol=1e-4, rtol=0)
    terms = task.losses(given, 0)
    torch.testing.assert_close(
        terms["l1"], (task.predict(given)[0] - task.truth(given)).abs().mean()
    )


def speaker(**settings: Any) -> Colorizer:
    network = partial(ColorClassUNet, widths=(4, 4, 4), step=25.0)
    loss = {"classes": ColorClasses()}
    return Colorizer(LIGHTNESS, network, **{"loss": loss, "optimizer": SGD, **settings})


@pytest.mark.parametrize("size", [16, 21])
def test_a_colorizer_of_bins_restores_and_is_judged_by_ab(size: int) -> None:
    task, given = speaker(adversary=adversary()), batch(Gray(), size)
    task.check(given)  # bins are no image of the target's shape
    logits, ab = task.predict(given)
    assert task.bins is not None
    half = (size + 1) // 2
    assert logits.shape == (2, len(task.bins), half, half) and ab.shape == (2, 2, size, size)
    assert task.judged((logits, ab), given) is ab
    assert task.restore(given).shape == (2, 1, 3, size, size)
    assert list(task.losses(given, 0)) == ["classes"]


def test_frequent_colors_are_measured_once_and_travel_with_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restore.task.colorization._COUNTED", 3)
    frame = RandomPatch(16)
    data = DataModule(Photos, Gray(), frame, frame, batch_size=2, train_repeat=2)
    task = speaker()
    run = trainer(tmp_path, limit_train_batches=1, use_distributed_sampler=False)
    run.fit(task, datamodule=data)
    bins = task.bins
    assert bins is not None
    samples = data.samples("train")
    seen = [data.to_batch(samples[k * len(samples) // 3, 0])["target"] for k in range(3)]
    counted = bins.histogram(lab_from_rgb(torch.cat(seen))[:, 1:])
    torch.testing.assert_close(bins.distribution, counted / counted.sum())
    assert not any(name.startswith("bins") for name in task.state_dict())  # they are the network's
    other = speaker()
    other.load_state_dict(task.state_dict())
    other.on_fit_start()  # has no trainer to ask
    assert other.bins is not None and torch.equal(other.bins.distribution, bins.distribution)


def test_each_of_a_thousand_photos_counts_alike_whatever_its_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, asked = speaker(), list[int]()
    photos = [batch(Gray(), size)["target"][number][None] for number, size in ((0, 4), (1, 16))]
    samples = SimpleNamespace(spread=lambda count: asked.append(count) or photos)
    data = SimpleNamespace(samples=lambda split: samples, to_batch=lambda one: {"target": one})
    monkeypatch.setattr(Colorizer, "trainer", SimpleNamespace(datamodule=data))
    task.on_fit_start()
    bins = task.bins
    assert bins is not None and asked == [1000]
    shares = [bins.histogram(lab_from_rgb(one)[:, 1:]) for one in photos]
    expected = sum(one / one.sum() for one in shares) / 2
    torch.testing.assert_close(bins.distribution, expected)


def test_bins_and_losses_must_fit() -> None:
    with pytest.raises(InputError, match=r"loss\.pixels compares ab"):
        speaker(loss=LOSS)
    with pytest.raises(InputError, match=r"loss\.classes.*network=colorization_classes"):
        colorizer(loss={"classes": ColorClasses()})


class Tint(nn.Module):
    """Paints everything one colour, and keeps the size it saw."""

    def forward(self, lightness: Tensor) -> Tensor:
        self.size = lightness.shape[-2:]
        return torch.full((len(lightness), 2, *self.size), 0.1)


@pytest.mark.parametrize(("size", "seen"), [(None, 40), (40, 40), (10, 10), (100, 40)])
def test_colour_is_predicted_small_and_recombined_with_full_lightness(
    size: int | None, seen: int
) -> None:
    task, given = colorizer(size=size), batch(Gray(), 40)
    tint = Tint()
    task.network = tint
    restored = task.restore(given)[:, 0]
    assert tint.size == (seen, seen)
    expected = torch.cat([given["input"], torch.full((2, 2, 40, 40), 0.1)], dim=1)
    torch.testing.assert_close(restored, rgb_from_lab(expected))


def test_colour_is_predicted_at_a_size_of_the_longer_side() -> None:
    task, seen = colorizer(size=8), list[torch.Size]()
    task.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    wide: Observation = {"input": torch.zeros(1, 1, 8, 32), "index": torch.zeros(1), "name": [""]}
    task.restore(wide)
    with task.within(4):  # a smaller limit counts, a larger one changes nothing
        task.restore(wide)
    with task.within(16):
        task.restore(wide)
    assert [tuple(one[-2:]) for one in seen] == [(2, 8), (1, 4), (2, 8)]


def test_denoiser_gives_its_network_the_noise_level() -> None:
    task, given = denoiser(partial(BiasFreeUNet, widths=(4,))), batch(Gaussian([5.0, 55.0]))
    assert isinstance(task.network, BiasFreeUNet)
    expected = task.network(given["input"], given["sigma"])
    assert torch.equal(task.restore(given)[:, 0], expected)
    assert torch.equal(task.condition(given), given["input"])


def test_check_restores_one_sample_before_work_starts() -> None:
    unnamed = batch(Gaussian(25.0))
    del unnamed["sigma"]
    with pytest.raises(InputError, match="noise_map=false"):
        denoiser(partial(BiasFreeUNet, widths=(4,))).check(unnamed)
    with pytest.raises(InputError, match="use a degradation with a mask"):
        inpainting().check(batch(Gaussian(25.0)))
    task = denoiser().train()
    task.check(batch(Gaussian(25.0)))
    assert task.training


class Misshapen(nn.Module):
    """kind: what is wrong with the image that it returns."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.factor = kind, nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor, other: Tensor | None = None) -> Any:
        made = self.factor * image
        returned = {
            "more": torch.cat([made, made[:, :1]], dim=1),
            "one": made[:, :1],
            "small": made[..., 1:-1, 1:-1],
            "dict": {"image": made},
        }
        return returned[self.kind]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("more", r"\[2, 4, 16, 16\]"),
        ("one", r"\[2, 1, 16, 16\]"),
        ("small", r"\[2, 3, 14, 14\]"),
        ("dict", "dict"),
    ],
)
def test_a_network_that_returns_another_shape_is_refused_before_work(kind: str, shape: str) -> None:
    """One channel would be compared with each of three, and nobody would be told."""
    said = rf"{__name__}\.Misshapen returned {shape} for targets \[2, 3, 16, 16\]"
    for task, given in (
        (denoiser(), batch(Gaussian(25.0))),
        (inpainting(), batch(Mask(Half("right")))),
    ):
        task.network = Misshapen(kind)
        with pytest.raises(InputError, match=said):
            task.check(given)


def test_colours_of_another_shape_are_refused_before_work() -> None:
    task, given = colorizer(), batch(Gray())
    task.network = Misshapen("one")  # one channel, where ab are two
    with pytest.raises(InputError, match=r"returned \[2, 1, 16, 16\] for targets \[2, 2, 16, 16\]"):
        task.check(given)


def test_a_loss_of_another_shape_is_refused_by_the_name_of_its_class() -> None:
    def row(stages: Any, target: Tensor, hole: Tensor | None) -> dict[str, Tensor]:
        return {"row": (stages[-1] - target).abs().mean(dim=(0, 1, 2))}

    task = denoiser()
    task.content = {"own": row}
    with pytest.raises(InputError, match=r"task\.loss\.own .*'row': \[16\] for 2 images"):
        task.losses(batch(Gaussian(25.0)), 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: colorizer(RGB), "degradation=gray"),
        (lambda: colorizer(size=0), "task.size=0"),
        (lambda: colorizer(loss={"smooth": TotalVariation()}), "task.loss.smooth"),
        (lambda: Denoiser(LIGHTNESS, Generator, LOSS, optimizer=SGD), "leaves 1"),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "degradation"),
    [(inpainting, Mask(Half("right"))), (colorizer, Gray()), (denoiser, Gaussian(25.0))],
)
def test_both_players_of_every_task_learn(tmp_path: Path, make: Any, degradation: Any) -> None:
    task = make(adversary=adversary())
    before = [weights(task.network), weights(task.adversary)]
    loader: DataLoader[Any] = DataLoader([batch(degradation)], batch_size=None)  # type: ignore[list-item]
    trainer(tmp_path).fit(task, loader)
    assert not torch.equal(weights(task.network), before[0])
    assert not torch.equal(weights(task.adversary), before[1])


@pytest.mark.parametrize("judge", [adversary(), None])
@pytest.mark.parametrize(
    ("make", "degradation", "calls"),
    [
        (inpainting, Mask(Half("right")), 1),
        (colorizer, Gray(), 1),
        (partial(colorizer, size=8), Gray(), 2),  # of the image, and of a smaller one
        (denoiser, Gaussian(25.0), 1),
    ],
)
def test_validation_says_of_one_call_what_several_would_say(
    monkeypatch: pytest.MonkeyPatch, make: Any, degradation: Any, calls: int, judge: Any
) -> None:
    task, given = make(adversary=judge).eval(), batch(degradation)
    said: dict[str, float] = {}
    made: list[int] = []
    monkeypatch.setattr(type(task), "trainer", SimpleNamespace(world_size=1))
    monkeypatch.setattr(task, "log", lambda name, value, **more: said.update({name: float(value)}))
    monkeypatch.setattr(task, "log_dict", lambda values, **more: said.update(values))
    task.network.register_forward_hook(lambda *_: made.append(1))
    with torch.no_grad():
        task.validation_step(given, 0)
        assert len(made) == calls
        wanted = task.losses(given, None)
        metrics = compare(task.restore(given)[:, 0], given)
        wanted |= {name: mean.float() for name, (mean, _) in metrics.items()}
        if task.adversary is not None:
            fake = task.judged(task.predict(given), given)
            wanted |= task.adversary.accuracy(fake, task.truth(given), task.condition(given))
        assert {name: float(said[f"val/{name}"]) for name in wanted} == {
            name: float(value) for name, value in wanted.items()
        }
        before = task.restore(given)
        for parameter in task.network.parameters():
            parameter += 0.1
        assert not torch.equal(task.restore(given), before)  # nothing is remembered
