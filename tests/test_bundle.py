"""Bundles: the same model as the checkpoint, refused like one, and no code in them."""

import hashlib
import json
import multiprocessing
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from small_models import MODELS, part, task, write_model, write_run
from test_checkpoint_content import WRONG, set_at

import restore
from restore import bundle, checkpoint, cli, zoo
from restore.build import build, restored
from restore.evaluation import load
from restore.evaluation.results import checkpoint_name
from restore.export import check
from restore.export.write import staged
from restore.recovery.preemption import end_at_once
from restore.training import initial
from restore.types import Facts, InputError

ADVERSARY = part(
    "restore.task.adversary.Adversary",
    network=part(
        "restore.network.patch_discriminator.PatchDiscriminator", widths=[4, 4], strides=[2, 1]
    ),
    optimizer=part("torch.optim.Adam", lr=0.001),
)


def export(place: Path, folder: Path, *more: str, code: int = 0) -> Path:
    words = ["restore", "export", str(place), "-o", str(folder), *more]
    with mock.patch.object(sys, "argv", words), pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_bundle_is_its_checkpoint(tmp_path: Path, name: str) -> None:
    run = write_model(name, tmp_path)
    folder = export(run, tmp_path / "bundle")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("README.md", "model.json", "model.safetensors")
    ]
    source, made = zoo.read(run).content, zoo.read(folder).content
    assert made["config"] == {**source["config"], "data": {"batch_size": 1, "root": None}}
    for key in ("facts", "experiment", "progress"):
        assert made[key] == source[key]
    assert made["state_dict"].keys() == source["state_dict"].keys()
    for key, tensor in source["state_dict"].items():
        assert torch.equal(made["state_dict"][key], tensor)
    assert restore.load(folder / "model.safetensors", device="cpu").name == name
    half = zoo.read(export(run, tmp_path / "half", "--half")).content["state_dict"]
    for key, tensor in source["state_dict"].items():
        wanted = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(half[key], wanted)


@pytest.mark.parametrize("name", MODELS)
def test_int8_is_within_half_a_step_of_every_kernel(tmp_path: Path, name: str) -> None:
    run = write_model(name, tmp_path)
    source = zoo.read(run).content["state_dict"]
    folder = export(run, tmp_path / "small", "--int8")
    made = zoo.read(folder).content["state_dict"]
    assert made.keys() == source.keys()
    for key, tensor in source.items():
        error = (made[key] - tensor).abs()
        if tensor.ndim < 2:
            assert (error <= tensor.abs() / 1000).all()
            continue
        highest = tensor.abs().flatten(1).amax(1)
        assert (error.flatten(1).amax(1) <= 0.501 * highest / 127).all()
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    for key, tensor in source.items():
        kernel = key.startswith("network.") and tensor.ndim > 1 and tensor.is_floating_point()
        assert (stored[key].dtype == torch.int8) == kernel, key
    said = json.loads((folder / "model.json").read_text())
    network = [one.numel() for key, one in source.items() if key.startswith("network.")]
    assert said["weights"] == "int8" and said["parameters"] == sum(network)
    restore.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("network.kernel", torch.int8),
        ("codec.network.kernel", torch.int8),
        ("codec.latent_mean", torch.float16),
        ("other.kernel", torch.float16),
    ],
)
def test_kernels_of_networks_alone_are_int8(name: str, kind: torch.dtype) -> None:
    made = bundle._stored(name, torch.rand(3, 2), "int8")
    assert made[name].dtype == kind and len(made) == 1 + (kind == torch.int8)


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_whole_numbers_stay_whole(kind: bundle.Kind) -> None:
    """A count of updates, as of batch norms, is more than float16 holds."""
    count = torch.tensor([[70_000, 2**24 + 1]])
    made = bundle._stored("network.count", count, kind)
    read = bundle._read_back(made, "network.count")
    assert made.keys() == {"network.count"} and read.dtype == torch.int64 and read.equal(count)


def test_a_scale_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = export(write_model("blind", tmp_path), tmp_path / "bundle", "--int8")
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    name = next(key for key in stored if key.endswith("#scale"))
    data = safetensors.torch.save({**stored, name: stored[name][:1]})
    said = json.loads((folder / "model.json").read_text())
    said["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "model.safetensors").write_bytes(data)
    (folder / "model.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="holds no weights: the scale of"):
        zoo.read(folder)


def averaged(folder: Path) -> Path:
    """A checkpoint whose average is the raw weights plus one."""
    path = write_model("blind", folder) / "checkpoints" / "best.ckpt"
    content = checkpoint.read(path)
    network = {
        name.removeprefix("network."): tensor + 1
        for name, tensor in content["state_dict"].items()
        if name.startswith("network.")
    }
    checkpoint.write({**content, "ema": {"updates": 1, "weights": network}}, path)
    return path


def test_the_averaged_weights_are_taken(tmp_path: Path) -> None:
    path = averaged(tmp_path)
    made = zoo.read(export(path, tmp_path / "bundle")).content
    wanted = restored(checkpoint.read(path)).state_dict()
    found = restored(made).state_dict()
    assert "ema" not in made and wanted.keys() == found.keys()
    for key, tensor in wanted.items():
        assert torch.equal(found[key], tensor), key
    raw = checkpoint.read(path)["state_dict"]
    assert not any(torch.equal(found[key], raw[key]) for key in found if key.startswith("network."))


def test_an_adversary_stays_behind(tmp_path: Path) -> None:
    run = write_model("inpainter", tmp_path)
    path = run / "checkpoints" / "best.ckpt"
    content = checkpoint.read(path)
    node = {**content["config"]["task"], "adversary": ADVERSARY}
    played = build(node, "task", facts=Facts(**content["facts"]))
    state = played.state_dict()
    assert any(name.startswith("adversary.") for name in state)
    config = {**content["config"], "task": node}
    checkpoint.write({**content, "config": config, "state_dict": state}, path)
    folder = export(path, tmp_path / "bundle")
    said = json.loads((folder / "model.json").read_text())
    assert said["config"]["task"]["adversary"] == ADVERSARY
    size = sum(one.numel() for one in played.network.parameters())
    measured = [load.method(one, {}).num_parameters for one in (path, folder)]
    assert measured == [size, size]  # as its regression twin has: a judge restores nothing
    assert restore.load(folder, device="cpu").fills_holes
    again = export(folder, tmp_path / "again")  # a bundle of a bundle says what it says
    assert json.loads((again / "model.json").read_text())["config"] == said["config"]
    assert "with an adversary" in (again / "README.md").read_text()


def bundled(folder: Path) -> Path:
    return export(write_model("blind", folder), folder / "bundle")


def test_model_json_says_what_a_stranger_needs(tmp_path: Path) -> None:
    run = write_model("blind", tmp_path)
    path = run / "checkpoints" / "best.ckpt"
    content = checkpoint.read(path)
    source = {"_target_": "restore.data.folder.Folder", "folder": "bsds430/train"}
    data = {"batch_size": 1, "root": "/home/me/data", "source": source}
    config = {**content["config"], "data": data, "packages": ["mylab"]}
    began = {"experiment": "bare", "updates": 3, "data": {}}
    told = {"foreign": {"mylab.Net": "sha256 12ab"}, "init": began}
    checkpoint.write({**content, **told, "config": config, "run": "ab12"}, path)
    record = {"id": "ab12", "experiment": "blind", "overrides": ["experiment=blind", "seed=1"]}
    (run / "result.json").write_text(json.dumps({**record, "training": {}, "device": "a CPU"}))
    folder = export(run, tmp_path / "bundle")
    text = (folder / "model.json").read_text()
    said = json.loads(text)
    weights = (folder / "model.safetensors").read_bytes()
    assert said["sha256"] == hashlib.sha256(weights).hexdigest() and said["bytes"] == len(weights)
    assert said["data"] == {
        "bsds430": "430 photos of BSDS500: research and education, non-commercial"
    }
    assert said["licence"] == "research and education, non-commercial"
    assert said["record"]["overrides"] == record["overrides"] and said["run"] == "ab12"
    assert {key: said[key] for key in told} == told
    assert "/home/me" not in text and "packages" not in said["config"]
    assert "experiment=blind seed=1" in (folder / "README.md").read_text()
    again = export(folder, tmp_path / "again", "--licence", "mine")
    second = json.loads((again / "model.json").read_text())
    assert second == {**said, "licence": "mine"}
    (run / "result.json").write_text(json.dumps({**record, "id": "of another run"}))
    other = export(run, tmp_path / "other")
    assert json.loads((other / "model.json").read_text())["record"] is None


def test_a_card_answers_by_what_was_measured_of_these_weights(tmp_path: Path) -> None:
    """`restore ema` puts another average in the place of what the training measured."""
    run = write_model("blind", tmp_path)
    best = run / "checkpoints" / "best.ckpt"
    checkpoint.write({**checkpoint.read(best), "run": "ab12"}, best)
    row = {"benchmark": "b", "n": 3, "checkpoint": checkpoint_name(str(best))}
    rows = [{**row, "metrics": {"psnr": 31.25}}]
    record = {"id": "ab12", "experiment": "blind", "overrides": [], "evaluation": rows}
    (run / "result.json").write_text(json.dumps(record))
    answer = "- Answer: b (n = 3): psnr 31.25\n"
    assert answer in (export(run, tmp_path / "own") / "README.md").read_text()
    content = checkpoint.read(best)
    state = {name: one * 0.5 for name, one in content["state_dict"].items()}
    checkpoint.write({**content, "state_dict": state}, best.with_name("last.ckpt"))
    last = export(best.with_name("last.ckpt"), tmp_path / "last")
    assert "- Answer: not measured" in (last / "README.md").read_text()
    assert json.loads((last / "model.json").read_text())["record"]["id"] == "ab12"


SAID = ("experiment", "config", "facts", "progress", "format", "run")


@pytest.mark.parametrize(
    ("path", "value", "says"), [one for one in WRONG if one[0].startswith(SAID)], ids=str
)
def test_what_a_checkpoint_may_not_say_a_bundle_may_not(
    tmp_path: Path, path: str, value: Any, says: str
) -> None:
    folder = bundled(tmp_path)
    said = json.loads((folder / "model.json").read_text())
    set_at(said, path, value)
    (folder / "model.json").write_text(json.dumps(said))
    with pytest.raises(InputError) as refused:
        restored(zoo.read(folder).content)
    assert "\n" not in str(refused.value) and (says or "progress.updates is a float") in str(
        refused.value
    )


def test_damage_and_strangers_are_refused(tmp_path: Path) -> None:
    folder = bundled(tmp_path)
    place, model = folder / "model.safetensors", folder / "model.json"
    data, text = place.read_bytes(), model.read_text()
    place.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match="is damaged, or belongs to another"):
        zoo.read(folder)
    place.write_bytes(b"PK nonsense")
    said = {**json.loads(text), "sha256": hashlib.sha256(b"PK nonsense").hexdigest()}
    model.write_text(json.dumps(said))
    with pytest.raises(InputError, match="holds no weights"):
        zoo.read(folder)
    place.unlink()
    with pytest.raises(InputError, match="is incomplete"):
        zoo.read(folder)
    for wrong, says in (("[" * 100_000, "no JSON"), ("{}", "says no format"), ("7", "says no")):
        model.write_text(wrong)
        with pytest.raises(InputError, match=says):
            zoo.read(folder)
    (tmp_path / "alone.safetensors").write_bytes(safetensors.torch.save({"a": torch.ones(1)}))
    with pytest.raises(InputError, match=r"alone\.json does not exist"):
        zoo.read(tmp_path / "alone.safetensors")


def test_packages_of_others_are_named_by_the_reader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the spelling of where he reads it."""
    folder = bundled(tmp_path)
    said = json.loads((folder / "model.json").read_text())
    said["config"]["task"]["network"]["_target_"] = "antigravity_lab.Net"
    (folder / "model.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match=r"add packages=\['antigravity_lab'\]$"):
        restore.load(folder)
    for named in ("antigravity_lab", ["antigravity_lab"]):  # not its letters
        with pytest.raises(InputError, match=r"packages=\[antigravity_lab\] is not installed"):
            restore.load(folder, packages=named)
    photo = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(photo)
    for words in (
        ["predict", str(folder), str(photo), "-o", str(tmp_path / "made")],
        ["export", str(folder), "--format", "onnx", "-o", str(tmp_path / "graph")],
    ):
        with (
            mock.patch.object(sys, "argv", ["restore", *words]),
            pytest.raises(SystemExit) as ended,
        ):
            cli.main()
        said = capsys.readouterr().err.strip()
        assert ended.value.code == 2 and said.endswith("add --packages antigravity_lab")


def test_what_was_written_is_told_and_what_lay_there_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").touch()
    export(write_model("blind", tmp_path / "run"), tmp_path)
    names = ("README.md", "model.json", "model.safetensors")
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / name) for name in names]


def test_nothing_is_overwritten_or_left_behind(tmp_path: Path) -> None:
    run = write_model("blind", tmp_path)
    folder = export(run, tmp_path / "bundle")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    export(run, folder, code=2)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(InputError, match=r"network\.\S+ does not fit into float16"):
        content = checkpoint.read(run / "checkpoints" / "best.ckpt")
        state = {key: tensor * 1e9 for key, tensor in content["state_dict"].items()}
        bundle.write({**content, "state_dict": state}, tmp_path, {}, "float16")
    path = write_model("denoiser", tmp_path) / "checkpoints" / "best.ckpt"
    content = checkpoint.read(path)
    state = {key: tensor * 1e9 for key, tensor in content["state_dict"].items()}
    checkpoint.write({**content, "state_dict": state}, path)
    export(path, tmp_path / "deep" / "new", "--half", code=2)
    assert not (tmp_path / "deep").exists()


def test_a_signal_in_a_check_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the process at once, without the `finally` of whoever waits for the check."""

    class Ended(BaseException):
        pass

    def leave(code: int) -> None:
        raise Ended(code, [*tmp_path.iterdir()])

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(multiprocessing, "active_children", list)  # other tests may have left some
    alone: Any = SimpleNamespace(
        is_global_zero=True, strategy=SimpleNamespace(launcher=SimpleNamespace(procs=None))
    )
    with pytest.raises(Ended) as ended, staged(tmp_path / "deep" / "new", ()) as folder:
        (folder / "weights").touch()
        end_at_once(alone)
    assert ended.value.args == (143, [])


def test_a_check_measures_both_and_fails_above_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Any] = []
    told = check.told
    monkeypatch.setattr(check, "told", lambda given: rows.extend(given) or told(given))
    run = write_model("blind", tmp_path)
    folder = export(run, tmp_path / "bundle", "--half", "--check", "photos_sigma25")
    (line,) = [one for one in capsys.readouterr().out.split("\n") if one.startswith("photos_")]
    _, word, value, lost, megabytes, _ = line.split()
    checked = json.loads((folder / "model.json").read_text())["check"]["photos_sigma25"]
    assert word == "float16" and abs(float(value) - checked["value"]) < 1e-3
    assert abs(float(lost) - checked["lost_db"]) < 1e-4 and checked["lost_db"] != 0
    size = (folder / "model.safetensors").stat().st_size
    assert abs(float(megabytes) - size / 1e6) < 0.01 and rows[0].megabytes == size / 1e6
    monkeypatch.setattr("restore.export.check.LIMIT", -1.0)
    export(run, tmp_path / "refused", "--half", "--check", "photos_sigma25", code=1)
    assert not (tmp_path / "refused").exists()
    assert "nothing was written" in capsys.readouterr().err


def test_a_card_says_which_weights_were_the_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restore.export.check.LIMIT", 1.0)
    given = ("--check", "photos_sigma25")
    own = ("--licence", "of mine")
    first = export(write_model("blind", tmp_path), tmp_path / "first", "--int8", *given, *own)
    told = json.loads((first / "model.json").read_text())
    (first / "model.json").write_text(json.dumps({**told, "data": {"mine": "kept"}}))
    second = export(first, tmp_path / "second", "--half", *given)
    kept = json.loads((second / "model.json").read_text())
    assert kept["licence"] == "of mine" and kept["data"] == {"mine": "kept"}
    for folder, source, sentence in (
        (first, None, "; against float32 it costs "),
        (second, "int8", "; against the int8 weights that it was made of it costs "),
    ):
        said = json.loads((folder / "model.json").read_text())
        assert said["check"]["photos_sigma25"].get("source") == source
        assert sentence in (folder / "README.md").read_text()


def test_a_card_sends_nobody_to_restore_by_a_classifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = part("restore.network.classifier.Classifier", width=4)
    node = task("restore.task.classification.Classification", network)
    facts = Facts(1, 1, 16, 3)
    folder = export(write_run(node, tmp_path, facts, "judge"), tmp_path / "judge_bundle")
    export(folder, tmp_path / "graph", "--format", "onnx", code=2)
    assert "Classification restores no images; choose another" in capsys.readouterr().err
    card = (folder / "README.md").read_text()
    assert "restore predict" not in card and "evaluate.py" not in card
    assert "`python train.py experiment=judge init.path=judge_bundle` starts a training" in card
    began = initial.start(build(node, "task", facts=facts), {"path": str(folder)})
    assert began is not None and not began.left_out


def test_a_prior_is_checked_by_the_sampler_and_guidance_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("restore.export.check.LIMIT", 1.0)
    drawn = ("guidance=null_space", "sampler=ddim", "sampler.num_steps=1")
    run = write_model("prior", tmp_path)
    given = ("--int8", "--check", "photos_sigma25", "--with")
    folder = export(run, tmp_path / "bundle", *given, *drawn)
    checked = json.loads((folder / "model.json").read_text())["check"]["photos_sigma25"]
    assert checked["with"] == [*drawn] and checked["lost_db"] != 0
    export(run, tmp_path / "refused", *given, "seed=1", code=2)
    assert "--with seed=1: give sampler=" in capsys.readouterr().err
    export(run, tmp_path / "refused", *given, "sampler.num_steps=1", code=2)
    assert "needs its sampler, which is not set: add sampler=ddim" in capsys.readouterr().err
    export(run, tmp_path / "refused", "--with", "sampler=ddim", code=2)
    assert "--with sampler=ddim is of a check: name a benchmark" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()


def test_arrays_of_a_loaded_bundle(tmp_path: Path) -> None:
    run = write_model("blind", tmp_path)
    folder = export(run, tmp_path / "bundle")
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    wanted = restore.load(run, device="cpu")(image)
    assert np.array_equal(restore.load(folder, device="cpu")(image), wanted)
