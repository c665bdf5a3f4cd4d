"""What a checkpoint may hold: a file of a stranger is refused in one line, and builds nothing."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from restore.build import build, restored
from restore.checkpoint import read, write
from restore.content import FORMAT, HOMES, MOVED, update_paths
from restore.types import InputError

DENOISER = {
    "_target_": "restore.task.denoising.Denoiser",
    "network": {
        "_target_": "restore.network.denoising.DenoisingUNet",
        "_partial_": True,
        "widths": [4, 4],
    },
    "loss": {
        "pixels": {
            "_target_": "restore.loss.content.Pixels",
            "weight": 1.0,
            "distance": "l1",
        },
    },
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.001},
}


def content() -> dict[str, Any]:
    facts = {"image_channels": 1, "input_channels": 1, "image_size": 8, "num_classes": None}
    return {
        "experiment": "x",
        "config": {"task": DENOISER, "data": {"batch_size": 4}, "seed": 0},
        "facts": facts,
        "state_dict": {},
        "progress": {"updates": 5, "batches": 5},
        "run": "ab12",
        "ema": {"updates": 5, "weights": {}},
        "position": {
            **{"epoch": 0, "epoch_end_due": False, "batch": 5, "batches": 5, "batch_size": 4},
            **{"world_size": 1, "validation_due": False, "validated": 5, "rows": 3},
            **{"random": [{}], "gradients": {"w": torch.zeros(1)}},
        },
    }


def set_at(node: Any, path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        node = node[parent]
    node[name] = value


def test_what_fits_is_read(tmp_path: Path) -> None:
    write(content(), tmp_path / "a.ckpt")
    found = read(tmp_path / "a.ckpt")
    assert found["config"] == content()["config"] and found["format"] == FORMAT
    assert found["position"]["validated"] == 5


WRONG = [
    ("experiment", 7, "experiment is a int and should be a str"),
    ("config.task", [], "config.task is a list and should be a dict"),
    ("config.task", {"_target_": ["os.system"]}, "config.task._target_=['os.system'] is no class"),
    ("config.task._target_", "restore.network.unet.UNet", "is no class of a task"),
    ("config.seed", "zero", "config.seed is a str"),
    ("config.seed", True, "config.seed is a bool"),
    ("config.data", 3, "config.data is a int and should be a mapping"),
    ("config.data", {}, "config.data.batch_size is missing"),
    ("config.callback", [], "config.callback is a list"),
    ("facts", [1, 1, 8, None], "facts is a list and should be a mapping"),
    ("facts.image_channels", "3", "facts.image_channels is a str"),
    ("facts.image_size", 8.5, "facts.image_size is a float"),
    ("facts.more", 1, "facts.more is not known"),
    ("state_dict", [], "state_dict is a list"),
    ("state_dict.w", [1.0], "state_dict.w is a list and should be a Tensor"),
    ("ema", 1, "ema is a int"),
    ("ema.weights", None, "ema.weights is None and should be a dict"),
    ("ema.weights.w", "x", "ema.weights.w is a str"),
    ("progress.updates", 5.0, None),  # write itself needs it, see below
    ("position.rows", "many", "position.rows is a str"),
    ("position.world_size", None, "position.world_size is None"),
    ("position.random", {}, "position.random is a dict and should be a list"),
    ("format", "2", "has format 2"),
    ("format", FORMAT + 1, f"has format {FORMAT + 1}, this version of restore reads up to"),
    ("run", 3, "run is a int"),
]


@pytest.mark.parametrize(("path", "value", "says"), [one for one in WRONG if one[2]])
def test_wrong_types_are_one_line(tmp_path: Path, path: str, value: Any, says: str) -> None:
    changed = content()
    set_at(changed, "config.task", dict(DENOISER))
    set_at(changed, path, value)
    if path == "run":
        changed["run"] = None
        write(changed, tmp_path / "a.ckpt")
        with pytest.raises(InputError, match="run is a int"):
            _checked({**changed, "run": value})
        return
    write(changed, tmp_path / "a.ckpt")
    with pytest.raises(InputError) as refused:
        restored(read(tmp_path / "a.ckpt"))
    text = str(refused.value)
    assert says in text and str(tmp_path / "a.ckpt") in text and "\n" not in text


def _checked(changed: dict[str, Any]) -> dict[str, Any]:
    from restore.content import upgrade

    return upgrade(changed, Path("a.ckpt"))


@pytest.mark.parametrize(
    ("target", "key"),
    [
        ("lightning.pytorch.loggers.TensorBoardLogger", "task.network"),
        ("lightning.pytorch.loggers.CSVLogger", "task.network"),  # Rows of today
        ("restore.tracking.WandB", "data.source"),
        ("lightning.pytorch.Trainer", "callback.x"),
        ("lightning.pytorch.callbacks.EarlyStopping", "trainer"),
        ("restore.recovery.best.Checkpoint", "task.optimizer"),
        ("restore.evaluation.benchmark.Benchmark", "task.loss"),
    ],
)
def test_what_writes_files_is_built_in_its_place_alone(target: str, key: str) -> None:
    changed = content()
    node = {"_target_": target}
    for name in reversed(key.split(".")[1:]):
        node = {name: node}
    old = changed["config"].get(key.split(".")[0], {})
    changed["config"] = {**changed["config"], key.split(".")[0]: {**old, **node}}
    with pytest.raises(InputError, match=r"belongs below \w+ alone"):
        _checked(changed)
    prefix = max((p for p in HOMES if MOVED.get(target, target).startswith(p)), key=len)
    assert HOMES[prefix] != key.split(".")[0]


def test_an_argument_gets_the_name_of_today() -> None:
    task, other = "restore.task.diffusion.Diffusion", "mylab.task.Mine"
    given = [{"_target_": name, "prediction": "v"} for name in (task, other)]
    assert update_paths(given) == [{"_target_": task, "parameterization": "v"}, given[1]]


def test_moved_classes_are_found_at_any_depth() -> None:
    old = {"a": [{"_target_": "restore.callback.recovery.Recovery", "every_minutes": 3.0}]}
    assert update_paths(old) == {
        "a": [{"_target_": "restore.recovery.points.Recovery", "every_minutes": 3.0}]
    }
    logger = {"_target_": "lightning.pytorch.loggers.CSVLogger", "name": "", "version": ""}
    assert update_paths(logger) == {"_target_": "restore.recovery.rows.Rows"}


@pytest.mark.parametrize("old", MOVED)
def test_every_moved_class_exists(old: str) -> None:
    from restore.config.signature import resolve

    assert callable(resolve(MOVED[old]))


def test_an_average_of_other_weights_is_refused() -> None:
    with pytest.raises(InputError, match="do not fit"):
        restored({**content(), "state_dict": {"nothing": torch.zeros(1)}})
    found = content()
    made = build_denoiser()
    found["state_dict"] = made.state_dict()
    assert made.training and not restored(found).training  # else batch norms would learn on
    found["ema"]["weights"] = {"nothing": torch.zeros(1)}
    with pytest.raises(InputError, match="no place for the average of nothing"):
        restored(found)


def test_what_a_constructor_refuses_is_one_line_with_its_place() -> None:
    """Torch raises a plain ValueError."""
    with pytest.raises(InputError, match=r"^task.optimizer: Invalid learning rate: -1\.0$"):
        build({"_target_": "torch.optim.Adam", "lr": -1.0}, "task.optimizer", params=[])


def build_denoiser() -> Any:
    from restore.types import Facts

    return build(DENOISER, "task", facts=Facts(1, 1, 8, None))


def flips(path: Path, count: int, look: Callable[[Path], Any]) -> int:
    """Flips single bits of a file, one at a time; how many of them `look` did not refuse."""
    data, chance, silent = path.read_bytes(), random.Random(5), 0
    for _ in range(count):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        try:
            look(path)
            silent += 1
        except InputError as error:
            assert str(path) in str(error)
    path.write_bytes(data)
    return silent


def test_no_flipped_bit_is_silent_and_the_whole_one_is_named(tmp_path: Path) -> None:
    write(content(), tmp_path / "recovery-5.ckpt")
    with pytest.raises(InputError, match="no other checkpoint beside it is whole"):
        (tmp_path / "only").mkdir()
        (tmp_path / "only" / "last.ckpt").write_bytes(b"nothing")
        read(tmp_path / "only" / "last.ckpt")
    newer = {**content(), "progress": {"updates": 9, "batches": 9}}
    write(newer, tmp_path / "last.ckpt")
    assert flips(tmp_path / "last.ckpt", 40, read) == 0
    data = bytearray((tmp_path / "last.ckpt").read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / "last.ckpt").write_bytes(data)
    with pytest.raises(InputError) as refused:
        read(tmp_path / "last.ckpt")
    text = str(refused.value)
    assert "last.ckpt is damaged" in text and "recovery-5.ckpt of update 5 is whole" in text


def test_a_run_without_its_best_yet_names_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"best\.ckpt does not exist: give a run, a"):
        read(tmp_path / "best.ckpt")
    write(content(), tmp_path / "recovery-5.ckpt")
    with pytest.raises(InputError, match=r"not exist: .*/recovery-5\.ckpt of update 5 is whole"):
        read(tmp_path / "best.ckpt")
