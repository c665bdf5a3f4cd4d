"""What the tests' cache of configs gives is what Hydra composes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import composing
import pytest
from entry import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

CASES: tuple[tuple[str, ...], ...] = (
    (),
    ("max_updates=3",),
    ("max_updates=4", "task.network.width=8"),
    ("experiment=inpaint_photos", "debug=smoke"),
    ("experiment=inpaint_photos", "debug=smoke", "adversary=null", "seed=3"),
    ("~callback.progress", "+trainer.enable_progress_bar=false"),
    ("benchmark=[]", "callback=power_ema", "hydra.run.dir=out"),
    ("benchmark=[digits_half]", "logger=wandb"),
    ("~logger",),
    ("experiment=nope",),
    ("nothing=3",),
    ("data={batch_size:3}",),
    ("hydra.job.chdir=maybe",),  # its type is known
)


def outcome(name: str, given: tuple[str, ...], mode: RunMode) -> Any:
    """The config with Hydra's node and its flags, or the type of the refusal and what it says."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    try:
        config = hydra.compose_config(name, list(given), mode, from_shell=False)
    except Exception as error:  # of Hydra or of OmegaConf
        return type(error), str(error), str(error.__cause__)
    flags = [config._get_node_flag(flag) for flag in ("struct", "readonly", "allow_objects")]
    return OmegaConf.to_container(config, resolve=False), flags


@pytest.fixture
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def test_a_config_of_the_cache_is_hydras(hydra: None, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [
        *(("train", given, RunMode.RUN) for given in CASES),
        *(("evaluate", given, RunMode.RUN) for given in CASES[:2]),
        ("train", ("seed=1,2", "data=digits,flowers"), RunMode.MULTIRUN),
        ("train", ("seed=3,4",), RunMode.MULTIRUN),
    ]
    with monkeypatch.context() as patch:
        for owner, name, original in composing.ORIGINALS:
            patch.setattr(owner, name, original)
        wanted = [outcome(*case) for case in cases]
    for _ in range(2):
        for case, one in zip(cases, wanted, strict=True):
            assert outcome(*case) == one, case


def test_a_config_is_ones_own(hydra: None) -> None:
    first, second = compose("train", ["seed=3"]), compose("train", ["seed=3"])
    first.task.network.width = 5
    assert second == compose("train", ["seed=3"]) != first
    assert second.task._get_parent() is second


def test_files_of_elsewhere_are_read_as_they_are(hydra: None, tmp_path: Path) -> None:
    own = tmp_path / "data" / "own.yaml"
    own.parent.mkdir()
    given = [f"hydra.searchpath=[file://{tmp_path}]", "data=own"]
    for number in (1, 22):
        other = "- /optimizer@other: ${optimizer}"  # what another group has chosen
        own.write_text(f"limit: {number}\ndefaults:\n- digits\n{other}\n- _self_\n")
        data = compose("train", given).data
        assert data.limit == number and data.other._target_ == "torch.optim.AdamW"
    own.unlink()
    with pytest.raises(HydraException, match="own"):
        compose("train", given)
