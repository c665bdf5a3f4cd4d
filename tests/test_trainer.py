"""Which strategy and which launcher a trainer gets."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from restore import launch, trainer
from restore.types import InputError

TORCHRUN = {
    **{"TORCHELASTIC_RUN_ID": "7", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
    **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29612"},
}
SRUN = {
    **{"SLURM_JOB_ID": "77", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"},
    **{"SLURM_NODEID": "0", "SLURM_JOB_NAME": "train", "SLURM_STEP_ID": "0"},
}
ONE_TASK = {**SRUN, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.fixture(autouse=True)
def met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are taken to be there."""
    monkeypatch.setattr(launch, "_stores", ["a store"])
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)  # a trainer sets it, for ever
    for name in (*launch.LEFT, launch.RANKS, *SRUN):
        monkeypatch.delenv(name, raising=False)


def made(folder: Path, adversary: Any = None, **settings: Any) -> Any:
    node = {"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu", "strategy": "auto"}
    config = {"trainer": {**node, **settings}, "task": {"adversary": adversary}}
    return trainer.trainer(config, folder, [], [])


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("adversary", [None, {"network": {}}])
def test_strategy_fits_processes_and_players(tmp_path: Path, devices: int, adversary: Any) -> None:
    strategy = made(tmp_path, adversary, devices=devices).strategy
    if devices == 1:
        assert isinstance(strategy, SingleDeviceStrategy)
        return
    assert isinstance(strategy, DDPStrategy)
    assert bool(strategy._ddp_kwargs.get("find_unused_parameters")) == (adversary is not None)


def test_a_strategy_set_by_hand_is_kept(tmp_path: Path) -> None:
    own = made(tmp_path, devices=2, strategy="ddp_find_unused_parameters_true").strategy
    assert own._ddp_kwargs == {"find_unused_parameters": True}


CASES: list[tuple[dict[str, str], type, int]] = [
    ({}, LightningEnvironment, 0),
    (ONE_TASK, LightningEnvironment, 0),
    (TORCHRUN, TorchElasticEnvironment, 1),
    ({**ONE_TASK, **TORCHRUN}, TorchElasticEnvironment, 1),
    (SRUN, trainer.SrunEnvironment, 1),
    ({**SRUN, "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}, trainer.SrunEnvironment, 1),
]


@pytest.mark.parametrize(("environ", "kind", "rank"), CASES)
def test_two_processes_under_every_launcher(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    kind: type,
    rank: int,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    own = made(tmp_path, devices=2)
    environment = own.strategy.cluster_environment
    assert type(environment) is kind
    assert (own.world_size, own.global_rank, own.local_rank) == (2, rank, rank)
    environment.validate_settings(num_devices=2, num_nodes=1)
    if kind is trainer.SrunEnvironment:
        assert not environment.auto_requeue  # submitit does it


@pytest.mark.parametrize("environ", [TORCHRUN, SRUN])
def test_one_device_for_two_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="started 2 processes"):
        made(tmp_path, devices=1)
    monkeypatch.setattr(launch, "wanted_devices", lambda node: None)  # as where the machine decides
    with pytest.raises(InputError, match="started 2 processes"):
        made(tmp_path, devices=1)


class Still(LightningModule):
    """Learns nothing."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> None:
        pass


def test_epochs_shorter_than_the_logging_interval_are_no_warning(tmp_path: Path) -> None:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    settings: dict[str, Any] = {"max_epochs": 1, "log_every_n_steps": 10, **quiet}
    said, logger = "smaller than the logging interval", CSVLogger(tmp_path)
    with pytest.warns(UserWarning, match=said):
        Trainer(accelerator="cpu", logger=logger, **settings).fit(Still(), DataLoader([0]))
    node = {"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu", **settings}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        own = trainer.trainer({"trainer": node, "task": {}}, tmp_path, [], [logger])
        own.fit(Still(), DataLoader([0]))
    assert not [one for one in caught if said in str(one.message)]


class Product(LightningModule):
    """Notes in what type it multiplies while it is tested."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[torch.dtype] = []

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.types.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)


@pytest.mark.parametrize("trained", ["32-true", "bf16-mixed"])
def test_a_run_is_measured_in_float32_whatever_it_was_trained_in(trained: str) -> None:
    node = {"_target_": "lightning.pytorch.Trainer", "accelerator": "cpu", "precision": trained}
    seen = Product()
    trainer.tester({"trainer": node}).test(seen, DataLoader([0]), verbose=False)
    own = Product()
    trainer.tester({"trainer": node}, trained).test(own, DataLoader([0]), verbose=False)
    assert seen.types == [torch.float32]
    assert own.types == [{"32-true": torch.float32, "bf16-mixed": torch.bfloat16}[trained]]
