"""restore.load: any image in, the same kind out, and what a task itself would have said."""

import copy
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from entry import ROOT
from PIL import Image
from small_models import MODELS, write_model
from torch import Tensor

import restore
from restore.chain import estimate_sigma
from restore.diffusion.guidance import Guidance
from restore.diffusion.walk import Step
from restore.image import lab_from_rgb
from restore.tiling import in_whole
from restore.types import InputError, Observation


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, restore.Model]:
    folder = tmp_path_factory.mktemp("models")
    return {
        name: restore.load(write_model(name, folder), device="cpu", precision="32-true")
        for name in MODELS
    }


def photo(height: int = 24, width: int = 32, channels: int = 3) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)


def hole_in(image: np.ndarray) -> np.ndarray:
    hole = np.zeros(image.shape[:2], dtype=bool)
    hole[5:12, 7:20] = True
    return hole


def inside(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1


def observed(image: Tensor, **more: Any) -> Observation:
    index = torch.zeros(len(image), dtype=torch.int64)
    return Observation(input=image, index=index, name=[""], **more)


def test_importing_restore_is_instant() -> None:
    code = (
        "import sys, restore; assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "sys.modules['torch'] = None  # refused, since loading it takes seconds\n"
        "try: restore.load\n"
        "except ModuleNotFoundError as error: assert error.name == 'torch'\n"
        "else: raise AssertionError('not loaded where it is needed')"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    with pytest.raises(AttributeError, match="'lod'"):
        restore.lod  # noqa: B018


def test_a_denoiser_is_its_task(models: dict[str, restore.Model]) -> None:
    model, image = models["denoiser"], photo()
    sigma = torch.tensor([25 / 127.5])
    with torch.no_grad():
        wanted = model.task.restore(observed(inside(image), sigma=sigma))[0, 0]
    pixels = ((wanted + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    assert np.array_equal(model(image, sigma=25), pixels)
    assert not np.array_equal(model(image, sigma=50), pixels)
    floats = model(torch.from_numpy(image).permute(2, 0, 1) / 255, sigma=25)
    assert torch.allclose(floats, ((wanted + 1) / 2).clamp(0, 1), atol=1e-5)
    assert wanted.abs().max() > 1 and 0 <= floats.min() < floats.max() <= 1


def forms(image: np.ndarray) -> dict[str, Any]:
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    grey = image[..., 0]
    return {
        "rgb": Image.fromarray(image),
        "l": Image.fromarray(grey),
        "i16": Image.fromarray(grey.astype(np.uint16) * 257),
        "numpy": image,
        "numpy_grey": grey,
        "numpy_one": grey[..., None],
        "numpy_batch": np.stack([image, image[::-1]]),
        "numpy_float": image / 255,
        "numpy_uint16": image.astype(np.uint16) * 257,
        "numpy_big_endian": (image.astype(np.uint16) * 257).astype(">u2"),
        "torch": tensor,
        "torch_grey": tensor[0],
        "torch_batch": torch.stack([tensor, tensor.flip(1)]),
        "torch_float": tensor / 255,
        "torch_half": (tensor / 255).half(),
        "torch_double": tensor.double() / 255,
    }


@pytest.mark.parametrize("form", forms(photo()))
def test_the_kind_that_goes_in_comes_out_and_what_is_known_bit_for_bit(
    models: dict[str, restore.Model], form: str
) -> None:
    image = photo()
    given, hole = forms(image)[form], hole_in(image)
    made = models["inpainter"](given, hole)
    assert type(made) is type(given)
    old, new = (np.asarray(one.double() if form == "torch_half" else one) for one in (given, made))
    assert new.shape == old.shape and getattr(made, "dtype", 0) == getattr(given, "dtype", 0)
    if isinstance(given, Image.Image):
        assert isinstance(made, Image.Image) and made.mode == given.mode
    axis = {"torch": (-2, -1)}.get(form.partition("_")[0])
    at = (..., hole) if axis or old.ndim == 2 else ((..., hole, slice(None)))
    known = (..., ~hole) if axis or old.ndim == 2 else ((..., ~hole, slice(None)))
    assert np.array_equal(new[known], old[known]) and not np.array_equal(new[at], old[at])


def test_a_pil_image_keeps_the_profile_of_its_numbers(
    models: dict[str, restore.Model], tmp_path: Path
) -> None:
    """Pillow saves it with the file, without which wide colours would be taken for sRGB."""
    inks, image = Image.new("CMYK", (32, 24)), Image.fromarray(photo())
    inks.info["icc_profile"] = image.info["icc_profile"] = b"wide"
    models["denoiser"](image, sigma=25).save(tmp_path / "made.png")
    with Image.open(tmp_path / "made.png") as made:
        assert made.info["icc_profile"] == b"wide"
    assert models["inpainter"](image, hole_in(photo())).info["icc_profile"] == b"wide"
    for other in (models["denoiser"](inks, sigma=25), models["colorizer"](image)):
        assert "icc_profile" not in other.info


def test_hole_of_every_kind(models: dict[str, restore.Model]) -> None:
    image = photo()
    hole = hole_in(image)
    wanted = models["inpainter"](image, hole)
    white = hole.astype(np.uint8) * 255
    for other in (
        white,
        hole.astype(np.uint8),
        hole.astype(np.float32),
        Image.fromarray(white),
        Image.fromarray(hole),
        Image.fromarray(white.astype(np.uint16) * 257),
        torch.from_numpy(hole),
        torch.from_numpy(white)[None],
    ):
        assert np.array_equal(models["inpainter"](image, other), wanted)
    assert np.array_equal(models["inpainter"](image, 0 * white), image)
    with pytest.raises(InputError, match="20x24 px, the image 32x24 px"):
        models["inpainter"](image, white[:, :20])


def test_a_colorizer_sees_lightness_and_keeps_it(models: dict[str, restore.Model]) -> None:
    image = photo()
    lightness = lab_from_rgb(inside(image))[:, :1]
    model = models["colorizer"]
    with torch.no_grad():
        wanted = model.task.restore(observed(lightness))[0, 0]
    made = model(Image.fromarray(image))
    assert made.mode == "RGB"
    assert torch.allclose(inside(np.asarray(made))[0], wanted.clamp(-1, 1), atol=1.01 / 255)
    grey = np.repeat(image[..., :1], 3, -1)
    assert np.array_equal(model(grey), model(grey[..., 0]))
    assert model(Image.fromarray(grey[..., 0].astype(np.uint16) * 257)).mode == "RGB"


def test_grey_models_take_grey_images_in_any_channels(models: dict[str, restore.Model]) -> None:
    grey = photo(channels=1)
    model = models["grey_denoiser"]
    wanted = model(grey, sigma=10)
    assert np.array_equal(model(np.repeat(grey, 3, -1), sigma=10), np.repeat(wanted, 3, -1))
    with pytest.raises(InputError, match="grey_denoiser restores grey images"):
        model(photo(), sigma=10)


def test_samples_are_drawn_by_seed_and_alike_in_every_company(
    models: dict[str, restore.Model],
) -> None:
    image = photo(22, 30)  # no multiples of the network's factor
    hole = hole_in(image)
    model = models["prior"]
    seen: list[Any] = []
    first, second = model(image, hole, num_samples=2, seed=3, callback=seen.append)
    assert not np.array_equal(first, second) and len(seen) == model.task.num_calls == 6
    assert np.allclose(model(image, hole, seed=3).astype(float), first, atol=1)
    assert not np.array_equal(model(image, hole, seed=4), first)
    both = model(np.stack([image[::-1], image]), np.stack([hole[::-1], hole])[..., None], seed=3)
    assert np.allclose(both[1].astype(float), first, atol=1)
    steps: list[Any] = []
    model(image, hole, steps=3, callback=steps.append)
    assert steps[-1].total < 6 and model.task.num_calls == 6
    assert steps[-1].x0.shape == (1, 3, 22, 30)


def test_a_callback_sees_the_whole_of_an_image_that_is_changed_in_places(
    models: dict[str, restore.Model],
) -> None:
    model = restore.Model(models["prior"].task, "prior", side=32)
    image, hole = photo(200, 180), np.zeros((200, 180), dtype=bool)
    hole[100:104, 90:96] = True
    seen: list[Any] = []
    made = model(image, hole, callback=seen.append, num_samples=2)[1]
    last = inside(image).expand(2, -1, -1, -1).clone()
    assert seen[-1].x0.shape == last.shape and seen[-1].total > 1
    torch.testing.assert_close(seen[-1].x0[..., :30, :], last[..., :30, :])  # beyond the context
    drawn = ((seen[-1].x0[1].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()
    assert np.array_equal(drawn[hole], made[hole])


def test_editing_starts_from_the_image(models: dict[str, restore.Model]) -> None:
    """In the hole, or in all of the image where there is none; without strength it is unseen."""
    model, image = models["prior"], photo()
    hole = hole_in(image)
    other = np.where(hole[..., None], 255 - image, image)
    assert np.array_equal(model(image, hole), model(other, hole))
    one, two = (model(given, hole, strength=0.5) for given in (image, other))
    assert not np.array_equal(one[hole], two[hole])
    assert np.array_equal(one[~hole], image[~hole])
    whole = observed(inside(image), hole=torch.ones(1, 1, *image.shape[:2]))
    with torch.no_grad():
        wanted = model.task.restore(whole, seed=0, start=0.5)[0, 0]
    eight = ((wanted.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0)
    assert np.array_equal(model(image, strength=0.5), eight.numpy())


@dataclass(frozen=True)
class Brighter(Guidance):
    """A guidance whose predictions are its weight."""

    weight: float = 0.0

    def check(self, observation: Observation) -> None: ...

    def guide(self, denoise: Any, observation: Observation) -> Any:
        return lambda x, t: denoise(x, t)._replace(x0=torch.full_like(x, self.weight))


def test_the_weight_of_a_guidance_is_a_setting(tmp_path: Path) -> None:
    model = restore.load(write_model("sketcher", tmp_path), device="cpu", precision="32-true")
    image = photo()
    assert not model.has_guidance
    with pytest.raises(InputError, match=r"guidance=0.5: sketcher has none with a weight"):
        model(image, strength=0.5, guidance=0.5)
    model.task.guidance = Brighter()
    assert model.has_guidance
    assert (model(image, strength=0.5, guidance=1.0) == 255).all()
    assert (model(image, strength=0.5) == 128).all() and model.task.guidance == Brighter()


def test_a_small_strength_keeps_the_image(models: dict[str, restore.Model]) -> None:
    image = photo() // 2 + 64
    model = models["sketcher"]
    seen: list[Any] = []
    model(image, strength=0.5, callback=seen.append)
    assert [step.t for step in seen] == [0.5, 0.25]


@pytest.mark.parametrize("name", ["denoiser", "inpainter", "colorizer", "prior"])
def test_large_images_are_seen_in_pieces(models: dict[str, restore.Model], name: str) -> None:
    """Of a model with side=64 an image of 150 x 90 px; nothing else about it changes."""
    model = restore.Model(models[name].task, name, side=64)
    image = photo(150, 90) // 8 + 100
    hole = np.zeros((150, 90), dtype=bool)
    hole[20:130, 30:50] = True
    seen: list[int] = []
    watch = model.task.network.register_forward_hook(
        lambda network, given, out: seen.append(max(given[0].shape[-2:]))
    )
    try:
        made = model(image, hole if model.fills_holes else None, 9 if model.needs_sigma else None)
    finally:
        watch.remove()
    limit = 2 * 64 if name == "colorizer" else 64 + 160
    assert made.shape == image.shape and seen and max(seen) <= limit
    if model.fills_holes:
        assert np.array_equal(made[~hole], image[~hole])
    else:
        assert model.task.network is models[name].task.network


def test_a_grey_image_gets_the_luma_of_a_coloured_result(models: dict[str, restore.Model]) -> None:
    """ITU-R 601, as Pillow has it, in whole levels."""
    colored = photo()
    made = models["blind"]._as_given(torch.from_numpy(colored).permute(2, 0, 1)[None].float(), 1)
    grey = np.asarray(Image.fromarray(colored).convert("L"))
    np.testing.assert_allclose(made[0, 0], grey, atol=0.51)


def test_the_ends_of_levels_and_strengths(models: dict[str, restore.Model]) -> None:
    for sigma in (0.0, 255.0):
        models["denoiser"].check(sigma=sigma)
    models["prior"].check(hole=True, strength=1.0)
    for name, bad in (
        ("denoiser", {"sigma": -0.1}),
        ("denoiser", {"sigma": 255.1}),
        ("prior", {"hole": True, "strength": 0.0}),
        ("prior", {"hole": True, "strength": 1.1}),
    ):
        with pytest.raises(InputError, match="must be"):
            models[name].check(**bad)


@pytest.mark.parametrize("level", [10.0, 50.0])
def test_the_noise_of_a_photo_is_estimated_in_levels_of_255(level: float) -> None:
    noise = np.random.default_rng(0).normal(128, level, (80, 90, 3))
    eight = noise.clip(0, 255).round().astype(np.uint8)
    found = estimate_sigma(eight)
    assert found == pytest.approx(level, rel=0.1)
    assert estimate_sigma(eight.astype(np.uint16) * 257) == pytest.approx(found)


@pytest.mark.parametrize(("height", "width"), [(24, 300), (300, 24)])
def test_a_long_image_is_large(models: dict[str, restore.Model], height: int, width: int) -> None:
    model, seen = restore.Model(models["blind"].task, "blind", side=64), list[int]()
    watch = model.task.network.register_forward_pre_hook(
        lambda network, given: seen.append(max(given[0].shape[-2:]))
    )
    try:
        model(photo(height, width))
    finally:
        watch.remove()
    assert len(seen) > 1 and max(seen) < 300


def test_a_callback_sees_each_sample_in_its_own_image() -> None:
    """Samples of an image stand in a row: two of the first, then two of the second."""
    images = torch.stack([torch.full((1, 4, 4), 0.25), torch.full((1, 4, 4), 0.75)])
    made, seen = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2), list[Step]()
    in_whole(seen.append, images, 2, (slice(1, 3), slice(2, 4)))(Step(1, 1, 0.5, made, -made))
    for k, value in enumerate((0.25, 0.25, 0.75, 0.75)):
        expected = torch.full((4, 4), value)
        expected[1:3, 2:4] = k
        assert torch.equal(seen[0].x[k, 0], expected)
        expected[1:3, 2:4] = -k
        assert torch.equal(seen[0].x0[k, 0], expected)


def test_only_what_is_around_a_hole_is_seen(models: dict[str, restore.Model]) -> None:
    model = restore.Model(models["inpainter"].task, "", side=64)
    image = photo(300, 200)
    hole = np.zeros((300, 200), dtype=bool)
    hole[200:210, 100:110] = True
    seen: list[tuple[int, ...]] = []
    watch = model.task.network.register_forward_hook(
        lambda network, given, out: seen.append(tuple(given[0].shape[-2:]))
    )
    try:
        made, whole = model(image, hole), restore.Model(model.task, "", side=512)(image, hole)
    finally:
        watch.remove()
    assert max(max(shape) for shape in seen[:-1]) <= 2 * 69 and seen[-1] == (300, 200)
    assert np.array_equal(made[~hole], image[~hole])
    assert np.allclose(made.astype(float), whole, atol=2)  # the fill looks no farther


def test_large_images_with_holes_of_their_own_know_no_neighbours(
    models: dict[str, restore.Model],
) -> None:
    model = restore.Model(models["inpainter"].task, "", side=64)
    images = np.stack([photo(150, 90), 255 - photo(150, 90)])
    holes = np.zeros((2, 150, 90, 1), dtype=bool)
    holes[0, 10:20, 10:20] = holes[1, 130:140, 70:80] = True
    alone = [model(image, hole[..., 0]) for image, hole in zip(images, holes, strict=True)]
    assert np.abs(model(images, holes).astype(int) - np.stack(alone)).max() <= 1  # rounding
    sketcher = restore.Model(models["sketcher"].task, "", side=64)
    soft = holes.astype(np.float32)
    drawn = [
        sketcher(image, strength_map=one[..., 0]) for image, one in zip(images, soft, strict=True)
    ]
    made = sketcher(images, strength_map=soft).astype(int)
    assert np.abs(made - np.stack(drawn)).max() <= 1


def test_threads_take_turns_at_a_model(
    models: dict[str, restore.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps, views and tiles replace parts of the one network while a call lasts."""
    model = restore.Model(models["blind"].task, "")
    running, most = 0, 0
    own = model.task.restore

    def counted(*given: Any, **named: Any) -> Tensor:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.05)
        running -= 1
        return own(*given, **named)

    monkeypatch.setattr(model.task, "restore", counted)
    wanted = model(photo())
    with ThreadPoolExecutor(3) as threads:
        views = [threads.submit(model, photo(), self_ensemble=one) for one in (True, False, False)]
        made = [one.result() for one in views]
    assert most == 1 and np.array_equal(made[1], wanted) and np.array_equal(made[2], wanted)
    monkeypatch.undo()
    again = copy.deepcopy(model)  # has a turn of its own
    with model._turn:
        assert np.array_equal(ThreadPoolExecutor(1).submit(again, photo()).result(5), wanted)


REFUSED = [
    ("denoiser", {}, "denoiser needs the noise level: give sigma"),
    ("denoiser", {"sigma": -1}, "sigma=-1 must be from 0 to 255"),
    ("denoiser", {"sigma": 5, "hole": True}, "denoiser fills no holes"),
    ("denoiser", {"sigma": 5, "strength": 0.5}, "strength=0.5: denoiser has no sampler"),
    ("denoiser", {"sigma": 5, "steps": 5}, "steps=5: denoiser has no sampler"),
    ("blind", {"sigma": 5}, "blind looks at no noise level"),
    ("inpainter", {}, "inpainter fills holes: give a mask that is white where it is to fill$"),
    ("colorizer", {"hole": True}, "colorizer fills no holes"),
    ("prior", {}, "prior fills holes: give a mask .*, or a strength"),
    ("prior", {"hole": True, "strength": 1.5}, "strength=1.5 must be above 0"),
    ("prior", {"hole": True, "num_samples": 0}, "num_samples=0 must be at least 1"),
    ("prior", {"hole": True, "steps": 2000}, "steps=2000: "),
    ("prior", {"hole": True, "steps": 2}, r"steps=2: .*must be at least 3,.* got 2"),
    ("prior", {"strength": 0.01, "steps": 5}, "steps=5, strength=0.01: .* least 0.2, or take more"),
    ("prior", {"hole": True, "steps": 12.5}, "steps=12.5 must be a whole number"),
    ("prior", {"hole": True, "num_samples": 2.0}, "num_samples=2.0 must be a whole number"),
    ("prior", {"hole": True, "num_samples": True}, "num_samples=True must be a whole number"),
    ("prior", {"hole": True, "strength": "0.5"}, "strength='0.5' must be a number"),
    ("denoiser", {"sigma": "25"}, "sigma='25' must be a number"),
    ("sketcher", {}, "give a strength"),
    ("filler", {}, "filler fills holes: give a mask"),
    ("painter", {"hole": True}, "painter fills no holes"),
    ("cleaner", {"hole": True}, "cleaner fills no holes"),
]


def test_noise_levels_of_several_images_are_a_list_or_an_array(
    models: dict[str, restore.Model],
) -> None:
    denoiser, images = models["denoiser"], np.stack([photo(), photo()])
    wanted = denoiser(images, sigma=[10.0, 40.0])
    assert not np.array_equal(wanted[0], wanted[1])
    for levels in (np.array([10.0, 40.0]), torch.tensor([10.0, 40.0])):
        assert np.array_equal(denoiser(images, sigma=levels), wanted)
    with pytest.raises(InputError, match="needs the noise level"):
        denoiser(images, sigma=[])


@pytest.mark.parametrize("seed", [1.5, "a", 2**64])
def test_seeds_are_whole_numbers(models: dict[str, restore.Model], seed: Any) -> None:
    image = photo()
    with pytest.raises(InputError, match=f"seed={seed} must be a whole number"):
        models["prior"](image, hole_in(image), seed=seed)


def test_a_conditional_diffusion_is_what_it_was_shown(models: dict[str, restore.Model]) -> None:
    """Whether it fills, colorizes or cleans is asked of the task; none needs a strength."""
    image = photo()
    hole = hole_in(image)
    filled = models["filler"](image, hole=hole)
    assert np.array_equal(filled[~hole], image[~hole])
    assert not np.array_equal(filled[hole], image[hole])
    assert models["filler"].fills_holes and not models["filler"].colorizes
    grey = photo(channels=1)[..., 0]
    assert models["painter"].colorizes and models["painter"](grey).shape == (24, 32, 3)
    cleaned = models["cleaner"](image)
    assert cleaned.shape == image.shape and not np.array_equal(cleaned, image)


@pytest.mark.parametrize(("name", "settings", "says"), REFUSED, ids=str)
def test_settings_are_refused_before_an_image_is_read(
    models: dict[str, restore.Model], name: str, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        models[name].check(**settings)
    if settings.get("hole"):
        settings = {**settings, "hole": hole_in(photo())}
    with pytest.raises(InputError, match=says):
        models[name](photo(), **settings)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("a.png", "type str is not read"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \[4, 4, 2\]"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.full((4, 4), 200.0), "from 200 to 200"),
        (np.full((4, 4), "a"), "is not read: give uint8"),
        pytest.param(Image.new("I", (4, 4)), "PIL image of mode I is not read", id="mode I"),
        pytest.param(Image.new("F", (4, 4)), "PIL image of mode F is not read", id="mode F"),
        (np.full((4, 4), np.nan), "from nan"),
        (torch.zeros(0, 4), r"shape \[0, 4\]"),
    ],
    ids=str,
)
def test_images_are_refused(models: dict[str, restore.Model], image: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        models["blind"](image)


def test_a_model_is_float32_whatever_the_default_dtype(
    tmp_path: Path, models: dict[str, restore.Model]
) -> None:
    image = photo()
    path = write_model("denoiser", tmp_path)
    torch.set_default_dtype(torch.float64)
    try:
        made = restore.load(path, device="cpu")(image, sigma=25)
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(made, models["denoiser"](image, sigma=25))


def test_load_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        restore.load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"best\.ckpt does not exist"):
        restore.load(tmp_path)
    run = write_model("blind", tmp_path)
    assert restore.load(run / "checkpoints" / "best.ckpt").name == "blind"
    for device in ("nowhere", "", "hpu", "cuda:99", 99, -1, 1.5):
        with pytest.raises(InputError, match=f"^device={device} cannot be used: .") as refused:
            restore.load(run, device=device)  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
    model = restore.load(run, device="cpu")
    with pytest.raises(InputError):
        model.to("cuda:99")
    assert model.device == torch.device("cpu")  # where its weights are


@pytest.mark.parametrize(
    ("name", "wanted", "best", "precision"),
    [
        ("prior", "auto", "bf16-mixed", "bf16-mixed"),
        ("prior", "auto", "16-mixed", "32-true"),
        ("prior", "auto", "32-true", "32-true"),
        ("prior", "bf16-mixed", "32-true", "bf16-mixed"),
        ("prior", "32-true", "bf16-mixed", "32-true"),
        ("inpainter", "auto", "bf16-mixed", "32-true"),
        ("inpainter", "bf16-mixed", "32-true", "bf16-mixed"),
    ],
)
def test_samplers_compute_in_bfloat16_where_a_device_has_it(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    wanted: str,
    best: str,
    precision: str,
) -> None:
    monkeypatch.setattr("restore.api.choose", lambda device: (best, ""))
    model = restore.load(write_model(name, tmp_path), device="cpu", precision=wanted)
    exact = restore.load(tmp_path / name, device="cpu", precision="32-true")
    assert model.precision == precision
    seen: set[torch.dtype] = set()
    tf32: set[bool] = set()

    def look(layer: torch.nn.Module, given: Any, made: Tensor) -> None:
        seen.add(made.dtype)
        tf32.add(torch.backends.cudnn.allow_tf32)

    for layer in model.task.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(look)
    image = photo()
    hole = hole_in(image)
    made, whole = model(image, hole), exact(image, hole)
    assert seen == {torch.bfloat16 if precision == "bf16-mixed" else torch.float32}
    assert tf32 == {precision == "bf16-mixed"}
    assert np.array_equal(made[~hole], image[~hole])
    assert np.abs(made.astype(int) - whole).max() <= 8  # grey levels: bfloat16 has 8 bits


def test_other_precisions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision=half: use auto, 32-true, bf16-mixed"):
        restore.load(write_model("prior", tmp_path), device="cpu", precision="half")


class Quartering(torch.nn.Conv2d):
    """Takes multiples of four alone."""

    def __init__(self) -> None:
        super().__init__(3, 3, 4, stride=4)

    def forward(self, image: Tensor, sigma: Tensor | None = None) -> Tensor:
        small = super().forward(image)
        return image + torch.nn.functional.interpolate(small, scale_factor=4.0)


@pytest.mark.parametrize("side", [512, 16])  # in one go, and in tiles
def test_a_network_of_ones_own_has_to_take_any_size(
    side: int, models: dict[str, restore.Model]
) -> None:
    model = copy.deepcopy(models["blind"])
    model.task.network, model.side = Quartering(), side
    assert model(photo(32, 32)).shape == (32, 32, 3)
    with pytest.raises(InputError, match=r"Quartering does not take images of 35x33 px \(fails: "):
        model(photo(33, 35))
