"""What a run settles between its config and its first update, on stand-ins of its parts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Callback

from restore.config.compose import composed
from restore.recovery.best import ConfigInCheckpoint
from restore.training import run
from restore.types import Facts, InputError


@pytest.mark.parametrize(
    ("limit", "sizes"), [(2, [4, 3]), (1.0, [8, 3]), (None, [8, 3])], ids=["some", "part", "all"]
)
def test_only_where_some_batches_are_measured_they_are_small(
    limit: int | float | None, sizes: list[int]
) -> None:
    benchmarks = {name: {"data": {"batch_size": k, "seed": 0}} for name, k in (("a", 8), ("b", 3))}
    config = {"trainer": {"limit_test_batches": limit}, "data": {"batch_size": 4}}
    made = run._cut_short({**config, "benchmark": benchmarks})["benchmark"]
    assert [one["data"] for one in made.values()] == [{"batch_size": k, "seed": 0} for k in sizes]
    assert not run._cut_short({**config, "benchmark": None})["benchmark"]


@pytest.mark.parametrize(
    ("processes", "validation", "batches"), [(1, 5, (5, 3)), (2, 5, (2, 2)), (3, 3, (1, 1))]
)
def test_a_process_has_its_share_of_batches(
    monkeypatch: pytest.MonkeyPatch, processes: int, validation: int, batches: tuple[int, int]
) -> None:
    """Of training it drops what is left over, of validation the largest share counts."""
    parts = {"train": [0] * 11, "val": [0] * validation}
    data: Any = SimpleNamespace(samples=lambda split: Samples(parts[split]), batch_size=2)
    trainer: Any = SimpleNamespace(world_size=processes)
    found: list[Any] = []
    monkeypatch.setattr(run, "check_lengths", lambda *given: found.append(given[1:]))
    run._check_shares(data, trainer)
    assert found == [batches]
    trainer.world_size = validation + 1
    with pytest.raises(InputError, match=f"has {validation} validation images for"):
        run._check_shares(data, trainer)
    trainer.world_size, data.batch_size = processes, 12
    with pytest.raises(InputError, match="more than the"):
        run._check_shares(data, trainer)


class Samples(list[int]):
    source = None


def test_a_resumed_run_began_as_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are not taken from a file once more, and the record says what they were."""
    task: Any = None
    began: Any = SimpleNamespace(record=lambda: {"from": "b"}, told=lambda: ["told"])
    asked: list[Any] = []

    def start(task: Any, node: Any, data: Any) -> Any:
        asked.append((node, data))
        return began

    monkeypatch.setattr("restore.training.initial.start", start)
    resumed: Any = SimpleNamespace(content={"init": {"from": "a"}})
    config = {"init": 1, "data": 2}
    assert run._start(task, config, resumed) == ({"from": "a"}, []) and asked == []
    assert run._start(task, config, None) == ({"from": "b"}, ["told"]) and asked == [(1, 2)]
    began = None
    assert run._start(task, {"data": 2}, None) == (None, [])


def test_a_checkpoint_stores_the_run_that_it_is_of() -> None:
    config: dict[str, Any] = {"callback": {"none": None}, "data": {"root": None}}
    facts = Facts(3, 3, 8, None)
    made = run.callbacks(config, facts, "mine", "id", {"from": "a"})
    stored: dict[str, Any] = {}
    assert list(made) == ["config"] and isinstance(made["config"], ConfigInCheckpoint)
    nothing: Any = SimpleNamespace()
    made["config"].on_save_checkpoint(nothing, nothing, stored)
    assert (stored["config"], stored["experiment"], stored["run"]) == (config, "mine", "id")
    assert stored["init"] == {"from": "a"} and stored["facts"]["image_channels"] == 3


def test_a_resumed_run_keeps_its_id_and_is_checked_with_what_was_built(tmp_path: Path) -> None:
    settings = ["experiment=denoise_photos_regression", "debug=smoke", "benchmark=[]"]
    asked: list[Any] = []
    resumed: Any = SimpleNamespace(
        id="first", content={"init": {"from": "a"}}, check=lambda *given: asked.append(given)
    )
    own = Callback()
    made = run.prepare(
        composed("train", settings), tmp_path, "mine", settings, {"own": own}, resumed
    )
    assert (made.id, made.init, made.resumed) == ("first", {"from": "a"}, resumed)
    assert asked == [(made.task, made.data, made.trainer, made.callbacks)]
    assert vars(made.trainer)["callbacks"].count(own) == 1
