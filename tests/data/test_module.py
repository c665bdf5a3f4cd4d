import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from restore.data.digits import Digits
from restore.data.folder import Folder
from restore.data.framing import CenterSquare, Framing, RandomPatch, Whole
from restore.data.module import DataModule
from restore.data.photos import Photos
from restore.data.source import Item, Split
from restore.degradation.gray import Gray
from restore.degradation.mask import Half, Mask, Strokes
from restore.degradation.noise import Gaussian
from restore.image import from_uint8
from restore.types import Batch, Facts, InputError


def digits(**options: Any) -> DataModule:
    given = {
        "source": partial(Digits),
        "degradation": Mask(Strokes()),
        "train_framing": CenterSquare(8),
        "eval_framing": CenterSquare(8),
        "batch_size": 50,
    }
    return DataModule(**{**given, **options})


def joined(module: DataModule, split: Split) -> dict[str, Any]:
    """A whole pass over a split, by field, in the order of its indices."""
    loader = getattr(module, f"{split}_dataloader")()
    batches = [module.to_batch(raw) for raw in loader]
    order = torch.cat([batch["index"] for batch in batches]).argsort()
    tensors = [key for key, value in batches[0].items() if isinstance(value, Tensor)]
    return {key: torch.cat([b[key] for b in batches])[order] for key in tensors}  # type: ignore[literal-required]


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_facts_need_no_files() -> None:
    assert digits().facts == Facts(1, 1, 8, 10, has_hole=True)
    module = digits(source=partial(Folder), root="/nowhere", degradation=Gray())
    assert module.facts == Facts(image_channels=3, input_channels=1, image_size=8, num_classes=None)


def test_batches() -> None:
    module = digits()
    batch = module.to_batch(next(iter(module.val_dataloader())))
    assert set(batch) == {"target", "input", "hole", "index", "label", "name"}
    assert batch["target"].shape == (50, 1, 8, 8) and batch["target"].dtype == torch.float32
    assert batch["index"].tolist() == list(range(50))
    item = Digits(Path(), "val")[7]
    assert torch.equal(batch["target"][7], from_uint8(item.image))
    assert batch["label"][7] == item.label and batch["name"][7] == item.name


@pytest.mark.parametrize("source", [Digits, Photos])
def test_embedded_images_are_read_once_and_never_changed(source: type[Digits | Photos]) -> None:
    image = source(Path(), "train")[0].image
    before = image.clone()
    changed = {"flip": True, "rotate": True, "brightness": 0.5, "degradation": Gaussian(25.0)}
    module = digits(source=partial(source), limit=20, batch_size=5, **changed)
    for raw in module.train_dataloader():
        module.to_batch(raw)
    assert source(Path(), "train")[0].image.data_ptr() == image.data_ptr()
    assert torch.equal(image, before)


@pytest.mark.parametrize("split", ["train", "val"])
def test_workers_change_nothing(split: Split) -> None:
    one = [module_raw for module_raw in getattr(digits(), f"{split}_dataloader")()]
    two = [module_raw for module_raw in getattr(digits(num_workers=2), f"{split}_dataloader")()]
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a["name"] == b["name"]
        assert all(torch.equal(a[key], b[key]) for key in ("image", "label", "index", "seed"))


def test_more_workers_than_cores_are_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._utils.cpu_count", lambda: 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader = digits(num_workers=2).val_dataloader()
        loader.check_worker_number_rationality()  # as at the start of its workers
        with pytest.raises(UserWarning, match="another"):
            warnings.warn("another", stacklevel=1)


def test_persistent_workers_see_the_new_epoch() -> None:
    module = digits(num_workers=1, batch_size=200)
    loader = module.train_dataloader()
    epochs = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        epochs.append(torch.cat([raw["seed"] for raw in loader]))
    assert not set(epochs[0].tolist()) & set(epochs[1].tolist())


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_frozen_corruption_does_not_depend_on_the_batch(batch_size: int) -> None:
    frozen = joined(digits(limit=20), "val")
    assert same(frozen, joined(digits(limit=20, batch_size=batch_size), "val"))
    assert same(joined(digits(limit=5), "val"), {key: value[:5] for key, value in frozen.items()})


def test_frozen_corruption_is_by_seed_and_index() -> None:
    module = digits(seed=3, limit=4)
    batch = joined(module, "test")
    seeds = torch.arange(4) + 3 * 2**32
    assert torch.equal(batch["hole"], Strokes()(seeds, 8, 8))
    assert not torch.equal(batch["hole"], joined(digits(seed=4, limit=4), "test")["hole"])


def test_frozen_framing() -> None:
    options = {"source": partial(Photos), "eval_framing": RandomPatch(16), "repeat": 5}
    assert same(joined(digits(**options), "val"), joined(digits(**options, batch_size=2), "val"))


def test_repeat_and_limit() -> None:
    module = digits(limit=3, repeat=2, degradation=Mask(Half("alternate")))
    batch = joined(module, "test")
    assert module.num_test == 6 and batch["index"].tolist() == list(range(6))
    assert torch.equal(batch["target"][0::2], batch["target"][1::2])
    assert (batch["hole"][0::2, :, :, 4:] == 1).all() and (batch["hole"][1::2, :, 4:] == 1).all()
    module.limit = 1
    assert module.num_test == 2
    assert digits(limit=9999).num_test == 500


def test_the_cache_of_a_process_is_shared_by_its_workers(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    source = partial(Folder, folder=".", val_fraction=1.0)
    for workers, share in ((0, 2**29), (1, 2**29), (4, 2**27)):
        module = digits(source=source, root=str(tmp_path), cache_gb=0.5, num_workers=workers)
        assert module.samples("val").cache.left == share


def test_the_fingerprint_sees_16_photos_spread_over_the_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = list[int]()
    item = Digits.__getitem__
    monkeypatch.setattr(Digits, "__getitem__", lambda self, k: (read.append(k), item(self, k))[1])
    module = digits()
    module.fingerprint()
    assert read == [k * len(module.samples("train")) // 16 for k in range(16)]


def test_train_repeat_gives_other_patches() -> None:
    module = digits(
        source=partial(Photos), train_framing=RandomPatch(16), train_repeat=20, batch_size=140
    )
    (raw,) = module.train_dataloader()
    assert sorted(raw["index"].tolist()) == list(range(140))
    photos = {name: raw["name"].count(name) for name in raw["name"]}
    assert len(photos) == 7 and set(photos.values()) == {20}
    assert len({tuple(image.flatten().tolist()) for image in raw["image"]}) > 130


def test_training_seeds_and_corruption_change_by_epoch_only() -> None:
    module = digits()
    loader = module.train_dataloader()
    first = [module.to_batch(raw) for raw in loader]
    again = [module.to_batch(raw) for raw in loader]
    assert all(torch.equal(a["input"], b["input"]) for a, b in zip(first, again, strict=True))
    index = torch.cat([batch["index"] for batch in first])
    assert len(index) == 1050 and len(index.unique()) == 1050


class Counted(Digits):
    """Images whose columns name themselves."""

    def __getitem__(self, index: int) -> Item:
        image = torch.arange(8, dtype=torch.uint8).expand(1, 8, 8)
        return super().__getitem__(index)._replace(image=image)


def test_flips_in_training_only() -> None:
    module = digits(source=partial(Counted), flip=True, batch_size=500, degradation=Gaussian(1.0))
    image = next(iter(module.train_dataloader()))["image"][:, 0, 0]
    flipped = (image == torch.arange(7, -1, -1)).all(dim=1)
    assert ((image == torch.arange(8)).all(dim=1) ^ flipped).all()
    assert 200 < int(flipped.sum()) < 300
    assert (next(iter(module.val_dataloader()))["image"][:, 0, 0] == torch.arange(8)).all()
    still = digits(source=partial(Counted), batch_size=500)
    assert (next(iter(still.train_dataloader()))["image"][:, 0, 0] == torch.arange(8)).all()


def test_loaders_leave_the_global_generator_alone() -> None:
    module = digits()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for split in ("train", "val", "test"):
        for raw in getattr(module, f"{split}_dataloader")():
            module.to_batch(raw)
    assert torch.equal(torch.get_rng_state(), before)


class Process:
    def __init__(self, rank: int, world: int) -> None:
        self.global_rank, self.world_size = rank, world


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_data(world: int) -> None:
    indices: dict[str, list[int]] = {"train": [], "test": []}
    steps = set()
    for rank in range(world):
        module = digits()
        module.trainer = Process(rank, world)  # type: ignore[assignment]
        for split, seen in indices.items():
            loader = getattr(module, f"{split}_dataloader")()
            seen.extend(index for raw in loader for index in raw["index"].tolist())
        steps.add(len(module.train_dataloader()))
    assert len(steps) == 1 and len(set(indices["train"])) == len(indices["train"])
    assert sorted(indices["test"]) == list(range(500))


@pytest.mark.parametrize(
    "options,named",
    [
        ({"batch_size": 0}, "batch_size"),
        ({"num_workers": -1}, "num_workers"),
        ({"limit": 0}, "limit"),
        ({"repeat": 0}, "repeat"),
        ({"train_repeat": -2}, "train_repeat"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
    ],
)
def test_settings_are_checked(options: dict[str, int], named: str) -> None:
    with pytest.raises(InputError, match=f"data.{named}"):
        digits(**options)


def test_a_batch_larger_than_the_split() -> None:
    with pytest.raises(InputError, match=r"batch_size=2000.*1097"):
        digits(batch_size=2000).check("train")
    module = digits(batch_size=600)
    module.check("train")
    module.trainer = Process(0, 2)  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"batch_size=600.*548"):
        module.train_dataloader()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_missing_data_is_found_before_any_work(split: Split) -> None:
    module = digits(source=partial(Folder), root="/nowhere")
    with pytest.raises(InputError, match="/nowhere"):
        module.check(split)
    with pytest.raises(InputError, match="/nowhere"):
        module.setup("test" if split == "test" else "fit")


class Misshaped:
    """kind: what is wrong with what it makes."""

    makes_holes = True

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Any:
        hole = torch.ones(len(target), 1, *target.shape[-2:])
        made = {
            "right": {"input": target},
            "small": {"input": target[..., ::2, ::2]},
            "channels": {"input": target.repeat(1, 2, 1, 1)},
            "double": {"input": target.double()},
            "hole": {"input": target, "hole": hole[:, 0]},
        }
        return {"target": target, "hole": hole, **made[self.kind]}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("small", r"input \[1, 1, 4, 4\] torch.float32 .* it must be \[1, 1, 8, 8\]"),
        ("channels", r"input \[1, 2, 8, 8\]"),
        ("double", r"input \[1, 1, 8, 8\] torch.float64 .* it must be .* torch.float32"),
        ("hole", r"hole \[1, 8, 8\] .* it must be \[1, 1, 8, 8\]"),
    ],
)
def test_an_input_of_another_size_or_type_is_found_before_any_work(kind: str, said: str) -> None:
    digits(degradation=Misshaped("right")).check("train", "val")
    for split in ("train", "val", "test"):
        with pytest.raises(
            InputError, match=rf"data\.degradation {__name__}\.Misshaped made {said}"
        ):
            digits(degradation=Misshaped(kind)).first(split)


class Spoiling:
    """Noise that is added in place; clean: what it gives for the target."""

    def __init__(self, clean: Any) -> None:
        self.clean = clean

    def input_channels(self, image_channels: int) -> int:
        return image_channels

    def __call__(self, target: Tensor, seeds: Tensor) -> Any:
        clean = self.clean(target)
        return {"target": clean, "input": target.add_(0.1)}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_degradation_that_changes_its_target_in_place_is_refused(split: Any) -> None:
    digits(degradation=Spoiling(torch.clone)).first(split)
    with pytest.raises(InputError, match=rf"{__name__}\.Spoiling changes its target in place"):
        digits(degradation=Spoiling(lambda target: target)).first(split)


class Given(Spoiling):
    """Gives what it is told to."""

    def __call__(self, target: Tensor, seeds: Tensor) -> Any:
        return self.clean(target)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (torch.clone, "gave a Tensor"),
        (lambda target: (target, target), "gave a tuple"),
        (lambda target: {"input": target}, r"gave \['input'\]"),
    ],
)
def test_a_degradation_that_gives_no_target_and_input_is_told_what_to_give(
    made: Any, said: str
) -> None:
    with pytest.raises(InputError, match=rf"{__name__}\.Given {said}: .* target and input"):
        digits(degradation=Given(made)).check("train")


def test_a_function_is_no_degradation() -> None:
    with pytest.raises(InputError, match="has no input_channels: make it a class"):
        digits(degradation=lambda target, seeds: {"target": target, "input": target})


def test_sizes_that_differ(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / "val").mkdir(exist_ok=True)
        Image.new("RGB", (8 + number, 8)).save(tmp_path / "val" / f"{number}.png")
    options = {"source": partial(Folder), "root": str(tmp_path), "eval_framing": Whole()}
    with pytest.raises(InputError, match="batch_size=1"):
        next(iter(digits(**options).val_dataloader()))
    widths = [raw["image"].shape[-1] for raw in digits(**options, batch_size=1).val_dataloader()]
    assert widths == [8, 9, 10, 11]


class Recorder(LightningModule):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[Batch]] = {"train": [], "val": [], "test": []}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen["train"].append(batch)
        return self.weight * batch["input"].mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.seen["val"].append(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.seen["test"].append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("overfit", [0, 1])
def test_with_a_trainer(overfit: int, tmp_path: Path) -> None:
    module, task = digits(batch_size=500), Recorder()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        overfit_batches=overfit,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, datamodule=module)
    trainer.test(task, datamodule=module, verbose=False)
    epochs = torch.stack([batch["index"] for batch in task.seen["train"]])
    assert len(epochs) == (2 if overfit else 4)
    assert torch.equal(epochs[0], epochs[1]) == bool(overfit)
    assert sum(len(batch["index"]) for batch in task.seen["test"]) == 500
    if not overfit:
        first = [module.to_batch(raw) for raw in digits(batch_size=500).train_dataloader()]
        assert torch.equal(first[1]["input"], task.seen["train"][1]["input"])
        assert not torch.equal(epochs[0], epochs[2])


def test_framings_fit_the_protocol() -> None:
    framings: list[Framing] = [CenterSquare(2), RandomPatch(2), Whole()]
    assert [framing.size for framing in framings] == [2, 2, None]
