"""What a GPU computes is computed there: no tensor is left on the CPU or comes back unasked."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerator import DEVICE, There, accelerator
from entry import ROOT, Command
from small_models import write_model
from stopping import differences, everything
from torch import Tensor

from restore import api
from restore.build import build
from restore.metric.base import measure_all
from restore.metric.distribution import DistributionMetric, update_all


def test_the_device_refuses_what_a_gpu_refuses() -> None:
    generator = torch.Generator()
    with accelerator():
        there, here = torch.ones(2, 3, device=DEVICE), torch.ones(2, 3)
        assert isinstance(there + torch.tensor(1.0), There) and (there * 2).sum().item() == 12
        assert there[torch.tensor([1])].tolist() == [[1, 1, 1]] == there[[1]].cpu().tolist()
        assert type(there.cpu()) is torch.Tensor and isinstance(here.to(there), There)
        assert torch.tensor([1.5], device=DEVICE).item() == 1.5
        refused = [
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: here[there[0].long()],
            lambda: torch.stack([there[0, 0], torch.tensor(1.0)]),
            lambda: there.masked_fill(here > 0, 0),
            lambda: torch.rand(2, device=DEVICE, generator=generator),
            lambda: torch.where(there > 0, here, there),
            lambda: torch.nn.functional.conv2d(there[None, None], here[None, None]),
        ]
        for one in refused:
            with pytest.raises(RuntimeError, match=r"o[nf] the CPU"):
                one()
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(there)
        weight = torch.nn.Parameter(there)
        (weight * weight).sum().backward()
        assert isinstance(weight.grad, There) and weight.grad.tolist() == [[2, 2, 2], [2, 2, 2]]


HOLE = np.zeros((24, 17), dtype=np.float32)
HOLE[4:12, 3:15] = 1
STRENGTH = np.linspace(0, 1, 24 * 17, dtype=np.float32).reshape(24, 17)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("grey_denoiser", {"sigma": 20.0, "self_ensemble": True}),
        ("inpainter", {"hole": HOLE}),
        ("colorizer", {}),
        ("prior", {"hole": HOLE, "strength_map": STRENGTH, "num_samples": 2}),
        ("painter", {"steps": 2}),
    ],
)
def test_a_model_restores_there_as_on_the_cpu(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    model = api.load(write_model(name, tmp_path), device="cpu")
    grey = name in ("grey_denoiser", "colorizer", "painter")
    image = np.random.default_rng(0).random((24, 17) if grey else (24, 17, 3), dtype=np.float32)
    wanted = np.asarray(model(image, **settings))
    with accelerator():
        restored = np.asarray(model.to(DEVICE)(image, **settings))
        assert all(isinstance(one, There) for one in model.task.network.parameters())
    assert np.array_equal(restored, wanted)


def test_a_tensor_comes_back_to_where_it_was(tmp_path: Path) -> None:
    model = api.load(write_model("blind", tmp_path), device="cpu")
    image = torch.linspace(0, 1, 3 * 16 * 12).view(3, 16, 12)
    with accelerator():
        for worker in (model, model.to(DEVICE)):
            alike(worker(image.to(DEVICE)), worker(image))


def leaf(group: str, name: str, **own: Any) -> Any:
    node = yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text())
    return build({**node, **own}, group)


def alike(there: Any, here: Any) -> None:
    """The same numbers, on the device."""
    assert isinstance(there, There) and torch.equal(there.here, here)


NEED_FILES = {"files", "fid", "kid", "lpips_alex", "lpips_squeeze", "lpips_vgg"}
PARTS = {"mask_curriculum", "torchmetrics"}  # no leaves of their own


def leaves(group: str) -> list[str]:
    names = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
    return sorted(names - NEED_FILES - PARTS)


@pytest.mark.parametrize("name", leaves("degradation"))
def test_a_degradation_degrades_there_as_on_the_cpu(name: str) -> None:
    target, seeds = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32), torch.arange(2)
    wanted = leaf("degradation", name)(target, seeds)
    linear = "operator" in wanted and name != "gray"  # that one has no adjoint of its own
    with accelerator():
        given = leaf("degradation", name)(target.to(DEVICE), seeds.to(DEVICE))
        back = _there_and_back(given) if linear else None
    for key, value in wanted.items():
        if isinstance(value, Tensor):
            alike(given[key], value)
    if linear:
        alike(back, _there_and_back(wanted))


def _there_and_back(degraded: Any) -> Tensor:
    operator, target = degraded["operator"], degraded["target"]
    back: Tensor = operator.adjoint(operator.forward(target), *target.shape[-2:])
    return back


@pytest.mark.parametrize("name", leaves("metric"))
def test_a_metric_measures_there_as_on_the_cpu(name: str) -> None:
    side, channels = 176 if name == "ms_ssim" else 48, 1 if name == "original_label_share" else 3
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, channels, side, side, generator=generator)
    restored = (target[:, None] + 0.1 * torch.rand(2, 2, channels, side, side)).clamp(0, 1)
    hole = torch.zeros(2, 1, side, side)
    hole[..., :20] = 1
    batch = {"input": target * 2 - 1, "target": target * 2 - 1, "hole": hole}
    batch |= {"index": torch.arange(2), "label": torch.arange(2)}

    def measured(there: Callable[[Any], Any]) -> dict[str, Any]:
        metric = leaf("metric", name)
        given: Any = {**{key: there(value) for key, value in batch.items()}, "name": ["a", "b"]}
        if isinstance(metric, DistributionMetric):
            update_all([metric], there(restored), there(target), given["index"])
            return {name: torch.tensor(metric.compute())}
        return measure_all([metric], there(restored), there(target), given)

    wanted = measured(lambda tensor: tensor)
    with accelerator():
        found = measured(lambda tensor: tensor.to(DEVICE))
    assert found.keys() == wanted.keys()
    for key, value in found.items():
        here = value.here if isinstance(value, There) else value
        torch.testing.assert_close(here, wanted[key], equal_nan=True)


SHORT = ("max_updates=2", "trainer.val_check_interval=2", "data.batch_size=2", "++data.limit=6")
QUIET = ("~callback.progress", "+trainer.enable_progress_bar=false")
FEW = "++trainer.limit_val_batches=1"


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(
            (
                *("experiment=inpaint_photos", "task.network.width=4"),
                "++benchmark.photos_masks.data.limit=2",
            ),
            marks=pytest.mark.ci,
        ),
        (
            *("experiment=ddpm_digits", "task.network.width=4", "callback=power_ema"),
            *("sampler.num_steps=4", "sampler.jump_length=2", "sampler.jump_count=1"),
            "++benchmark.digits_half.data.limit=2",
        ),
    ],
)
def test_a_training_and_its_evaluation_work_there(
    chosen: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    results = []
    for place, device in (("here", nullcontext()), ("there", accelerator())):
        with device:
            ended = command(*SHORT, *QUIET, FEW, *chosen, f"hydra.run.dir={place}")
        assert ended.code == 0, ended.err
        results.append(everything(tmp_path / place))
    assert not differences(*results)
