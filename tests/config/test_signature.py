import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from restore.config.signature import check, check_early
from restore.config.target import resolve
from restore.config.trust import Trust
from restore.config.unserved import UNSERVED, check_served
from restore.config.value import fits, unknown
from restore.types import InputError

HALF = "restore.degradation.mask.Half"


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (1.0, int, False),
        (1, float, True),
        ("1", float, False),
        (True, bool, True),
        (1, bool, False),
        (None, int | None, True),
        (None, int, False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        ([1, 2], list[int], True),
        ([1, "x"], list[int], False),
        (3, list[int], False),
        ([0.9, 0.99], tuple[float, float], True),
        ([0.9], tuple[float, float], False),  # would be "list index out of range" in an optimizer
        ([0.9, 0.99, 0.5], tuple[float, float], False),
        ([None, 0.1], tuple[float | None, float], True),
        ([0.1, None], tuple[float | None, float], False),
        ([1, 2, 3], tuple[int, ...], True),
        ([1, 2, 3], tuple, True),
        ("ab", list[str], False),
        ({"a": 1}, dict[str, int], True),
        ([1], dict[str, int], False),
        ({"a": "x"}, dict[str, int], False),
        ({"_target_": "x"}, Callable[..., int], True),
        ({"_target_": "x"}, int, False),
        (3, Callable[..., int], False),
        ([1.0], torch.Tensor, False),  # though one can be iterated over
        ("photos", Path, True),
        (3, Path, False),
        (True, Path, False),
        (object(), Any, True),
    ],
)
def test_value_fits_annotation(value: object, annotation: object, expected: bool) -> None:
    assert fits(value, annotation) is expected


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "subprocess.Popen",
        "restore",
        "restore.build.read_checkpoint",
        "restore.cli.run",
        "restore.build.torch.load",
        "restore.network.unet.math.exp",
        "restore.network.unet.partial",
        "restore.network.unet.nn",
        "restore.network.unet._zero",
        "restore.evaluation.record.write_json",
        "restore.callback.samples.save_png",
        "restore.metric.classifier.save_classifier",
        "restore.data.source.data_root.__globals__",
        "",
    ],
)
def test_target_outside_the_list_is_refused(target: str) -> None:
    with pytest.raises(InputError, match="_target_="):
        resolve(target, "task")


def test_own_classes_and_allowed_ones_are_found() -> None:
    import torch

    from restore.degradation.mask import Half
    from restore.diffusion.sampler import ddim

    assert resolve(HALF) is Half
    assert resolve("restore.diffusion.sampler.ddim") is ddim
    assert resolve("torch.optim.AdamW") is torch.optim.AdamW


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"_target_": HALF, "sid": "left"}, "data.shape.sid is not a setting: did you mean side"),
        ({"_target_": HALF, "side": 3}, "data.shape.side=3 has the wrong type: it takes one of"),
        ({"_target_": HALF, "_args_": ["left"]}, "data.shape._args_ is not a setting"),
        ({"_target_": "restore.degradation.mask.Mask"}, "data.shape.shape is missing"),
        ({"a": ["${oc.env:HOME}"]}, "interpolations"),
        ({"a": [{"b": {"_target_": "os.system"}}]}, r"data.shape.a.0.b._target_=os.system"),
        ({"_target_": "restore.data.image_file.ImageError"}, "_target_="),
    ],
)
def test_node_is_refused_with_its_place(node: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check(node, "data.shape")


def test_a_file_of_a_group_in_the_place_of_a_section_names_its_group() -> None:
    data = {"_target_": "restore.data.module.DataModule", "degradation": "half", "source": 3}
    with pytest.raises(InputError, match=r"degradation='half' .*chosen by degradation=NAME$"):
        check({**data, "source": {"_target_": HALF, "_partial_": True}}, "data")


def test_a_number_that_may_be_a_tensor_in_code_is_a_number_in_configs() -> None:
    node = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": "abc"}
    with pytest.raises(InputError, match=r"lr='abc' has the wrong type: it takes float$"):
        check({"optimizer": node})


def test_a_list_of_another_length_is_refused_in_words_of_a_config() -> None:
    optimizer = {"_target_": "torch.optim.Adam", "_partial_": True, "betas": [0.9]}
    owner = {"_target_": "restore.degradation.composition.Mixture", "degradations": [optimizer]}
    for refuse in (check, check_early):  # by the class, and by its source text
        with pytest.raises(InputError, match=r"betas=\[0.9\] has the .* takes \[float, float\]$"):
            refuse({"owner": owner})


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("task", "torch.nn.Linear"),  # a module, but no learning rule
        ("data", HALF),
        ("task.network", HALF),
        ("task.adversary.network", HALF),
        ("task.optimizer", "torch.optim.lr_scheduler.StepLR"),
        ("task.scheduler", "torch.optim.Adam"),
        ("callback.mine", HALF),
    ],
)
def test_a_class_that_is_not_what_its_place_calls_is_refused(path: str, target: str) -> None:
    with pytest.raises(InputError, match=rf"^{path}._target_={target} is refused: it is no \w"):
        check({"_target_": target, "_partial_": True}, path)


CALLBACKS, OPTIM = "lightning.pytorch.callbacks.", "torch.optim."


@pytest.mark.parametrize(
    "target",
    [
        CALLBACKS + "BatchSizeFinder",
        CALLBACKS + "GradientAccumulationScheduler",
        CALLBACKS + "LearningRateFinder",
        CALLBACKS + "StochasticWeightAveraging",
        CALLBACKS + "stochastic_weight_avg.StochasticWeightAveraging",
        OPTIM + "LBFGS",
        OPTIM + "SparseAdam",
        OPTIM + "lr_scheduler.ReduceLROnPlateau",
    ],
)
def test_a_class_that_would_stop_amid_its_work_is_refused_with_a_way_out(target: str) -> None:
    assert resolve(target, trust=Trust(libraries=True)).__name__ in UNSERVED  # it is there
    with pytest.raises(InputError, match=rf"^callback\.mine\._target_={target} is .*: .*: \w"):
        check_early({"callback": {"mine": {"_target_": target}}})
    check_served("mylab." + target.rpartition(".")[2], "callback.mine")  # of somebody's own


def test_what_is_settled_later_is_no_value_of_another_key() -> None:
    node = {"_target_": "lightning.pytorch.Trainer", "precision": "auto"}
    check({"trainer": node})
    for wrong in ({"precision": "fast"}, {"max_time": 3}, {"enable_progress_bar": "auto"}):
        with pytest.raises(InputError, match="has the wrong type"):
            check({"trainer": {**node, **wrong}})


@pytest.mark.parametrize("path", ["task", "callback.ema"])
def test_a_function_in_the_place_of_an_object_is_refused_from_the_text(path: str) -> None:
    node: dict[str, Any] = {"_target_": "restore.callback.ema.EMA", "_partial_": True}
    key, _, inner = path.partition(".")
    with pytest.raises(InputError, match=rf"^{path}\._partial_=true is refused"):
        check_early({key: {inner: node} if inner else node})


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_are_finite_at_any_depth(value: float) -> None:
    for refuse in (check, check_early):
        with pytest.raises(InputError, match=r"task\.schedules\.0\.lr=-?(inf|nan) must be"):
            refuse({"task": {"_target_": HALF, "schedules": [{"lr": value}]}})


def test_only_the_outermost_node_may_lack_what_the_program_gives() -> None:
    patch = {"_target_": "restore.data.framing.RandomPatch"}
    check_early({"data": patch})
    with pytest.raises(InputError, match=r"data\.train_framing\.size is missing"):
        check_early(
            {"data": {"_target_": "restore.data.module.DataModule", "train_framing": patch}}
        )


def test_twenty_names_are_all_told_and_of_more_the_nearest() -> None:
    names = [f"name{number:02}" for number in range(21)]
    assert unknown("x.y", "y", []) == "x.y is not a setting: none is taken"
    assert unknown("x", "zzz", names[:20]).endswith(f"known are: {', '.join(names[:20])}")
    assert "among others there are" in unknown("x", "zzz", names)
