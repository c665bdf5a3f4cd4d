from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from restore.diffusion.guidance import Replacement
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling, ddim
from restore.diffusion.schedule import Cosine
from restore.diffusion.walk import initial_noise
from restore.network.unet import UNet
from restore.stream import Stream, fold
from restore.task.diffusion import Diffusion
from restore.task.key import Key
from restore.types import Batch, Facts, InputError

FACTS = Facts(image_channels=1, input_channels=1, image_size=8, num_classes=3)
REPAINT = RePaint(num_steps=4, jump_length=2, jump_count=2)
DDIM = Sampling(num_steps=4, method=partial(ddim, eta=0.0))


def build(**settings: Any) -> Diffusion:
    """A tiny prior whose network does not start as zero."""
    torch.manual_seed(0)
    network: Callable[..., UNet] = partial(
        UNet, width=4, multipliers=(1, 2), num_blocks=1, attention=(), head_size=4
    )
    task = Diffusion(
        **{
            "facts": FACTS,
            "network": network,
            "schedule": Cosine(),
            "sampler": REPAINT,
            "optimizer": partial(torch.optim.SGD, lr=0.1),
            **settings,
        }
    )
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return task.eval()


def batch(count: int = 4, hole: float | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(count, 1, 8, 8, generator=generator) * 2 - 1
    holes = torch.zeros(count, 1, 8, 8)
    holes[..., 4:] = 1
    if hole is not None:
        holes[:] = hole
    return Batch(
        target=target,
        input=target * (1 - holes),
        hole=holes,
        index=torch.arange(10, 10 + count),
        label=torch.arange(count) % 3,
        name=[str(i) for i in range(count)],
    )


def picked(full: Batch, rows: list[int]) -> Batch:
    taken = {k: [v[i] for i in rows] if k == "name" else v[rows] for k, v in full.items()}  # type: ignore[index]
    return taken  # type: ignore[return-value]


@pytest.mark.parametrize("settings", [{}, {"sampler": DDIM, "guidance": Replacement()}])
def test_known_pixels_are_bit_equal_and_the_hole_is_filled(settings: dict[str, Any]) -> None:
    data = batch()
    restored = build(**settings).restore(data, 2)
    assert restored.shape == (4, 2, 1, 8, 8) and torch.isfinite(restored).all()
    for n in range(2):
        assert torch.equal(restored[:, n, ..., :4], data["target"][..., :4])
        assert (restored[:, n, ..., 4:] != data["input"][..., 4:]).all()


def test_same_seed_same_bytes_and_samples_differ() -> None:
    data = batch()
    task = build()
    restored = task.restore(data, 3)
    assert torch.equal(restored, task.restore(data, 3))
    assert not torch.equal(restored, build(seed=1).restore(data, 3))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (restored[:, a, ..., 4:] != restored[:, b, ..., 4:]).flatten(1).any(dim=1).all()


def test_image_does_not_depend_on_its_batch() -> None:
    data = batch()
    task = build()
    together = task.restore(data, 2)
    for i in range(4):
        # Convolutions of another batch size may round differently.
        alone = task.restore(picked(data, [i]), 2)
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-4)


def test_target_is_never_looked_at() -> None:
    data = batch()
    other: Batch = {**data, "target": torch.zeros_like(data["target"])}
    task = build()
    assert torch.equal(task.restore(data), task.restore(other))


def test_empty_hole_returns_the_input_and_full_hole_ignores_it() -> None:
    task = build()
    empty = batch(hole=0.0)
    assert torch.equal(task.restore(empty)[:, 0], empty["input"])
    full = batch(hole=1.0)
    assert torch.equal(task.restore(full), task.restore({**full, "input": full["input"] + 0.5}))


def test_sampler_that_ignores_known_pixels_is_refused() -> None:
    task = build(sampler=DDIM)
    for use in (task.restore, task.check):
        with pytest.raises(InputError, match="sampler=repaint_fast, or guidance=replacement"):
            use(batch())
    task.check()  # it can still make new images
    no_hole = batch()
    del no_hole["hole"]
    with pytest.raises(InputError, match="degradation with a mask"):
        build().check(no_hole)


def test_settings_that_do_not_fit_the_data() -> None:
    with pytest.raises(InputError, match="needs labels"):
        build(facts=Facts(1, 1, 8, None), class_conditional=True)
    with pytest.raises(InputError, match="label_dropout=0"):
        build(class_conditional=True, label_dropout=0.0)
    with pytest.raises(InputError, match="given_label=true needs task"):
        build(given_label=True)
    with pytest.raises(InputError, match="given_label=true needs labels"):
        unlabelled = batch()
        del unlabelled["label"]
        build(class_conditional=True, given_label=True).check(unlabelled)
    with pytest.raises(InputError, match="num_steps=1001 is more than the 1000 levels"):
        build(sampler=RePaint(num_steps=1001, jump_length=1, jump_count=1))
    with pytest.raises(InputError, match="9x9 is not divisible by 2"):
        build(facts=Facts(1, 1, 9, None)).check()


def test_generated_image_belongs_to_its_index() -> None:
    for sampler in (REPAINT, DDIM):
        task = build(sampler=sampler)
        with torch.no_grad():
            images = task.generate(torch.tensor([3, 4, 3]), (8, 8))
        assert images.shape == (3, 1, 8, 8)
        # A vectorised loop may round the end of a batch differently.
        torch.testing.assert_close(images[0], images[2], rtol=0, atol=1e-4)
        assert (images[0] - images[1]).abs().max() > 0.1


def test_new_images_begin_with_noise_that_no_restoration_has() -> None:
    """A number of their own, -1, stands where that of a sample stands: 0, 1, ..."""
    task, begun = build(sampler=DDIM, seed=7), list[Tensor]()
    sample = task.sampler

    def watched(denoise: Any, x: Tensor, *rest: Any, **named: Any) -> Tensor:
        begun.append(x)
        return sample(denoise, x, *rest, **named)

    index = torch.tensor([3, 4])
    task.sampler = watched  # type: ignore[assignment]
    task.generate(index, (8, 8))
    stream = Stream(fold(index, 7, Key.SAMPLING, -1))
    assert torch.equal(begun[0], initial_noise(task.schedule, torch.ones(()), (1, 8, 8), stream))


def test_labels_steer_a_class_conditional_prior_if_asked_for() -> None:
    """A test label is the answer that a benchmark of labels asks for."""
    data = batch()
    other: Batch = {**data, "label": (data["label"] + 1) % 3}
    steered = build(class_conditional=True, given_label=True)
    assert not torch.equal(steered.restore(data), steered.restore(other))
    for blind in (build(), build(class_conditional=True)):
        assert torch.equal(blind.restore(data), blind.restore(other))


def terms(task: Diffusion, data: Batch, epoch: int | None) -> Tensor:
    return torch.stack(list(task.losses(data, epoch).values())).sum().detach()


def test_loss_is_a_function_of_seed_epoch_and_index() -> None:
    task, data = build(), batch()
    whole = terms(task, data, 3)
    torch.testing.assert_close(terms(task, picked(data, [2, 0, 3, 1]), 3), whole)
    parts = [terms(task, picked(data, [i]), 3) for i in range(4)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)
    torch.manual_seed(123)
    assert torch.equal(terms(task, data, 3), whole)
    others = [terms(task, data, 4), terms(task, data, None), terms(build(seed=1), data, 3)]
    others.append(terms(task, {**data, "index": data["index"] + 1}, 3))
    assert all((other - whole).abs() > 1e-4 for other in others)


def test_learned_variance_trains_and_samples() -> None:
    task, data = build(learned_variance=True, parameterization="eps"), batch()
    losses = task.losses(data, 0)
    assert list(losses) == ["denoising", "bound"]
    losses["bound"].backward()
    gradient = task.network.conv_out.weight.grad
    assert gradient is not None and gradient[1].abs().sum() > 0
    assert task.restore(data).shape == (4, 1, 1, 8, 8)


@pytest.mark.parametrize(("channels", "learned"), [(2, False), (1, True), (3, True)])
def test_a_network_that_returns_another_shape_is_refused(channels: int, learned: bool) -> None:
    """What is too much would be cut off in silence; one channel would be compared with each."""

    class Other(torch.nn.Conv2d):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return super().forward(x)

    task = build(network=lambda **_: Other(1, channels, 1), learned_variance=learned)
    wanted = rf"\[4, {2 if learned else 1}, 8, 8\]"
    said = rf"Other returned \[4, {channels}, 8, 8\] for targets {wanted}"
    with pytest.raises(InputError, match=said):
        task.losses(batch(), 0)


def test_what_is_no_guidance_is_refused() -> None:
    with pytest.raises(InputError, match=r"task\.guidance .*Stream is no .*Guidance: make it"):
        build(guidance=Stream(torch.zeros(1, dtype=torch.int64)))
