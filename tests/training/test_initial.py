"""Fine-tuning: a training starts where a model stood, and says what it could not take."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from entry import Command
from small_models import BLIND, INPAINTER, PRIOR, part, task, write_model
from test_bundle import ADVERSARY, averaged, export
from test_cli import check_refused
from test_outside import OWN, mylab
from torch import Tensor

from restore import checkpoint, zoo
from restore.build import build, restored
from restore.training import initial
from restore.training.initial import start
from restore.types import Facts, InputError, Observation

__all__ = ["mylab"]  # a fixture
COLOR = Facts(3, 3, None, None)
SMALL = ("experiment=denoise_photos", "debug=smoke", "task.network.widths=[8,8,8]")


def fresh(node: dict[str, Any], facts: Facts = COLOR) -> Any:
    return build(node, "task", facts=facts)


def seen(hole: bool = False) -> Observation:
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    given = Observation(input=image, index=torch.zeros(2, dtype=torch.int64), name=["", ""])
    if hole:
        given["hole"] = (image[:, :1] > 0).float()
        given["input"] = image * (1 - given["hole"])
    return given


def output(model: Any, hole: bool = False) -> Tensor:
    with torch.no_grad():
        made: Tensor = model.eval().restore(seen(hole))
    return made


def test_outputs_are_those_of_the_averaged_source(tmp_path: Path) -> None:
    path = averaged(tmp_path)
    made = fresh(BLIND)
    wanted = output(restored(checkpoint.read(path)))
    assert not torch.allclose(output(made), wanted)
    began = start(made, {"path": str(path), "partial": False})
    assert began is not None and not began.left_out and began.updates == 1
    assert torch.equal(output(made), wanted)
    assert began.tensors == len(made.state_dict())
    again = fresh(BLIND)
    start(again, {"path": str(export(path, tmp_path / "bundle"))})
    assert torch.equal(output(again), wanted)
    assert start(again, None) is None and start(again, {"path": None}) is None


def test_a_misfit_is_refused_by_name_or_left_out_and_listed(tmp_path: Path) -> None:
    run = write_model("denoiser", tmp_path)  # sees a noise map, the blind one does not
    made = fresh(BLIND)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    with pytest.raises(InputError, match=r"network\.\S+: 4x13x3x3 there, 4x12x3x3 here") as refused:
        start(made, {"path": str(run)})
    assert "init.partial=true" in str(refused.value) and "\n" not in str(refused.value)
    assert all(torch.equal(before[name], one) for name, one in made.state_dict().items())
    began = start(made, {"path": str(run), "partial": True})
    source = zoo.read(run).content["state_dict"]
    assert began is not None and len(began.left_out) == 1
    (name,) = (one.partition(":")[0] for one in began.left_out)
    for key, tensor in made.state_dict().items():
        assert torch.equal(tensor, before[key] if key == name else source[key])
    with pytest.raises(InputError, match="nothing of it fits"):
        start(fresh(PRIOR), {"path": str(run), "partial": True})


def test_what_only_one_of_the_two_has_is_named(tmp_path: Path) -> None:
    run = write_model("blind", tmp_path)
    deeper = part("restore.network.bias_free.BiasFreeUNet", widths=[4, 4], num_blocks=2)
    node = task(
        "restore.task.denoising.Denoiser", {**deeper, "noise_map": False}, loss=BLIND["loss"]
    )
    with pytest.raises(InputError, match="the model has none"):
        start(fresh(node), {"path": str(run)})
    deep = fresh(node)
    content = checkpoint.read(run / "checkpoints" / "best.ckpt")
    checkpoint.write({**content, "state_dict": deep.state_dict()}, tmp_path / "deep.ckpt")
    with pytest.raises(InputError, match="this training has none"):
        start(fresh(BLIND), {"path": str(tmp_path / "deep.ckpt")})


def test_an_adversary_goes_on_or_is_new(tmp_path: Path) -> None:
    run = write_model("inpainter", tmp_path)
    path = run / "checkpoints" / "best.ckpt"
    node = {**INPAINTER, "adversary": ADVERSARY}
    played = fresh(node)
    content = checkpoint.read(path)
    content = {**content, "config": {**content["config"], "task": node}}
    checkpoint.write({**content, "state_dict": played.state_dict()}, tmp_path / "gan.ckpt")
    other, plain, gan = fresh(node), fresh(INPAINTER), {"path": str(tmp_path / "gan.ckpt")}
    began = start(other, gan)
    assert began is not None and not began.left_out
    assert all(
        torch.equal(one, other.state_dict()[name]) for name, one in played.state_dict().items()
    )
    began = start(plain, gan)
    assert began is not None and began.left_out == ["adversary: this training has none"]
    assert torch.equal(output(plain, hole=True), output(played, hole=True))
    new = fresh(node)
    began = start(new, {"path": str(run)})
    assert began is not None
    assert began.left_out == ["adversary: the model has none, a new one is trained"]


def test_who_draws_the_samples_of_the_first_training_again_is_told(tmp_path: Path) -> None:
    run = write_model("blind", tmp_path)
    path = run / "checkpoints" / "best.ckpt"
    content = checkpoint.read(path)
    data = {"source": {"folder": "a"}, "seed": 3, "limit": None, "batch_size": 2}
    content["config"]["data"] = dict(data)
    checkpoint.write(content, path)

    def told(**changed: Any) -> bool:
        began = start(fresh(BLIND), {"path": str(run)}, {**data, **changed})
        assert began is not None and began.record()["repeats"] == began.repeats
        assert began.repeats == any("another seed=N" in line for line in began.told())
        return began.repeats

    assert told() and told(batch_size=4)
    for changed in ({"seed": 4}, {"source": {"folder": "b"}}, {"limit": 5}, {"degradation": {}}):
        assert not told(**changed)
    content["config"]["data"] = {"batch_size": 2}
    checkpoint.write(content, path)
    began = start(fresh(BLIND), {"path": str(run)})  # neither says what it draws
    assert began is not None and not began.repeats


def test_a_training_starts_there_records_it_and_goes_on(command: Command, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert command(*SMALL, f"hydra.run.dir={first}").code == 0
    still = ("scheduler=constant", "task.optimizer.lr=0", "adversary=null", "seed=5")
    ended = command(*SMALL, f"init={first}", *still, f"hydra.run.dir={second}")
    assert ended.code == 0, ended.err
    assert "started from denoise_photos: " in ended.out
    assert "left out: adversary: this training has none" in ended.out
    assert "another seed=N" not in ended.out
    old, new = (checkpoint.read(one / "checkpoints" / "best.ckpt") for one in (first, second))
    for name, tensor in old["ema"]["weights"].items():
        assert torch.equal(new["ema"]["weights"][name], tensor)
        assert torch.equal(new["state_dict"][f"network.{name}"], tensor)
    record = json.loads((second / "result.json").read_text())["init"]
    assert record == new["init"] and record["experiment"] == "denoise_photos"
    assert record["updates"] == 2 and record["checkpoint"].startswith("best.ckpt@")
    assert json.loads((first / "result.json").read_text())["init"] is None
    (first / "checkpoints" / "best.ckpt").unlink()  # nothing of it is needed to go on
    ended = command(f"resume.path={second}", "max_updates=3")
    assert ended.code == 0, ended.err
    assert json.loads((second / "result.json").read_text())["init"] == record


def test_terms_of_the_data_are_inherited(tmp_path: Path) -> None:
    run = write_model("blind", tmp_path)
    path = run / "checkpoints" / "best.ckpt"
    content = checkpoint.read(path)
    source = {"_target_": "restore.data.folder.Folder", "folder": "bsds430"}
    bsds = {**content["config"], "data": {"batch_size": 1, "source": source}}
    checkpoint.write({**content, "config": bsds}, tmp_path / "bsds.ckpt")
    began = start(fresh(BLIND), {"path": str(tmp_path / "bsds.ckpt")})
    assert began is not None
    mine = {**content["config"], "data": {"batch_size": 1, "source": {**source, "folder": "mine"}}}
    checkpoint.write({**content, "config": mine, "init": began.record()}, tmp_path / "mine.ckpt")
    folder = export(tmp_path / "mine.ckpt", tmp_path / "bundle", "--licence", "see data")
    assert json.loads((folder / "model.json").read_text())["data"].keys() == {"mine", "bsds430"}
    third = start(fresh(BLIND), {"path": str(folder)})
    assert third is not None and third.data.keys() == {"mine", "bsds430"}
    other = start(fresh(BLIND), {"path": str(run)})  # whose config names no data
    assert other is not None and other.data == {"blind": "not known to restore"}
    folder = export(run, tmp_path / "unknown")
    assert json.loads((folder / "model.json").read_text())["licence"] == "not known to restore"


def test_own_packages_start_from_their_models(
    command: Command, tmp_path: Path, mylab: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert command(*OWN, "debug=smoke", f"hydra.run.dir={first}").code == 0
    ended = command(*OWN, "debug=smoke", f"init={first}", f"hydra.run.dir={second}")
    assert ended.code == 0, ended.err
    assert json.loads((second / "result.json").read_text())["init"]["left_out"] == []
    bundle = export(first, tmp_path / "bundle", "--packages", "mylab")
    export(first, tmp_path / "refused", code=2)
    ended = command(*OWN, "debug=smoke", f"init={bundle}", f"hydra.run.dir={tmp_path / 'third'}")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("init=denoise_anny", "released model of that name"),
        ("init=no/such.ckpt", "init.path=no/such.ckpt does not exist"),
        ("init.partial=yes_please", "init.partial='yes_please' must be true or false"),
        ("init.part=true", "init.part"),
    ],
)
def test_refusals_leave_nothing(command: Command, tmp_path: Path, given: str, says: str) -> None:
    check_refused(command(*SMALL, given), says, tmp_path)


def test_four_tensors_are_named_and_the_rest_is_counted() -> None:
    said = initial._refusal("m", {f"t{number}": "why" for number in range(6)}, True)
    assert "t3: why; and 2 more" in said and "t4" not in said
    assert "more" not in initial._refusal("m", {f"t{k}": "why" for k in range(4)}, True)
