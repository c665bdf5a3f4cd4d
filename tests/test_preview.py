"""`restore show`: the samples that it draws are those that a training gets, to the bit."""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from entry import Ended
from lightning.pytorch import Callback, Trainer
from PIL import Image

from restore import cli, preview
from restore.build import build
from restore.config.compose import composed
from restore.image import to_uint8
from restore.types import Batch, InputError

SMALL_GAN = [
    "experiment=inpaint_photos",
    "network=inpainting_unet",
    "task.network.widths=[4,4]",
    "task.network.num_blocks=1",
    "data.train_framing.size=32",
    "data.train_repeat=3",
    "max_updates=30",
]


class Spy(Callback):
    """Keeps what a training gets."""

    def __init__(self) -> None:
        self.batches: list[dict[str, Any]] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches.append({key: _copy(value) for key, value in batch.items()})


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else list(value)


def trained(config: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """What an own training by Lightning gets, until SHOWN samples have come."""
    data = build(config["data"], "data")
    task = build(config["task"], "task", facts=data.facts)
    spy = Spy()
    limits = {key: config["trainer"][key] for key in LIMITS if key in config["trainer"]}
    ends = max(1, -(-preview.SHOWN // data.batch_size))
    end = build(config["callback"]["max_updates"] | {"max_updates": ends}, "callback")
    Trainer(
        accelerator="cpu",
        max_epochs=-1,
        callbacks=[spy, end],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        **limits,
    ).fit(task, data)
    return spy.batches


LIMITS = ("overfit_batches", "limit_train_batches")


def singles(batches: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        for k in range(len(batch["index"])):
            yield {
                key: value[k : k + 1] if isinstance(value, torch.Tensor) else [value[k]]
                for key, value in batch.items()
            }


def same(one: Batch, other: dict[str, Any]) -> bool:
    values = dict(one)
    return values.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in values.items()
    )


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(
            [*SMALL_GAN, "data.train_repeat=1", "data.batch_size=3", "data.num_workers=0"],
            id="several-epochs",  # of two batches
        ),
        pytest.param([*SMALL_GAN, "data.num_workers=2", "data.batch_size=8"], id="2-workers"),
        pytest.param(
            [
                *SMALL_GAN,
                "degradation=mask_curriculum",
                "data.degradation.updates=4",
                "task.accumulate=2",
                "task.adversary.discriminator_steps=2",
                "data.batch_size=4",
                "data.num_workers=0",
            ],
            id="a-curriculum",
        ),
        pytest.param(
            [*SMALL_GAN, "+trainer.overfit_batches=1", "data.batch_size=6", "data.num_workers=0"],
            id="overfit",
        ),
        pytest.param(
            [*SMALL_GAN, "+trainer.limit_train_batches=2", "data.batch_size=3"], id="limited"
        ),
    ],
)
def test_what_is_shown_is_what_training_gets(overrides: list[str], tmp_path: Path) -> None:
    config = composed("train", overrides)
    shown = list(islice(preview.first(preview.open_data(config), config), preview.SHOWN))
    got = list(islice(singles(trained(config, tmp_path)), preview.SHOWN))
    assert len(got) == len(shown) == preview.SHOWN
    assert all(same(one, other) for one, other in zip(shown, got, strict=True))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)

    def ran(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["restore", "show", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return ran


def test_the_picture_holds_the_samples_and_the_lines_their_numbers(
    run: Any, tmp_path: Path
) -> None:
    overrides = ["experiment=ddpm_digits", "data.batch_size=16"]
    ended = run(*overrides)
    assert ended.code == 0, ended.err
    assert "images: train 1097" in ended.out and "train samples: 8x8 (16 looked at)" in ended.out
    assert "train hole: 50.0 to 50.0 %, mean 50.0" in ended.out
    picture = np.array(Image.open(tmp_path / "show_ddpm_digits.png"))
    config = composed("train", overrides)
    batch = next(iter(preview.first(preview.open_data(config), config)))
    target = to_uint8(batch["target"])[0, 0].numpy()
    enlarged = np.kron(target, np.ones((16, 16), np.uint8))  # 8 px become 128
    left = 2 + 2 * (128 + 2)  # behind the mask, the input and three gaps
    found = picture[:, left : left + 128, 0]
    places = range(found.shape[0] - 128)
    assert any(np.array_equal(found[top : top + 128], enlarged) for top in places)


def test_own_photos_of_several_sizes_and_what_was_left_out(run: Any, tmp_path: Path) -> None:
    for k, size in enumerate([(40, 30), (64, 48), (900, 600)]):
        pixels = np.random.default_rng(k).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k}.png")
    (tmp_path / "photos" / "notes.txt").write_text("none")
    ended = run(
        "experiment=denoise_photos", "data=folder", "data.root=photos", "degradation=noise",
        "data.batch_size=1", "data.num_workers=0", "data.train_framing.size=32", "-o", "a/b.png",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "left out: 1" in ended.out and "train photos: " in ended.out
    assert "train sigma: 25.0 to 25.0 of 255" in ended.out
    low, high = [float(word) for word in ended.out.split("input PSNR: ")[1].split()[:3:2]]
    assert 19.5 < low <= high < 21  # 20.17 dB, of noise alone
    assert Image.open("a/b.png").width <= 1900


def test_what_a_training_would_refuse_is_refused_and_nothing_is_written(
    run: Any, tmp_path: Path
) -> None:
    for arguments, says in (
        (["experiment=nope"], "experiment=nope does not exist"),
        (["experiment=denoise_photos", "data=folder", "data.root=none"], "no images"),
        (["experiment=ddpm_digits", "data.batch_size=100000"], "data.batch_size=100000"),
        (["experiment=ddpm_digits", "max_updates=0"], "max_updates=0"),
    ):
        ended = run(*arguments)
        assert ended.code == 2 and says in ended.err and len(ended.err.splitlines()) == 1
    assert not [*tmp_path.iterdir()]
    (tmp_path / "file").touch()
    for place, says in (
        (".", "-o . is a folder: name a file in it"),
        ("file/a.png", "-o file/a.png cannot be written: "),
        ("a", "a: no ending is no kind of picture"),
    ):
        ended = run("experiment=nope", "-o", place)  # before the config is composed
        assert ended.code == 2 and says in ended.err and len(ended.err.splitlines()) == 1
    with pytest.raises(InputError, match="leave no batch"):
        config = composed("train", ["experiment=ddpm_digits", "+trainer.limit_train_batches=0"])
        next(iter(preview.first(preview.open_data(config), config)))
