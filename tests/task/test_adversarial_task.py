"""The alternating rule against what it should do to the weights, and every setting of it."""

import copy
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from players import SIZE, adversary, batches, denoiser, fit, trainer, weights
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader

from restore.loss.content import Pixels
from restore.network.patch_discriminator import PatchDiscriminator, SpectralPatchDiscriminator
from restore.stream import Stream
from restore.task.adversary import Adversary
from restore.task.base import NonFiniteError
from restore.types import InputError

ADAMW = partial(torch.optim.AdamW, lr=0.01)


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
def test_one_update_is_a_step_of_each_player(tmp_path: Path, order: str) -> None:
    """By hand: both gradients at the first weights, then both steps; or the discriminator's step
    before the generator's gradient."""
    task = denoiser(adversary=adversary(weight=0.3, order=order))
    twin = copy.deepcopy(task)
    fit(tmp_path, task, 4, 1)
    batch = next(iter(batches(4)))
    generator, judge = twin.network, twin.adversary.network  # type: ignore[union-attr]
    fake = generator(batch["input"])

    def logits(image: Tensor) -> Tensor:
        verdict: Tensor = judge(torch.cat([image, batch["input"]], dim=1))[0]
        return verdict

    def descend(player: torch.nn.Module, loss: Tensor) -> list[Tensor]:
        return [0.1 * one for one in torch.autograd.grad(loss, list(player.parameters()))]

    def move(player: torch.nn.Module, steps: list[Tensor]) -> None:
        for parameter, step in zip(player.parameters(), steps, strict=True):
            parameter.data -= step

    real, false = logits(batch["target"]), logits(fake.detach())
    verdict = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    verdict = verdict + F.binary_cross_entropy_with_logits(false, torch.zeros_like(false))
    other = descend(judge, verdict / 2)
    if order == "alternating":
        move(judge, other)
    fooled = F.binary_cross_entropy_with_logits(logits(fake), torch.ones(4, 1, 3, 3))
    move(generator, descend(generator, (fake - batch["target"]).abs().mean() + 0.3 * fooled))
    if order == "simultaneous":
        move(judge, other)
    assert (weights(task.network) - weights(generator)).abs().max() <= 1e-6
    assert (weights(task.adversary) - weights(judge)).abs().max() <= 1e-6


def test_the_orders_differ(tmp_path: Path) -> None:
    made = [denoiser(adversary=adversary(order=o)) for o in ("simultaneous", "alternating")]
    for task in made:
        fit(tmp_path, task, 4, 1)
    assert torch.equal(weights(made[0].adversary), weights(made[1].adversary))
    assert not torch.equal(weights(made[0].network), weights(made[1].network))


def test_a_window_belongs_to_one_discriminator() -> None:
    task = denoiser(adversary=adversary(order="alternating"), accumulate=2)
    with pytest.raises(InputError, match=r"task\.accumulate=2.*use simultaneous"):
        task.check()


def test_without_adversary_it_is_regression(tmp_path: Path) -> None:
    task, silent = denoiser(adversary=None), denoiser(adversary=adversary(weight=0.0))
    silent.network.load_state_dict(task.network.state_dict())
    fit(tmp_path, task, 4, 3)
    fit(tmp_path, silent, 4, 3)
    assert task.adversary is None
    assert not any(name.startswith("adversary") for name in task.state_dict())
    assert torch.equal(weights(task.network), weights(silent.network))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_regression_first_until_the_adversary_starts(tmp_path: Path, accumulate: int) -> None:
    plain = denoiser(adversary=None, accumulate=accumulate)
    for updates in (2, 3):
        task = denoiser(adversary=adversary(weight=9.0, start=2), accumulate=accumulate)
        untrained = weights(task.adversary)
        fit(tmp_path, task, 2, updates * accumulate)
        twin = copy.deepcopy(plain)
        fit(tmp_path, twin, 2, updates * accumulate)
        met = updates > 2
        assert task.updates == updates
        assert torch.equal(weights(task.adversary), untrained) != met
        assert torch.equal(weights(task.network), weights(twin.network)) != met


def late(updates: int, accumulate: int = 1) -> Any:
    """A GAN whose players meet after two updates, both with rates that fall over all of them."""
    falling = partial(CosineAnnealingLR, T_max=updates)
    second = adversary(optimizer=ADAMW, scheduler=falling, start=2)
    return denoiser(adversary=second, optimizer=ADAMW, scheduler=falling, accumulate=accumulate)


@pytest.mark.filterwarnings("error:.*lr_scheduler")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_late_discriminator_enters_at_the_rate_of_its_time(
    tmp_path: Path, accumulate: int
) -> None:
    task = late(5, accumulate)
    rates: dict[int, float] = {}
    terms = Adversary.discriminator_terms

    def watched(*args: Any, **settings: Any) -> Any:
        rates[task.updates] = task._players()[1].param_groups[0]["lr"]
        return terms(*args, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adversary, "discriminator_terms", watched)
        fit(tmp_path, task, 2, 5 * accumulate)
    assert rates == pytest.approx(
        {update: 0.01 * (1 + math.cos(math.pi * update / 5)) / 2 for update in (2, 3, 4)}
    )


def test_what_prepares_a_late_discriminator_moves_nothing() -> None:
    for factory in (ADAMW, partial(torch.optim.Adam, fused=False), partial(torch.optim.SGD, lr=1)):
        task = denoiser(adversary=adversary(optimizer=factory, start=2))
        before = weights(task.adversary)
        (_, optimizer), _ = task.configure_optimizers()
        assert torch.equal(weights(task.adversary), before)
        assert not optimizer.state


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_late_adversary_resumed_is_the_one_that_went_on(tmp_path: Path, stop: int) -> None:
    whole, part, resumed = (late(4) for _ in range(3))
    fit(tmp_path, whole, 2, 1, max_epochs=4)
    first = trainer(tmp_path, limit_train_batches=1, max_epochs=stop)
    first.fit(part, batches(2))
    first.save_checkpoint(tmp_path / "last.ckpt")
    settings = {"limit_train_batches": 1, "max_epochs": 4}
    trainer(tmp_path, **settings).fit(resumed, batches(2), ckpt_path=tmp_path / "last.ckpt")
    assert resumed.updates == whole.updates == 4
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(("every", "steps"), [(1, 1), (2, 1), (1, 2)])
def test_updates_are_those_of_the_generator(
    tmp_path: Path, accumulate: int, every: int, steps: int
) -> None:
    second = adversary(discriminator_every=every, discriminator_steps=steps)
    task = denoiser(adversary=second, accumulate=accumulate)
    moved = {"generator": 0, "discriminator": 0}
    before = [weights(task.network), weights(task.adversary)]

    def count(*_: Any) -> None:
        after = [weights(task.network), weights(task.adversary)]
        for i, name in enumerate(moved):
            moved[name] += not torch.equal(before[i], after[i])
            before[i] = after[i]

    task.on_train_batch_end = count  # type: ignore[method-assign]
    fit(tmp_path, task, 1, 4 * steps * accumulate)
    assert task.updates == moved["generator"] == 4
    assert moved["discriminator"] == 4 * steps // every


@pytest.mark.parametrize("setting", [{}, {"input_noise": 0.2, "input_noise_updates": 9}])
def test_accumulated_batches_are_one_large_batch(tmp_path: Path, setting: dict[str, Any]) -> None:
    small = denoiser(adversary=adversary(r1_gamma=0.1, r1_every=2, **setting), accumulate=2)
    large = denoiser(adversary=adversary(r1_gamma=0.1, r1_every=2, **setting))
    fit(tmp_path, small, 4, 4)
    fit(tmp_path, large, 8, 2)
    assert (weights(small) - weights(large)).abs().max() <= 1e-6


def test_clip_norm_bounds_each_player(tmp_path: Path) -> None:
    clipped, free = (denoiser(1.0, adversary=adversary(1.0), clip_norm=c) for c in (0.01, None))
    for task, bounded in ((clipped, True), (free, False)):
        before = [weights(player) for player in (task.network, task.adversary)]
        fit(tmp_path, task, 4, 1)
        for old, player in zip(before, (task.network, task.adversary), strict=True):
            step = (weights(player) - old).norm().item()
            assert step == pytest.approx(0.01, rel=1e-3) if bounded else step > 0.02


@pytest.mark.parametrize(("interval", "decays"), [("update", 4), ("epoch", 2)])
def test_both_schedules_follow_the_interval(tmp_path: Path, interval: str, decays: int) -> None:
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    second = adversary(scheduler=schedule, discriminator_every=2)
    task = denoiser(adversary=second, scheduler=schedule, scheduler_interval=interval)
    fit(tmp_path, task, 4, 2, max_epochs=2)
    optimizers: Any = task.optimizers()
    for optimizer in optimizers:
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**decays)


def test_neither_player_gets_the_other_s_gradient() -> None:
    task = denoiser()
    second: Any = task.adversary
    batch = next(iter(batches(2)))
    fake, real, seen = task.predict(batch)[0], batch["target"], batch["input"]
    stream = Stream(batch["index"])
    terms = second.generator_terms(fake, real, seen, stream, 0)
    terms["adversarial"].backward()
    assert all(p.grad is None and p.requires_grad for p in second.parameters())
    assert all(p.grad is not None for p in task.network.parameters())
    task.network.zero_grad()
    second.discriminator_terms(fake, real, seen, None, stream, 0, 0)["discriminator"].backward()
    assert all(p.grad is None for p in task.network.parameters())
    assert all(p.grad is not None for p in second.parameters())


class Constant(PatchDiscriminator):
    """Says the same logit of every patch, and keeps what it was shown."""

    logit = 0.7

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.shown = x
        return torch.full((len(x), 1, 4, 4), self.logit), [x]


def constant(**settings: Any) -> Any:
    optimizer = partial(torch.optim.SGD, lr=0.1)
    network = partial(Constant, widths=(4,), strides=(2,))
    return Adversary(1, 1, SIZE, network, optimizer, **settings)


IMAGE = torch.zeros(64, 1, SIZE, SIZE)


def judged(made: Any, hole: Tensor | None = None, updates: int = 0, turn: int = 0) -> Any:
    stream = Stream(torch.arange(64))
    return made.discriminator_terms(IMAGE + 1, IMAGE, IMAGE, hole, stream, updates, turn)


def test_labels_are_smoothed_on_one_side_or_both() -> None:
    expected = [
        ({}, 1.0, 0.0),
        ({"real_label": 0.9}, 0.9, 0.0),
        ({"real_label": 0.9, "fake_label": 0.2}, 0.9, 0.2),
    ]
    for settings, real, fake in expected:
        loss = judged(constant(loss="least_squares", **settings))["discriminator"]
        assert loss.item() == pytest.approx(((0.7 - real) ** 2 + (0.7 - fake) ** 2) / 2)


def test_jitter_draws_labels_between_its_bounds() -> None:
    """E (0.7 - u)^2 for u ~ U(0.5, 1) is (0.3^3 + 0.2^3) / (3 * 0.5)."""
    loss = judged(constant(loss="least_squares", real_label=[0.5, 1.0]))["discriminator"]
    expected = ((0.3**3 + 0.2**3) / 1.5 + 0.7**2) / 2
    assert loss.item() == pytest.approx(expected, rel=0.02)
    fixed = constant(loss="least_squares", real_label=[0.5, 0.5])
    assert judged(fixed)["discriminator"].item() == pytest.approx((0.2**2 + 0.7**2) / 2)


def test_noise_on_what_is_judged_decays() -> None:
    made = constant(input_noise=0.5, input_noise_updates=100)
    for updates, level in ((0, 0.5), (50, 0.25), (100, 0.0), (200, 0.0)):
        judged(made, updates=updates)
        image, condition = made.network.shown.chunk(2, dim=1)
        assert (image - 1).std().item() == pytest.approx(level, rel=0.05)
        assert torch.equal(condition, IMAGE)


def test_noise_on_what_is_judged_stays() -> None:
    made = constant(input_noise=0.5)
    for updates in (0, 10_000):
        judged(made, updates=updates)
        assert (made.network.shown[:, :1] - 1).std().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("real", [1.0, 0.9])
def test_patches_without_any_hole_count_as_real(real: float) -> None:
    """Of 4x4 patches of 2x2 pixels one holds a single pixel of the hole, two a whole side of it.

    A patch is known if no pixel of it lies in the hole, and a known patch is taught the label of
    real ones, smoothed as theirs.
    """
    hole = torch.zeros(64, 1, SIZE, SIZE)
    hole[:, :, 0, 0] = 1
    hole[:, :, 4:6, 4:8] = 1
    filled = 1 + 2
    made = constant(loss="least_squares", known_as_real=True, real_label=real, fake_label=0.1)
    known, fake = (0.7 - real) ** 2, (0.7 - 0.1) ** 2
    expected = (known + (filled * fake + (16 - filled) * known) / 16) / 2
    assert judged(made, hole)["discriminator"].item() == pytest.approx(expected)
    made.known_as_real = False
    assert judged(made, hole)["discriminator"].item() == pytest.approx((known + fake) / 2)


def test_known_patches_share_the_drawn_label_of_the_real_ones() -> None:
    """With nothing to fill the fake is the real image, and no verdict can tell them apart."""
    made = constant(loss="least_squares", known_as_real=True, real_label=[0.5, 1.0])
    loss = judged(made, torch.zeros(64, 1, SIZE, SIZE))["discriminator"]
    labels = Stream(torch.arange(64)).uniform(1, 4, 4, low=0.5, high=1.0)
    torch.testing.assert_close(loss, (0.7 - labels).square().mean())


def test_unconditional_adversary_sees_the_image_alone() -> None:
    made = constant(conditional=False)
    judged(made)
    assert made.network.shown.shape[1] == 1


def test_r1_is_lazy_and_keeps_its_strength() -> None:
    """Of a linear judge the gradient is the same everywhere."""
    made: Any = adversary(r1_gamma=2.0, r1_every=4)(
        image_channels=1, condition_channels=1, image_size=SIZE
    )
    with torch.autocast("cpu", torch.bfloat16):
        terms = [judged(made, turn=turn) for turn in range(5)]
    assert [("r1" in one) for one in terms] == [True, False, False, False, True]
    assert terms[0]["r1"].dtype == torch.float32
    image = IMAGE.clone().requires_grad_()
    logits = made.network(torch.cat([image, IMAGE], dim=1))[0]
    (gradient,) = torch.autograd.grad(logits.sum(), image)
    expected = 2.0 * 4 * gradient.square().sum() / len(IMAGE) / 2
    torch.testing.assert_close(terms[0]["r1"], expected)


def test_feature_matching_is_zero_for_equal_images() -> None:
    made = constant(feature_matching=10.0)
    stream = Stream(torch.arange(64))
    same = made.generator_terms(IMAGE, IMAGE, IMAGE, stream, 0)
    other = made.generator_terms(IMAGE + 1, IMAGE, IMAGE, stream, 0)
    assert same["feature_matching"].item() == 0
    assert other["feature_matching"].item() == pytest.approx(
        10 * 0.5
    )  # one layer, half its channels differ


@pytest.mark.parametrize("culprit", ["l1", "discriminator", "adversarial"])
def test_a_term_that_is_not_finite_is_named_with_its_update(tmp_path: Path, culprit: str) -> None:
    task = denoiser()

    class Poison(Pixels):
        def __call__(self, *args: Any) -> dict[str, Tensor]:
            terms = super().__call__(*args)
            return {"l1": terms["l1"] * (torch.nan if task.updates == 2 else 1)}

    if culprit == "l1":
        task.content["pixels"] = Poison()
    else:
        second: Any = task.adversary
        method = "generator_terms" if culprit == "adversarial" else "discriminator_terms"
        honest = getattr(second, method)

        def poisoned(*args: Any, **named: Any) -> dict[str, Tensor]:
            terms: dict[str, Tensor] = honest(*args, **named)
            return {**terms, culprit: terms[culprit] * (torch.nan if task.updates == 2 else 1)}

        setattr(second, method, poisoned)
    with pytest.raises(NonFiniteError, match=f"loss term {culprit} is nan at update 2"):
        fit(tmp_path, task, 4, 4)


def test_data_that_are_not_finite_are_stopped_by_their_term(tmp_path: Path) -> None:
    task = denoiser()

    def spoil(batch: Any, batch_idx: int) -> None:
        if task.updates == 2:
            batch["target"][0, 0, 0, 0] = torch.nan

    task.on_train_batch_start = spoil  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match="loss term l1 is nan at update 2"):
        fit(tmp_path, task, 4, 4)
    assert torch.isfinite(weights(task)).all()


def test_bf16_keeps_losses_and_weights_in_float32(tmp_path: Path) -> None:
    task = denoiser(adversary=adversary(r1_gamma=1.0, feature_matching=1.0))
    fit(tmp_path, task, 4, 3, precision="bf16-mixed")
    assert {p.dtype for p in task.parameters()} == {torch.float32}
    assert torch.isfinite(weights(task)).all()


def test_validation_knows_content_losses_alone() -> None:
    batch = next(iter(batches(4)))
    assert list(denoiser().losses(batch, None)) == ["l1"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"discriminator_every": 2, "discriminator_steps": 2}, "exclude each other"),
        ({"discriminator_every": 0}, "discriminator_every=0"),
        ({"weight": -1.0}, "weight=-1.0"),
        ({"r1_gamma": -0.1}, "r1_gamma=-0.1"),
        ({"r1_every": 0}, "r1_every=0"),
        ({"real_label": 1.1}, "real_label=1.1"),
        ({"fake_label": [0.5, 0.1]}, "fake_label="),
        ({"input_noise": 0.1, "input_noise_updates": 1}, "input_noise_updates=1 must be 2 or more"),
        ({"order": "both"}, "order=both"),
    ],
)
def test_impossible_settings(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        denoiser(adversary=adversary(**setting))


def test_patches_too_small_for_the_discriminator() -> None:
    network = partial(PatchDiscriminator, widths=(4,) * 4, strides=(2,) * 4)
    with pytest.raises(InputError, match="patches of 8 px are too small"):
        denoiser(adversary=partial(adversary(), network=network))


def test_no_loss_at_all() -> None:
    with pytest.raises(InputError, match="loss=l1"):
        denoiser(loss={"pixels": None})


@pytest.mark.parametrize(("size", "fits"), [(1, False), (16, False), (17, True), (64, True)])
def test_patches_that_the_discriminator_sees_as_a_pixel_are_refused(size: int, fits: bool) -> None:
    """Strides of 2, 2, 2, 2 leave one pixel of 16 and two of 17."""
    made = partial(
        Adversary,
        **{"image_channels": 3, "condition_channels": 1, "image_size": size},
        network=partial(SpectralPatchDiscriminator, width=1),
        optimizer=partial(torch.optim.SGD, lr=0.1),
    )
    if fits:
        made()
        return
    with pytest.raises(InputError, match=f"patches of {size} px are too small .* needs 17"):
        made()


@pytest.mark.parametrize("loss", ["bce", "hinge", "least_squares"])
def test_validation_says_how_often_the_discriminator_is_right(tmp_path: Path, loss: str) -> None:
    """By hand, patch by patch, without the noise of training; val/loss does not know of it."""
    task = denoiser(adversary=adversary(loss=loss, input_noise=9.0))
    twin = denoiser(adversary=None)
    twin.network.load_state_dict(task.network.state_dict())
    [*_, bias] = task.adversary.parameters()  # type: ignore[union-attr]
    bias.data += 0.5 if loss == "least_squares" else 0.0  # so that it is right and wrong
    data: Any = batches(1).dataset
    given = DataLoader([{**one, "target": one["target"].clamp(-1, 1)} for one in data], 5)
    found, plain = (
        trainer(tmp_path).validate(one, given, verbose=False)[0] for one in (task, twin)
    )
    border = 0.5 if loss == "least_squares" else 0.0
    assert task.adversary is not None
    right = {"real": [], "fake": []}  # type: ignore[var-annotated]
    for batch in given:
        for name, image in (("real", batch["target"]), ("fake", task.network(batch["input"]))):
            logits, _ = task.adversary.network(torch.cat([image, batch["input"]], dim=1))
            right[name] += [(one > border) == (name == "real") for one in logits.flatten().tolist()]
    for name, told in right.items():
        assert 0 < sum(told) < len(told)
        assert found[f"val/{name}_accuracy"] == pytest.approx(sum(told) / len(told), abs=1e-6)
    assert found["val/loss"] == pytest.approx(plain["val/loss"], rel=1e-6)
    assert not {"val/real_accuracy"} & {*plain}


def test_a_patch_on_the_border_is_taken_for_a_fake() -> None:
    """Which is right of a fake, and wrong of a real one."""
    made = adversary()(image_channels=1, condition_channels=1, image_size=SIZE)
    for parameter in made.parameters():
        torch.nn.init.zeros_(parameter)
    image = torch.rand(2, 1, SIZE, SIZE)
    found = made.accuracy(image, image, image)
    assert {name: float(share) for name, share in found.items()} == {
        "real_accuracy": 0.0,
        "fake_accuracy": 1.0,
    }


def test_each_player_has_draws_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, seeds = denoiser(adversary=adversary(input_noise=0.3)), dict[str, Tensor]()
    assert task.adversary is not None
    for name in ("generator_terms", "discriminator_terms"):
        terms = getattr(task.adversary, name)

        def watched(*given: Any, of: str = name, terms: Any = terms, **named: Any) -> Any:
            seeds[of] = next(one for one in given if isinstance(one, Stream)).seeds
            return terms(*given, **named)

        monkeypatch.setattr(task.adversary, name, watched)
    trainer(tmp_path, max_epochs=1).fit(task, batches(4, 4))
    assert not (seeds["generator_terms"] == seeds["discriminator_terms"]).any()


def test_a_discriminator_of_three_turns_is_answered_after_the_third() -> None:
    sizes = {"image_channels": 1, "condition_channels": 1, "image_size": SIZE}
    thrice = adversary(discriminator_steps=3)(**sizes)
    turns = [thrice.turns(window, 0) for window in range(6)]
    assert turns == 2 * [(False, True), (False, True), (True, True)]
    seldom = adversary(discriminator_every=3)(**sizes)
    turns = [seldom.turns(window, 0) for window in range(6)]
    assert turns == 2 * [(True, True), (True, False), (True, False)]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("start", [0, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_updates_in_batches_are_those_that_a_training_makes(
    steps: int, start: int, accumulate: int
) -> None:
    """By counting: the end of a schedule that is cut is told by it."""
    given = adversary(discriminator_steps=steps, start=start)
    task = denoiser(adversary=given, accumulate=accumulate)
    assert task.adversary is not None
    updates = 0
    for batches_done in range(41):
        assert task.updates_in(batches_done) == updates
        window, ends = divmod(batches_done, accumulate)
        if ends == accumulate - 1:
            updates += task.adversary.turns(window, updates)[0]
    assert denoiser(adversary=None, accumulate=accumulate).updates_in(41) == 41 // accumulate


def test_turns_are_those_that_the_discriminator_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a lazy penalty comes at every n-th of them, and not at none of those it has."""
    task, turns = denoiser(adversary=adversary(discriminator_every=2)), list[int]()
    assert task.adversary is not None
    terms = task.adversary.discriminator_terms

    def watched(*given: Any, turn: int) -> Any:
        turns.append(turn)
        return terms(*given, turn=turn)

    monkeypatch.setattr(task.adversary, "discriminator_terms", watched)
    trainer(tmp_path, max_epochs=1).fit(task, batches(4, 20))
    assert turns == [0, 1, 2]


def test_losses_of_one_name_are_added() -> None:
    task = denoiser(adversary=None, loss={"weak": Pixels(1.0), "strong": Pixels(2.5)})
    output, target = torch.zeros(2, 1, SIZE, SIZE), torch.full((2, 1, SIZE, SIZE), 0.2)
    terms = task.content_terms((output,), target, None)
    assert {name: term.item() for name, term in terms.items()} == {"l1": pytest.approx(0.7)}


def test_a_condition_has_channels_only_where_it_is_seen() -> None:
    sizes = {"image_channels": 2, "condition_channels": 3, "image_size": SIZE}
    for conditional, channels in ((True, 5), (False, 2)):
        made = adversary(conditional=conditional)(**sizes)
        assert made.network.layers[0][0].in_channels == channels
        made.accuracy(*torch.rand(2, 1, 2, SIZE, SIZE), torch.rand(1, 3, SIZE, SIZE))
