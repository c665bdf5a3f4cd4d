"""Every file of conf/ composes, names what exists, and fits its signature."""

import copy
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from entry import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from latents import write_autoencoder
from torch import nn

from restore import build, precision
from restore.config.command import plain
from restore.config.drawing import check_drawing
from restore.config.rules import check_run
from restore.config.signature import check
from restore.training import run
from restore.training.initial import start
from restore.types import Facts

CONF = ROOT / "conf"


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine for every trainer, those of a GPU among them."""
    monkeypatch.setattr(precision, "device_of", lambda accelerator: "cuda")
    monkeypatch.setattr(precision, "choose", lambda device: ("bf16-mixed", ""))


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(root: str, *overrides: str) -> dict[str, Any]:
    """The config as train.py and evaluate.py get it; one's own copy."""
    return copy.deepcopy(_composed(root, *overrides))


@functools.cache
def _composed(root: str, *overrides: str) -> dict[str, Any]:
    return plain(compose(root, list(overrides)))


# One of each task: what a leaf of debug changes, all experiments of a task have alike.
DEBUGGED = (
    *("ddpm_digits", "latent_flowers", "classifier_digits", "autoencoder_flowers"),
    *("inpaint_photos", "colorize_photos", "denoise_photos_regression"),
)


@pytest.mark.parametrize(
    ("experiment", "debug"),
    [
        *((experiment, None) for experiment in choices("experiment")),
        *((experiment, debug) for experiment in DEBUGGED for debug in choices("debug")),
    ],
)
def test_experiment_composes_and_fits(experiment: str, debug: str | None) -> None:
    overlay = [] if debug is None else [f"debug={debug}"]
    config = composed("train", f"experiment={experiment}", *overlay)
    if config["task"].get("codec") is not None:
        config["task"]["codec"]["path"] = "RUN"  # which no recipe can know
    check_run(config)
    check_drawing(config)
    assert config["trainer"]["precision"] == "auto"  # what the machine is, no recipe can know
    config = precision.settle(config)[0]
    given: dict[str, set[str]] = {
        "data": set(),
        "task": {"facts"},
        "trainer": {"callbacks", "logger", "default_root_dir"},
        "logger": {"save_dir"},
    }
    for section, names in given.items():
        check(config[section], section, names)
    for name, node in config["callback"].items():
        if not build.is_off(node):
            assert "_target_" in node, name
            check(node, f"callback.{name}")
    for name, node in (config.get("benchmark") or {}).items():
        check(node, f"benchmark.{name}", {"name", "protocol", "reference"})


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_experiment_builds_and_gets_its_optimizers(
    experiment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unloaded(network: Callable[[], nn.Module]) -> nn.Module:
        with torch.device("meta"):
            return network()

    monkeypatch.setattr("restore.loss.perceptual.load_published", unloaded)
    config = composed("train", f"experiment={experiment}")
    data = build.build(config["data"], "data")
    if config["task"].get("codec") is not None:
        config["task"]["codec"]["path"] = str(write_autoencoder(tmp_path))
    task = build.build(config["task"], "task", facts=data.facts)
    task.check()
    start(task, config["init"])  # raises where the weights that it names do not fit
    assert run.callbacks(config, data.facts, experiment, None)


@pytest.mark.parametrize("experiment", [e for e in choices("experiment") if e.endswith("_256")])
def test_a_recipe_learns_through_most_of_its_updates(
    experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the data: a schedule by epochs left 500,000 updates on photos at 1e-7 and less."""
    monkeypatch.setattr("restore.loss.content.image_features", lambda *_: None)
    config = composed("train", f"experiment={experiment}", "max_updates=400")
    assert config["task"]["scheduler_interval"] == "update"
    data = build.build(config["data"], "data")
    task = build.build(config["task"], "task", facts=data.facts)
    optimizers, schedulers = task.configure_optimizers()
    rates = [[group["lr"] for one in optimizers for group in one.param_groups]]
    for _ in range(399):
        for scheduler in schedulers:
            scheduler.step()
        rates.append([group["lr"] for one in optimizers for group in one.param_groups])
    for player in zip(*rates, strict=True):
        assert sum(rate > 0.01 * max(player) for rate in player) > 0.9 * len(player)


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_experiment_asks_a_question(experiment: str) -> None:
    lines = (CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    first = next(line for line in lines if line.startswith("# ") and "@package" not in line)
    assert "?" in first


def targets(node: Any) -> Iterator[dict[str, Any]]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and "_target_" in node:
        yield node
    for child in children:
        yield from targets(child)


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}"
)
def test_leaf_names_what_exists(path: Path) -> None:
    """Alone, without interpolations; a file with a defaults list is checked when composed."""

    def is_open(value: Any) -> bool:
        return isinstance(value, str) and ("${" in value or value == "???")

    def plain(node: Any) -> Any:
        if isinstance(node, list):
            return [plain(value) for value in node]
        if not isinstance(node, dict):
            return node
        # auto is no precision of Lightning's: restore.precision puts one in its place.
        settled = {k: v for k, v in node.items() if (k, v) != ("precision", "auto")}
        kept = {k: plain(v) for k, v in settled.items() if not is_open(v)}
        return {**kept, "_partial_": True} if "_target_" in kept else kept

    leaf = yaml.safe_load(path.read_text())
    if isinstance(leaf, dict) and "defaults" not in leaf:
        for node in targets(plain(leaf)):
            check(node)


@pytest.mark.parametrize("baseline", choices("baseline"))
def test_baseline_composes_and_fits(baseline: str) -> None:
    config = composed("evaluate", f"baseline={baseline}")
    check(config["baseline"][baseline])


@pytest.mark.parametrize("benchmark", choices("benchmark"))
def test_benchmark_composes_and_fits(benchmark: str) -> None:
    own = {"folder": ["+degradation@benchmark.folder.data.degradation=half"]}.get(benchmark, [])
    node = composed("evaluate", f"benchmark={benchmark}", "+seed=0", *own)["benchmark"][benchmark]
    check(node, benchmark, {"name", "protocol", "reference"})
    assert isinstance(build.build(node["data"], "data").facts, Facts)


def rounds(*groups: str) -> list[list[str]]:
    """Overrides of as many configs as the largest group has choices: each is made, of each group.

    Composing is what takes time, and the groups name different parts of a config.
    """
    named = {group: choices(group) for group in groups}
    return [
        [f"{group}={names[turn % len(names)]}" for group, names in named.items()]
        for turn in range(max(map(len, named.values())))
    ]


@pytest.mark.parametrize(
    "chosen", rounds("trainer", "logger", "optimizer", "scheduler", "sampler"), ids=" ".join
)
def test_every_choice_fits_the_default_experiment(chosen: list[str]) -> None:
    config = precision.settle(composed("train", *chosen))[0]
    given = {"trainer": {"callbacks", "logger", "default_root_dir"}, "logger": {"save_dir"}}
    for section, names in {**given, "task": {"facts"}}.items():
        check(config[section], section, names)


@pytest.mark.parametrize("chosen", rounds("loss", "adversary", "degradation"), ids=" ".join)
def test_every_choice_fits_a_restoration_task(chosen: list[str]) -> None:
    config = composed("train", "experiment=inpaint_photos", *chosen)
    check(config["task"], "task", {"facts"})
    check(config["data"], "data")
