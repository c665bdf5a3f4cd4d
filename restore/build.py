"""From a plain config to live objects: the only place that calls Hydra's instantiate.

The whole tree is checked before the first object is built, wherever the config came from.
"""

import dataclasses
import functools
import logging
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from restore.callback.checkpoint import ConfigInCheckpoint
from restore.evaluation.benchmark import Benchmark, affordable, fingerprint
from restore.evaluation.method import Method, from_baseline, from_task
from restore.signature import check, unknown
from restore.task.base import RestorationTask
from restore.types import Facts, InputError

Config = dict[str, Any]

_SHARED = {"benchmark", "sampler", "guidance", "trainer"}
TRAINING = _SHARED | {"data", "task", "callback", "logger", "seed", "max_updates"}
EVALUATION = _SHARED | {"checkpoint", "baseline", "published", "batch_size", "record"}
NEEDED = ("max_updates", "throughput", "best", "last")  # callbacks
# Keys of Lightning's Trainer that mean something else, or nothing, here.
REFUSED = {
    "max_steps": "it counts the steps of every optimizer: set max_updates",
    "gradient_clip_val": "set task.clip_norm, which has one meaning for all tasks",
    "accumulate_grad_batches": "set task.accumulate, which has one meaning for all tasks",
}


def build(config: Config, path: str = "", **given: Any) -> Any:
    """The object that `config` describes; `given` are arguments that only code knows.

    Raises:
        InputError: a target that is not allowed, an unknown key, a value of the wrong type, a
            missing key, or a value that the constructor refuses. Nothing is built in that case
            but what the constructor itself had built.
    """
    if "_target_" not in config:
        raise InputError(f"{path}._target_ is missing: nothing says what {path} is")
    check(config, path, given=set(given))
    # The root is called here and not by instantiate, which would turn live arguments into configs.
    root = {**config, "_partial_": True}
    try:
        made = instantiate(root, _convert_="all")
        return functools.partial(made, **given) if config.get("_partial_") else made(**given)
    except InstantiationException as error:
        raise InputError(_reason(error, path)) from error
    except InputError:
        raise
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise InputError(f"{path}: {error}") from error


def check_evaluation(config: Config) -> None:
    """Raises InputError for an evaluation config that has unknown keys or nothing to do."""
    _check_keys(config, EVALUATION)
    if not any(config.get(key) for key in ("checkpoint", "baseline", "published")):
        raise InputError(
            "nothing to evaluate: give checkpoint=PATH, baseline=NAME or published=NAME"
        )
    if not config.get("benchmark"):
        raise InputError("nothing to evaluate on: give benchmark=NAME")
    size = config["batch_size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InputError(f"batch_size={size!r} must be an integer of at least 1")


def _check_keys(config: Config, known: set[str]) -> None:
    for key in config:
        if key not in known:
            raise InputError(unknown(key, key, known))


def check_run(config: Config) -> None:
    """Raises InputError for a training config whose root or trainer section cannot be meant."""
    _check_keys(config, TRAINING)
    for key in ("data", "task", "callback", "logger", "trainer", "seed", "max_updates"):
        if config.get(key) is None:
            raise InputError(f"{key} is missing: every training needs it")
    for name in NEEDED:
        if config["callback"].get(name) is None:
            raise InputError(f"callback.{name} is missing: a run cannot end or report without it")
    size = config["max_updates"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InputError(f"max_updates={size!r} must be an integer of at least 1")
    if config["trainer"].get("val_check_interval") == 0:
        raise InputError("trainer.val_check_interval=0 must be a number of batches from 1 up")
    if config["task"].get("adversary") is not None and config["trainer"].get("strategy") == "ddp":
        raise InputError(
            "trainer.strategy=ddp stops at a task with an adversary, whose players step apart: use "
            "trainer=ddp or trainer.strategy=ddp_find_unused_parameters_true"
        )
    for key, reason in REFUSED.items():
        if key in config["trainer"]:
            raise InputError(f"trainer.{key} is refused: {reason}")
    seed = config["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise InputError(f"seed={seed!r} must be an integer in [0, 2^31)")


def trainer(config: Config, folder: Path, callbacks: dict[str, Any]) -> Trainer:
    """The trainer of a run, which writes below `folder`."""
    _quieten()
    logger = build(config["logger"], "logger", save_dir=str(folder))
    given = {"callbacks": list(callbacks.values()), "logger": logger, "default_root_dir": folder}
    return _as_trainer(build(config["trainer"], "trainer", **given))


def callbacks(config: Config, facts: Facts, experiment: str) -> dict[str, Any]:
    """The configured callbacks by name, and the one that stores the config in checkpoints."""
    nodes = {name: node for name, node in config["callback"].items() if node is not None}
    named = {name: build(node, f"callback.{name}") for name, node in nodes.items()}
    return {**named, "config": ConfigInCheckpoint(experiment, config, dataclasses.asdict(facts))}


def tester(config: Config) -> Trainer:
    """A trainer that only evaluates: same devices, full precision, no files, no callbacks."""
    _quieten()
    keys = ("_target_", "accelerator", "devices", "num_nodes", "strategy", "limit_test_batches")
    node = {key: config["trainer"][key] for key in keys if key in config["trainer"]}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    own = {"use_distributed_sampler": False, "precision": "32-true", "logger": False}
    return _as_trainer(build({**node, **quiet, **own, "enable_checkpointing": False}, "trainer"))


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


def _quieten() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips and adverts
    warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
    warnings.filterwarnings("ignore", ".*LeafSpec")


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
