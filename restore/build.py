"""From a plain config to live objects: the only place that calls Hydra's instantiate.

The whole tree is checked before the first object is built, wherever the config came from.
"""

import dataclasses
import logging
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger

from restore.callback.checkpoint import ConfigInCheckpoint
from restore.callback.preemption import EndOnSignal
from restore.callback.tracking import WandB
from restore.evaluation.benchmark import Benchmark, affordable, fingerprint
from restore.evaluation.method import Method, from_baseline, from_task
from restore.signature import check
from restore.task.base import RestorationTask
from restore.types import Facts, InputError

Config = dict[str, Any]


def build(config: Config, path: str = "", **given: Any) -> Any:
    """The object that `config` describes; `given` are arguments that only code knows.

    Raises:
        InputError: a target that is not allowed, an unknown key, a value of the wrong type, a
            missing key, or a value that the constructor refuses. Nothing is built in that case
            but what the constructor itself had built.
    """
    if not isinstance(config, Mapping) or "_target_" not in config:
        raise InputError(f"{path}._target_ is missing: nothing says what {path} is")
    if config.get("_partial_"):
        raise InputError(f"{path}._partial_=true is refused: {path} itself is needed")
    check(config, path, given=set(given))
    # The root is called here and not by instantiate, which would turn live arguments into configs.
    root = {**config, "_partial_": True}
    try:
        return instantiate(root, _convert_="all")(**given)
    except InstantiationException as error:
        raise InputError(_reason(error, path)) from error
    except InputError:
        raise
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise InputError(f"{path}: {error}") from error


def trainer(config: Config, folder: Path, callbacks: dict[str, Any]) -> Trainer:
    """The trainer of a run, which writes below `folder`."""
    _quieten()
    made = loggers(config, folder)
    called = [*callbacks.values(), *(one for one in made if isinstance(one, Callback))]
    given = {"callbacks": called, "logger": made, "default_root_dir": folder}
    return _as_trainer(build(config["trainer"], "trainer", **given, plugins=_cluster()))


def loggers(config: Config, folder: Path) -> list[Any]:
    """The configured logger, behind the one of the metrics.csv that every run has."""
    made = build(config["logger"], "logger", save_dir=str(folder))
    if isinstance(made, CSVLogger):
        return [made]
    return [CSVLogger(str(folder), name="", version="", flush_logs_every_n_steps=20), made]


def tracker(config: Config, folder: Path) -> WandB | None:
    """The logger of an evaluation, whose files need none."""
    if not config.get("logger"):
        return None
    made = build(config["logger"], "logger", save_dir=str(folder))
    if not isinstance(made, WandB):
        raise InputError(
            f"logger={type(made).__name__}: an evaluation writes its files without one, and takes "
            "logger=wandb only"
        )
    return made


def callbacks(config: Config, facts: Facts, experiment: str) -> dict[str, Any]:
    """The configured callbacks by name, and the one that stores the config in checkpoints."""
    named = {
        name: build(node, f"callback.{name}")
        for name, node in config["callback"].items()
        if not is_off(node)
    }
    return {**named, "config": ConfigInCheckpoint(experiment, config, dataclasses.asdict(facts))}


def is_off(node: Any) -> bool:
    """Whether a callback is null, or its class is."""
    return node is None or (isinstance(node, Mapping) and node.get("_target_", "") is None)


def tester(config: Config) -> Trainer:
    """A trainer that only evaluates: same devices, full precision, no files."""
    _quieten()
    keys = ("_target_", "accelerator", "devices", "num_nodes", "strategy", "limit_test_batches")
    node = {key: config["trainer"][key] for key in keys if key in config["trainer"]}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    own = {"use_distributed_sampler": False, "precision": "32-true", "logger": False}
    node = {**node, **quiet, **own, "enable_checkpointing": False}
    given = {"callbacks": [EndOnSignal()], "plugins": _cluster()}
    return _as_trainer(build(node, "trainer", **given))


def benchmarks(config: Config, batch_size: int, num_calls: int) -> list[Benchmark]:
    """The benchmarks of a config for a method of num_calls, in batches up to batch_size."""
    made = []
    for name, node in config.get("benchmark", {}).items():
        node = affordable(node, num_calls)
        data = {**node["data"], "batch_size": min(node["data"]["batch_size"], batch_size)}
        made.append(
            build(
                {**node, "data": data},
                f"benchmark.{name}",
                name=name,
                protocol=fingerprint(node),
                reference=fingerprint(node["data"], "degradation"),
            )
        )
    return made


def method(path: Path, config: Config) -> Method:
    """A checkpoint as a method; sampler and guidance of the config replace its own."""
    content = read_checkpoint(path)
    own = {key: config[key] for key in ("sampler", "guidance") if config.get(key) is not None}
    task = task_from(content, own)
    seed, batch_size = content["config"]["seed"], content["config"]["data"]["batch_size"]
    return from_task(task, content["experiment"], str(path), seed, batch_size)


def baselines(config: Config) -> list[Method]:
    named = (config.get("baseline") or {}).items()
    return [from_baseline(name, build(node, f"baseline.{name}")) for name, node in named]


def published(config: Config) -> list[Method]:
    """Networks of others with their released weights."""
    named = (config.get("published") or {}).items()
    return [build(node, f"published.{name}").method(name) for name, node in named]


def read_checkpoint(path: Path) -> Config:
    """The content of a checkpoint of restore, loaded without running code from it."""
    if not path.is_file():
        raise InputError(f"checkpoint={path} does not exist: give the path of a .ckpt file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"checkpoint={path} is damaged or not trusted: {reason}") from error
    if not isinstance(content, dict) or not {"config", "facts", "state_dict"} <= content.keys():
        raise InputError(f"checkpoint={path} holds no config: it was not written by restore")
    return content


def task_from(content: Config, task: Config | None = None) -> RestorationTask:
    """The task of a checkpoint in eval mode, with its averaged weights where it has them.

    task: replaces top-level keys of the task's config, such as the sampler.
    """
    facts = Facts(**content["facts"])
    made = build({**content["config"]["task"], **(task or {})}, "task", facts=facts)
    assert isinstance(made, RestorationTask)
    try:
        made.load_state_dict(content["state_dict"])
        if content.get("ema", {}).get("weights"):
            made.restorer.load_state_dict(content["ema"]["weights"], strict=False)
    except RuntimeError as error:
        raise InputError(f"the checkpoint's weights do not fit its config: {error}") from error
    return made.eval()


def _cluster() -> list[SLURMEnvironment]:
    """Under SLURM submitit queues a preempted job again, so that Lightning must not."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _quieten() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and adverts
    warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
    warnings.filterwarnings("ignore", ".*LeafSpec")
    # restore.callback.position goes on within an epoch, and in the folder of the run.
    warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before")
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")


def _as_trainer(made: Any) -> Trainer:
    if not isinstance(made, Trainer):
        raise InputError("trainer._target_ must be lightning.pytorch.Trainer")
    return made


def _reason(error: InstantiationException, path: str) -> str:
    """One line from Hydra's report: the constructor's own message, and where."""
    cause = error.__cause__
    if isinstance(cause, InputError):
        return str(cause)
    where = str(error).rpartition("full_key: ")[2] if "full_key: " in str(error) else ""
    where = ".".join(part for part in (path, where) if part)
    message = str(cause or error).strip().splitlines()[0]
    return f"{where}: {message}" if where else message
