"""What the settings of a run must say together, before anything is built."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from restore.config.signature import check_early
from restore.config.trainer_rules import check_machine, check_trainer
from restore.config.value import unknown
from restore.types import InputError

Config = dict[str, Any]

_SHARED = {"packages", "benchmark", "sampler", "guidance", "trainer", "logger"}
TRAINING = _SHARED | {"data", "task", "callback", "seed", "max_updates", "init", "resume"}
EVALUATION = _SHARED | {
    *("checkpoint", "baseline", "published", "outputs", "batch_size", "record"),
    *("start", "mean_of", "self_ensemble"),
}
RESUME = ("path", "allow_inexact")
INIT: dict[str, tuple[type, ...]] = {"path": (str, type(None)), "partial": (bool,)}
# Precisions of a method that is measured: of its arithmetic, never of its weights or the images.
EVALUATED = ("32-true", "bf16-mixed", "16-mixed", "auto")
NEEDED = ("max_updates", "throughput", "best", "last", "recovery")  # callbacks


def check_evaluation(config: Config, named: bool = False) -> None:
    """Raises InputError for an evaluation config that has unknown keys or nothing to do.

    named: whether there is a method besides those of the config.
    """
    _check_keys(config, EVALUATION)
    check_machine(config["trainer"])
    named = named or any(config.get(key) for key in ("checkpoint", "baseline", "published"))
    if not (has_outputs(config) or named):
        raise InputError(
            "nothing to evaluate: give checkpoint=PATH, baseline=NAME, published=NAME "
            "or outputs=DIR"
        )
    if not config.get("benchmark"):
        raise InputError("nothing to evaluate on: give benchmark=NAME")
    _check_benchmarks(config)
    for key in ("batch_size", "mean_of"):
        size = config.get(key)
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise InputError(f"{key}={size!r} must be an integer of at least 1, or null")
    for key in ("self_ensemble", "record"):
        if not isinstance(config.get(key, False), bool):
            raise InputError(f"{key}={config[key]!r} must be true or false")
    start = config.get("start")
    if start is not None and not (type(start) in (int, float) and 0 < start <= 1):
        raise InputError(f"start={start!r} must be above 0 and at most 1, or null")
    chosen = config["trainer"].get("precision")
    if chosen not in EVALUATED:
        raise InputError(
            f"trainer.precision={chosen!r}: an evaluation takes one of {', '.join(EVALUATED)}"
        )
    check_early(config)


def check_run(config: Config) -> None:
    """Raises InputError for a training config whose root or trainer section cannot be meant."""
    _check_keys(config, TRAINING)
    for key in ("data", "task", "callback", "logger", "trainer", "seed", "max_updates"):
        if config.get(key) is None:
            raise InputError(
                f"{key} is missing: every training needs it; leave out {key}=null or ~{key}"
            )
    for name in NEEDED:
        if config["callback"].get(name) is None:
            raise InputError(
                f"callback.{name} is missing: a run cannot end or report without it. Callbacks of "
                "your own stand beside it, as callback=[default,MINE]"
            )
    _check_resume(config.get("resume"))
    _check_init(config.get("init"))
    check_max_updates(config["max_updates"])
    seed = config["seed"]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise InputError(f"seed={seed!r} must be an integer in [0, 2^31)")
    check_machine(config["trainer"])
    check_trainer(config["trainer"], config["task"])
    _check_callbacks(config["callback"])
    _check_logger(config["logger"])
    _check_benchmarks(config)
    check_early(config)


def check_max_updates(size: Any) -> None:
    """Raises InputError for what is no number of updates."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InputError(f"max_updates={size!r} must be an integer of at least 1")


OUTPUTS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("dir", "name"), (str, type(None))),
    **dict.fromkeys(("composite", "lossy"), (bool,)),
}


def has_outputs(config: Config) -> bool:
    """Whether outputs=DIR is given. InputError for settings of it that cannot be meant."""
    given = config.get("outputs")
    if given is None:
        return False
    if not isinstance(given, Mapping):
        raise InputError(f"outputs={given} must be a folder")
    _check_kinds("outputs", given, OUTPUTS)
    if given.get("dir") is None and given.get("name") is not None:
        raise InputError(f"outputs.name={given['name']} needs a folder: give outputs=DIR")
    return given.get("dir") is not None


def _check_resume(resume: Any) -> None:
    """What is composed here is a new run: a path was not seen where a run is gone on with."""
    if resume is not None and not isinstance(resume, Mapping):
        raise InputError(f"resume={resume} is no setting by itself: give resume.path={resume}")
    for key in resume or {}:
        if key not in RESUME:
            raise InputError(unknown(f"resume.{key}", key, RESUME))
    path = (resume or {}).get("path")
    if path is not None:
        raise InputError(
            f"resume.path={path} would start a new run here: give it on the command line of one "
            f"training, just as resume.path={path}"
        )


def _check_init(init: Any) -> None:
    if init is not None and not isinstance(init, Mapping):
        raise InputError(f"init={init} is no setting by itself: give init.path={init}")
    _check_kinds("init", init or {}, INIT)


def _check_kinds(
    section: str, given: Mapping[str, Any], kinds: Mapping[str, tuple[type, ...]]
) -> None:
    for key, value in given.items():
        if key not in kinds:
            raise InputError(unknown(f"{section}.{key}", key, kinds))
        if not isinstance(value, kinds[key]):
            wanted = "true or false" if bool in kinds[key] else "a text or null"
            raise InputError(f"{section}.{key}={value!r} must be {wanted}")


def _check_keys(config: Config, known: set[str]) -> None:
    for key in config:
        if key not in known:
            raise InputError(unknown(key, key, known))


def _check_callbacks(callbacks: Config) -> None:
    best, last = callbacks["best"], callbacks["last"]
    if best.get("name") == last.get("name"):
        raise InputError(
            f"callback.best.name={best.get('name')} is callback.last.name, too: one file cannot "
            "be both"
        )


def _check_logger(logger: Config) -> None:
    target = str(logger.get("_target_"))
    if target.endswith(".TensorBoardLogger") and not (
        find_spec("tensorboard") or find_spec("tensorboardX")
    ):
        raise InputError(
            "logger=tensorboard needs a package that is not here: pip install tensorboard, or "
            "choose logger=csv"
        )


def _check_benchmarks(config: Config) -> None:
    for name, node in (config.get("benchmark") or {}).items():
        if not isinstance(node, Mapping) or not isinstance(node.get("data"), Mapping):
            raise InputError(f"benchmark.{name} has no data: choose one as benchmark=NAME")


def check_one_process(config: Config) -> None:
    """Raises InputError for a sweep of evaluations by several processes.

    Lightning would start the others by the sweep's command line: each would run the whole sweep.
    """
    devices = config["trainer"].get("devices", 1)
    if devices != 1:
        raise InputError(
            f"trainer.devices={devices}: evaluate.py -m evaluates in one process; set "
            "trainer.devices=1, or name all checkpoints and benchmarks in one command without -m"
        )
