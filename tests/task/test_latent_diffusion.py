"""Diffusion among latents: what it learns from, what it restores, what its checkpoint holds."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from latents import ADAM, SIZE, facts, lossless, write, write_autoencoder
from PIL import Image
from test_diffusion_by_hand import Recorder
from torch import Tensor
from torch.nn import functional as F

from restore import bundle, checkpoint, zoo
from restore.build import build, restored
from restore.data.terms import NON_COMMERCIAL, OPEN, learnt_from, licence
from restore.diffusion.classifier_free import ClassifierFree
from restore.diffusion.condition import Condition
from restore.diffusion.guidance import Replacement
from restore.diffusion.repaint import RePaint
from restore.diffusion.sampler import Sampling, ddim
from restore.diffusion.schedule import Cosine
from restore.diffusion.walk import Step
from restore.network.push_pull import push_pull
from restore.network.unet import UNet
from restore.predict import PredictionSettings, predict
from restore.task.codec import Codec
from restore.task.diffusion import Diffusion
from restore.training.initial import coded, start
from restore.types import Batch, Facts, InputError

GREY = facts(1, has_hole=True)
DDIM, REPAINT = Sampling(ddim, 4), RePaint(4, 2, 2)
CFG = ClassifierFree(2.0)
TINY = partial(UNet, width=4, multipliers=(1, 2), num_blocks=1, attention=(), head_size=4)


def tiny(codec: Codec, known: Facts = GREY, network: Any = TINY, **settings: Any) -> Diffusion:
    torch.manual_seed(0)
    settings = {"sampler": DDIM, "condition": Condition(), "schedule": Cosine(), **settings}
    sgd = partial(torch.optim.SGD, lr=0.1)
    task = Diffusion(known, network, codec=codec, optimizer=sgd, **settings)
    with torch.no_grad():
        for parameter in task.network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return task.eval()


def batch(channels: int = 1, size: int = SIZE) -> Batch:
    target = torch.rand(3, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    hole = torch.zeros(3, 1, size, size)
    hole[..., 3:] = 1
    index = torch.arange(3)
    given = target * (1 - hole)
    return Batch(target=target, input=given, hole=hole, index=index, name=["a", "b", "c"])


def test_latents_have_mean_0_and_deviation_1_by_what_was_measured() -> None:
    codec, image = lossless(), batch()["target"]
    latents = codec.encode(image)
    torch.testing.assert_close(latents, (F.pixel_unshuffle(image, 2) - 0.25) / 0.5)
    torch.testing.assert_close(codec.decode(latents), image)


def test_a_training_of_the_prior_changes_nothing_of_the_codec() -> None:
    """A network of somebody's own may normalise over the batch, and learn running statistics."""
    codec, image = lossless(), batch()["target"]
    codec.network.add_module("norm", torch.nn.BatchNorm2d(1))
    own = codec.network.encode
    codec.network.encode = lambda seen: own(codec.network.norm(seen))  # type: ignore[assignment]
    task, before = tiny(codec), codec.encode(image)
    task.train()
    task.losses(batch(), 0)
    assert task.network.training
    torch.testing.assert_close(codec.encode(image[:1]), before[:1])


def test_a_line_of_one_pixel_stays_in_the_reduced_hole() -> None:
    """By a loop over latents: one belongs to the hole where any of its pixels does."""
    codec, data = lossless(), batch()
    hole = torch.zeros(3, 1, SIZE, SIZE)
    hole[0, 0, 5] = 1
    hole[1, 0, range(SIZE), range(SIZE)] = 1
    seen = codec.observed({**data, "hole": hole})["hole"]
    for b in range(3):
        for row in range(SIZE // 2):
            for column in range(SIZE // 2):
                block = hole[b, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                assert seen[b, 0, row, column] == float(block.max())
    assert seen[0].sum() == 4 and seen[1].sum() == 4 and seen[2].sum() == 0


def test_holes_are_filled_before_and_operators_stay_outside() -> None:
    codec, data = lossless(), batch()
    given: Any = {**data, "operator": object(), "label": torch.arange(3)}
    seen = codec.observed(given)
    expected = codec.encode(push_pull(data["input"], data["hole"]))
    torch.testing.assert_close(seen["input"], expected)
    assert seen.keys() == {"input", "hole", "index", "name", "label"}


def test_lightness_is_encoded_as_a_grey_image() -> None:
    torch.manual_seed(0)
    codec = Codec(network=partial(build_kl, 3), image_channels=3)
    codec.latent_std.fill_(1)
    grey = torch.rand(2, 1, 8, 8)
    assert torch.equal(codec.encode(grey), codec.encode(grey.expand(-1, 3, -1, -1)))
    assert codec.encode(grey).shape == (2, 4, 4, 4)


def build_kl(channels: int, image_channels: int) -> Any:
    from restore.network.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(image_channels, width=4, multipliers=(1, 2))


def test_training_sees_latents_and_a_perfect_network_has_no_loss() -> None:
    data, schedule = batch(), Cosine()
    task = tiny(lossless(), network=Recorder, min_snr_gamma=None, parameterization="eps")
    shown: Any = task.network
    x_0 = (F.pixel_unshuffle(data["target"], 2) - 0.25) / 0.5

    def answer(seen: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = (level.view(-1, 1, 1, 1) for level in schedule(t.double()))
        return ((seen[:, :4].double() - alpha * x_0) / sigma).float()

    shown.answer = answer
    assert task.losses(data, 0)["denoising"].item() < 1e-7
    task.losses(data, None)
    observed = lossless().observed(data)
    known = observed["input"] * (1 - observed["hole"])
    torch.testing.assert_close(shown.x[:, 4:8].float(), known)
    assert torch.equal(shown.x[:, 8:].float(), observed["hole"])


@pytest.mark.parametrize(
    ("settings", "samples"),
    [
        ({}, 2),
        ({"guidance": CFG}, 2),
        ({"condition": None, "guidance": Replacement()}, 2),
        ({"condition": None, "sampler": REPAINT}, 1),
    ],
    ids=["conditional", "cfg", "blended", "repaint"],
)
def test_known_pixels_are_bit_equal(settings: dict[str, Any], samples: int) -> None:
    """With a codec that loses much, and a hole that cuts through its blocks."""
    torch.manual_seed(1)
    codec = Codec(network=partial(build_kl, 3), image_channels=3)
    codec.latent_std.fill_(0.5)
    data, task = batch(3, size=10), tiny(codec, facts(3, has_hole=True), **settings)
    made = task.restore(data, samples)  # 10 px: padded to what codec and network halve
    assert made.shape == (3, samples, 3, 10, 10) and made.isfinite().all()
    for n in range(samples):
        assert torch.equal(made[:, n, ..., :3], data["target"][..., :3])
        assert (made[:, n, ..., 3:] != 0).all()


def test_blended_latents_are_put_back_at_every_step() -> None:
    data, steps = batch(), list[Step]()
    data["hole"][..., 3] = 0  # whole blocks
    data["input"] = data["target"] * (1 - data["hole"])
    task = tiny(lossless(), condition=None, guidance=Replacement())
    task.restore(data, callback=steps.append)
    assert [step.number for step in steps] == [1, 2, 3, 4]
    for step in steps:  # what a callback is shown are images
        torch.testing.assert_close(step.x0[..., :4], data["target"][..., :4])
        assert step.x0.shape == data["target"].shape


def test_latents_have_no_bounds() -> None:
    task = tiny(lossless(), network=Recorder, parameterization="x0")
    shown: Any = task.network
    shown.answer = lambda x, t: torch.full_like(x[:, :4], 3.0)
    predicted = task.predictor()(torch.zeros(1, 4, 4, 4), torch.full((1,), 0.5))
    assert predicted.x0.unique().tolist() == [3.0]


def test_the_codec_is_frozen() -> None:
    codec = Codec(network=partial(build_kl, 3), image_channels=3)
    codec.latent_std.fill_(1)
    task, data = tiny(codec, facts(3, has_hole=True)), batch(3)
    assert not any(parameter.requires_grad for parameter in codec.parameters())  # DDP waits for it
    before = [parameter.clone() for parameter in codec.parameters()]
    torch.stack(list(task.losses(data, 0).values())).sum().backward()
    assert all(parameter.grad is None for parameter in codec.parameters())
    taught = {id(p) for group in task.configure_optimizers().param_groups for p in group["params"]}
    assert not taught & {id(p) for p in codec.parameters()}
    assert all(torch.equal(a, b) for a, b in zip(before, codec.parameters(), strict=True))


def test_new_images_are_decoded() -> None:
    images = tiny(lossless()).generate(torch.tensor([1, 2]), (SIZE, SIZE))
    assert images.shape == (2, 1, SIZE, SIZE)


def node(path: Path, **changes: Any) -> dict[str, Any]:
    return {
        "_target_": "restore.task.diffusion.Diffusion",
        "network": {
            "_target_": "restore.network.unet.UNet",
            "_partial_": True,
            "width": 4,
            "multipliers": [1, 1],
            "num_blocks": 1,
            "attention": [],
        },
        "schedule": {"_target_": "restore.diffusion.schedule.Cosine"},
        "sampler": {
            "_target_": "restore.diffusion.sampler.Sampling",
            "num_steps": 3,
            "method": {"_target_": "restore.diffusion.sampler.ddim", "_partial_": True},
        },
        "condition": {"_target_": "restore.diffusion.condition.Condition"},
        "codec": {"_target_": "restore.task.codec.Codec", "path": str(path)},
        "optimizer": ADAM,
        **changes,
    }


def test_a_checkpoint_needs_no_other_file(tmp_path: Path) -> None:
    """The autoencoder is gone when the checkpoint of the diffusion is read and used."""
    known, source = facts(3, has_hole=True), write_autoencoder(tmp_path / "autoencoder")
    config = node(source)
    task = build(config, "task", facts=known).eval()
    stored = task.contained(config)
    assert str(tmp_path) not in str(stored) and stored["codec"]["image_channels"] == 3
    path = write(tmp_path / "latent", stored, task, known)
    with torch.no_grad():
        expected = task.restore(batch(3))
    shutil.rmtree(source)
    again = restored(checkpoint.read(path))
    assert again.contained(stored) == stored
    assert torch.equal(again.codec.latent_std, torch.full((4,), 0.5))
    with torch.no_grad():
        assert torch.equal(again.restore(batch(3)), expected)


def test_the_averaged_weights_of_an_autoencoder_are_its_codec(tmp_path: Path) -> None:
    source = write_autoencoder(tmp_path / "run")
    content = checkpoint.read(source / "checkpoints" / "best.ckpt")
    prefix = "network."
    weights = {
        name.removeprefix(prefix): torch.full_like(value, 0.01)
        for name, value in content["state_dict"].items()
        if name.startswith(prefix)
    }
    content["ema"] = {"updates": 1, "weights": weights}
    checkpoint.write(content, source / "checkpoints" / "best.ckpt")
    codec = Codec(str(source))
    assert all((parameter == 0.01).all() for parameter in codec.network.parameters())


def test_a_codec_and_its_diffusion_go_into_bundles(tmp_path: Path) -> None:
    """Without files of either training, and with the same results."""
    known, source = facts(3, has_hole=True), write_autoencoder(tmp_path / "autoencoder")
    content = checkpoint.read(source / "checkpoints" / "best.ckpt")
    (tmp_path / "codec").mkdir()
    bundle.write(content, tmp_path / "codec", {})
    config = node(tmp_path / "codec")
    task = build(config, "task", facts=known).eval()
    path = write(tmp_path / "latent", task.contained(config), task, known)
    (tmp_path / "model").mkdir()
    bundle.write(checkpoint.read(path), tmp_path / "model", {})
    shutil.rmtree(tmp_path / "codec")
    again = restored(zoo.read(tmp_path / "model").content)
    with torch.no_grad():
        assert torch.equal(again.restore(batch(3)), task.restore(batch(3)))


def test_a_bundle_tells_whose_data_its_codec_saw(tmp_path: Path) -> None:
    """Weights of the autoencoder go along: what its data allow counts for them, too."""
    source = write_autoencoder(tmp_path / "autoencoder")
    content = checkpoint.read(source / "checkpoints" / "best.ckpt")
    seen = {"batch_size": 1, "source": {"_target_": "any", "folder": "bsds430/train"}}
    content["config"]["data"] = seen
    checkpoint.write(content, source / "checkpoints" / "best.ckpt")
    task = build(node(source), "task", facts=facts(3, has_hole=True))
    used = coded(task)
    assert used is not None and used["checkpoint"].startswith("best.ckpt@")
    own = {"batch_size": 1, "source": {"_target_": "restore.data.photos.Photos"}}
    config = {"task": task.contained(node(source)), "data": own, "seed": 0}
    path = write(tmp_path / "latent", config["task"], task, facts(3, has_hole=True))
    content = {**checkpoint.read(path), "config": config, "codec": used}
    (tmp_path / "model").mkdir()
    bundle.write(content, tmp_path / "model", {})
    data = learnt_from(zoo.read(tmp_path / "model").content)
    assert data.keys() == {"bsds430", "restore.data.photos.Photos"}
    assert licence(data) == NON_COMMERCIAL and licence(learnt_from({"config": config})) == OPEN
    assert coded(build(config["task"], "task", facts=facts(3, has_hole=True))) is None


def test_files_that_are_no_codec(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"task\.codec\.path is needed"):
        Codec()
    with pytest.raises(InputError, match="does not exist"):
        Codec(str(tmp_path / "nothing.ckpt"))
    with pytest.raises(InputError, match="never validated"):
        Codec(str(write_autoencoder(tmp_path / "unmeasured", std=0.0)))
    known = facts(3, has_hole=True)
    config = node(write_autoencoder(tmp_path / "autoencoder"))
    task = build(config, "task", facts=known)
    write(tmp_path / "latent", task.contained(config), task, known)
    with pytest.raises(InputError, match="holds a Diffusion: give an autoencoder"):
        Codec(str(tmp_path / "latent"))


@pytest.mark.parametrize("target", ["os.system", "mylab.network.Own"])
def test_a_codec_of_a_stranger_builds_nothing_of_its_own(tmp_path: Path, target: str) -> None:
    own = {"_target_": target, "_partial_": True}
    source = write_autoencoder(tmp_path / "run", network=own)
    with pytest.raises(InputError, match=r"os\.system|mylab"):
        Codec(str(source))


@pytest.mark.parametrize(
    ("known", "settings", "named"),
    [
        (facts(3, has_hole=True), {}, "images of 1 channels and the data has 3"),
        (facts(1, size=9), {}, "images of 9 px are not divisible by 2"),
        (facts(1, size=10), {}, "5x5 is not divisible by 2"),
        (GREY, {"learned_variance": True}, "levels of 8-bit images, and latents have none"),
    ],
)
def test_what_does_not_fit_is_said_before_work(
    known: Facts, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        tiny(lossless(), known, **settings).check()


def test_tiles_are_smaller_among_latents() -> None:
    task, data = tiny(lossless()), batch(size=32)
    with torch.no_grad(), task.within(16, data["hole"]):
        seen: list[int] = []
        task.network.network.register_forward_pre_hook(  # type: ignore[union-attr]
            lambda module, given: seen.append(max(given[0].shape[-2:]))
        )
        assert task.restore(data).shape == (3, 1, 1, 32, 32)
    assert max(seen) <= 16


@pytest.mark.parametrize("settings", [{}, {"condition": None, "sampler": REPAINT}])
def test_an_edit_starts_from_what_stands_in_the_hole(settings: dict[str, Any]) -> None:
    """An edit of all of an image is one hole with the image in it, where a model fills holes."""
    task, data = tiny(lossless(), **settings), batch()
    hole = torch.ones_like(data["hole"])
    begun = list[Tensor]()
    for image in (data["target"], -data["target"]):
        steps = list[Step]()
        task.restore({**data, "input": image, "hole": hole}, start=0.25, callback=steps.append)
        begun.append(steps[0].x)  # of equal noise
    alpha, _ = task.schedule(torch.tensor(0.25))
    torch.testing.assert_close(begun[0] - begun[1], alpha * 2 * data["target"])
    kept = torch.full_like(data["hole"], 0.1)  # below all times of the sampler but 0
    given: Any = {**data, "input": data["target"], "hole": hole}
    made = task.restore(given, strength_map=kept)
    torch.testing.assert_close(made[:, 0], data["target"])


def test_a_latent_changes_where_a_strength_map_has_any_of_its_pixels() -> None:
    task, data = tiny(lossless(), condition=None), batch()
    point, block = torch.zeros(3, 1, SIZE, SIZE), torch.zeros(3, 1, SIZE, SIZE)
    point[..., 3, 4] = 1
    block[..., 2:4, 4:6] = 1
    seen: Any = {key: data[key] for key in ("input", "index", "name")}  # type: ignore[literal-required]
    by_point, by_block = (task.restore(seen, strength_map=one) for one in (point, block))
    assert torch.equal(by_point[..., 3, 4], by_block[..., 3, 4])
    assert (by_point[..., 3, 4] != data["input"][:, None, ..., 3, 4]).all()


def test_pixels_of_strength_0_are_bit_equal_whatever_the_codec_loses() -> None:
    torch.manual_seed(1)
    codec = Codec(network=partial(build_kl, 3), image_channels=3)
    codec.latent_std.fill_(0.5)
    task, data = tiny(codec, facts(3), condition=None), batch(3)
    seen: Any = {key: data[key] for key in ("input", "index", "name")}
    strength = torch.zeros(3, 1, SIZE, SIZE)
    given = data["input"][:, None]
    assert torch.equal(task.restore(seen, strength_map=strength), given)
    strength[..., 3:] = 0.5  # cuts through a latent
    made = task.restore(seen, strength_map=strength)
    assert torch.equal(made[..., :3], given[..., :3]) and (made != given)[..., 3:].all()


def test_a_tile_is_drawn_where_the_last_row_alone_is_needed() -> None:
    task: Any = tiny(lossless())
    needed = torch.zeros(1, 1, 9, 8)
    needed[..., 8, 5] = 1
    with task.within(16, needed):
        found, sides = task.network.needed.nonzero().tolist(), (task.network.side, task.codec.side)
    assert found == [[0, 0, 4, 2]]
    assert sides == (8, 16)  # latents, and pixels


def test_a_codec_sees_large_images_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, sides = lossless(), list[int]()
    image = torch.rand(2, 1, 300, 404) * 2 - 1
    latents = codec.encode(image)
    assert torch.equal(codec.decode(latents), image)
    for name, scale in (("encode", 1), ("decode", 2)):
        own = getattr(codec.network, name)

        def watched(seen: torch.Tensor, own: Any = own, scale: int = scale) -> Any:
            sides.append(scale * max(seen.shape[-2:]))
            return own(seen)

        monkeypatch.setattr(codec.network, name, watched)
    with codec.within(200):
        assert torch.equal(codec.encode(image), latents)
        tiles = len(sides)
        assert torch.equal(codec.decode(latents), image)
    assert tiles > 4 and len(sides) == 2 * tiles and max(sides) <= 200
    codec.encode(image)
    assert sides[-1] == 404  # in one go again


def test_a_training_that_starts_from_another_keeps_the_codec_it_names(tmp_path: Path) -> None:
    known = facts(3, has_hole=True)
    own, other = write_autoencoder(tmp_path / "own"), write_autoencoder(tmp_path / "other", std=2.0)
    config = node(other)
    source = build(config, "task", facts=known)
    with torch.no_grad():
        for weight in source.network.parameters():
            weight.fill_(0.25)
    path = write(tmp_path / "latent", source.contained(config), source, known)
    task = build(node(own), "task", facts=known)
    began = start(task, {"path": str(path)})
    assert all((weight == 0.25).all() for weight in task.network.parameters())
    assert torch.equal(task.codec.latent_std, torch.full((4,), 0.5))
    assert began is not None and began.left_out == [
        "codec: that of task.codec.path counts, from which its own differs"
    ]
    again = start(build(config, "task", facts=known), {"path": str(path)})
    assert again is not None and again.left_out == []


def test_sizes_of_new_images_are_those_that_the_codec_and_the_network_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The codec halves once and the network once: sides are multiples of four."""
    known = facts(3)
    config = node(write_autoencoder(tmp_path / "ae"))
    config["network"]["multipliers"] = [1, 1]
    task = build(config, "task", facts=known)
    factor = task.codec.factor * task.network.factor
    assert (task.codec.factor, factor) == (2, 4)
    folder = write(tmp_path / "latent", task.contained(config), task, known)
    for size in (6, 10):
        with pytest.raises(InputError, match=f"--size {size} must be .* in multiples of 4"):
            predict([str(folder)], [], tmp_path / "o", PredictionSettings(size=str(size)))
    asked = PredictionSettings(size="12x8", num_samples=1)
    assert predict([str(folder)], [], tmp_path / "made", asked) == 0
    assert Image.open(tmp_path / "made" / "00000.png").size == (12, 8)
