"""Targets that a frozen model gives: what they are, who may learn from them, what is kept of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from entry import Command
from lightning.pytorch import Callback
from small_models import write_model
from torch import Tensor

from restore import zoo
from restore.build import restored
from restore.config.compose import composed
from restore.data.terms import UNKNOWN, learnt_from, licence
from restore.ensemble import turned, turned_back, views
from restore.task.teacher import Teacher
from restore.training import run
from restore.types import InputError

RUN = "run"
TINY = (
    *("experiment=denoise_photos_regression", "loss=l2", "debug=smoke", "benchmark=[]"),
    *("task.network.widths=[4,4,4]", "callback=teacher", "trainer.precision=32-true"),
    "data.num_workers=0",
)


def photo(channels: int = 3) -> Any:
    image = torch.rand(2, channels, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return {"input": image, "index": torch.tensor([4, 9]), "name": ["", ""], "target": image / 2}


def each_view(model: Any, image: Tensor) -> list[Tensor]:
    """What the model makes of each view but the image as it lies, turned back."""
    with torch.no_grad():
        made = [turned_back(model.network(turned(image, *one)), *one) for one in views()]
    return made[1:]


@pytest.fixture
def blind(tmp_path: Path) -> Path:
    return write_model("blind", tmp_path / "models")


def test_the_target_is_the_mean_of_as_many_other_views_as_are_asked_for(blind: Path) -> None:
    batch = photo()
    model = restored(zoo.read(blind).content)
    seven = torch.stack(each_view(model, batch["input"]))
    assert torch.allclose(Teacher(str(blind), 7).result(batch, 5), seven.mean(0), atol=1e-6)
    one = Teacher(str(blind), 1)
    drawn = [one.result(batch, number) for number in range(40)]
    nearest = [(seven - made).abs().amax((1, 2, 3, 4)) for made in drawn]
    assert all(distance.min() < 1e-6 for distance in nearest)
    assert {int(distance.argmin()) for distance in nearest} == set(range(7))
    assert torch.equal(one.result(batch, 3), Teacher(str(blind), 1).result(batch, 3))
    other = Teacher(str(blind), 1, seed=1)
    assert not all(torch.equal(other.result(batch, k), drawn[k]) for k in range(8))
    two = Teacher(str(blind), 2).result(batch, 0)
    pairs = [(seven[a] + seven[b]) / 2 for a in range(7) for b in range(a)]
    assert min((two - pair).abs().max() for pair in pairs) < 1e-6


class Watched(Callback):
    """The targets of training and of validation, and the number of calls of the teacher."""

    def __init__(self) -> None:
        self.training: list[Any] = []
        self.validation: list[Any] = []

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, number: int) -> None:
        self.training.append((task.batches, dict(batch)))

    def on_validation_batch_start(self, trainer: Any, task: Any, batch: Any, *_: int) -> None:
        self.validation.append(dict(batch))


def test_training_learns_from_it_and_validation_compares_with_the_truth(
    blind: Path, tmp_path: Path
) -> None:
    watched, given = Watched(), [*TINY, f"callback.teacher.path={blind}", "max_updates=3"]
    folder = tmp_path / "run"
    folder.mkdir()
    made = run.prepare(composed("train", given), folder, "e", given, {"watched": watched})
    teacher = made.callbacks["teacher"].task
    before = {name: one.clone() for name, one in teacher.state_dict().items()}
    made.trainer.fit(made.task, datamodule=made.data)
    assert [number for number, _ in watched.training] == [0, 1, 2]
    model = restored(zoo.read(blind).content)
    seen = set()
    for _, batch in watched.training:
        seven = torch.stack(each_view(model, batch["input"]))
        distance = (seven - batch["target"]).abs().amax((1, 2, 3, 4))
        assert distance.min() < 1e-5
        seen.add(int(distance.argmin()))
    assert len(seen) > 1
    clean = made.data.first("val")["target"]
    assert torch.equal(watched.validation[0]["target"][:1], clean)
    assert all(torch.equal(one, before[name]) for name, one in teacher.state_dict().items())


def test_a_resumed_run_names_another_file_of_its_teacher(
    blind: Path, tmp_path: Path, command: Command
) -> None:
    given = [*TINY, f"callback.teacher.path={blind}", "max_updates=2", f"hydra.run.dir={RUN}"]
    assert command(*given, "trainer.limit_train_batches=1").code == 0
    other = zoo.read(write_model("denoiser", tmp_path / "others")).path
    zoo.read(blind).path.write_bytes(other.read_bytes())
    ended = command(f"resume.path={RUN}", "max_updates=4")
    assert ended.code == 2 and "the teacher's file: " in ended.err, ended.err
    ended = command(f"resume.path={RUN}", "max_updates=4", "callback.teacher.num_views=2")
    assert "callback.teacher.num_views: 1 -> 2" in ended.err


def test_a_checkpoint_names_the_teacher_and_whose_data_it_saw(blind: Path, tmp_path: Path) -> None:
    given = [*TINY, f"callback.teacher.path={blind}"]
    folder = tmp_path / "run"
    folder.mkdir()
    made = run.prepare(composed("train", given), folder, "e", given)
    content: dict[str, Any] = {}
    made.callbacks["config"].on_save_checkpoint(made.trainer, made.task, content)
    told = content["teacher"]
    assert told["checkpoint"].startswith(f"{zoo.read(blind).path.name}@") and told["model"] == str(
        blind
    )
    assert UNKNOWN in told["data"].values()
    data = learnt_from(content)
    assert data.items() >= told["data"].items() and "restore.data.photos.Photos" in data
    assert licence(data) == UNKNOWN


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("blind", ["callback.teacher.num_views=0"], r"num_views=0 must be in \[1, 7\]"),
        ("blind", ["callback.teacher.num_views=8"], r"num_views=8 must be in \[1, 7\]"),
        ("blind", ["adversary=patch"], "replaces the targets of a regression, and this Denoiser"),
        ("prior", [], "is a Diffusion, whose result is not one call"),
        ("inpainter", [], "hole"),
        ("grey_denoiser", [], "channels"),
        ("nowhere", [], "does not exist"),
        (None, [], "callback.teacher.path is needed"),
    ],
)
def test_what_cannot_teach_is_refused(
    tmp_path: Path, name: str | None, more: list[str], says: str
) -> None:
    known = name in ("prior", "inpainter", "grey_denoiser", "blind")
    path = write_model(str(name), tmp_path / "models") if known else name
    named = [] if path is None else [f"callback.teacher.path={path}"]
    given = [*TINY, *named, *more]
    with pytest.raises(InputError, match=says) as refused:
        run.prepare(composed("train", given), tmp_path, "e", given)
    assert "\n" not in str(refused.value) and "teacher" in str(refused.value)
