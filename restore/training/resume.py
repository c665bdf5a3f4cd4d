"""Going on with a run from its newest whole checkpoint, in its own folder, exactly or not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from lightning.pytorch import Trainer

from restore import checkpoint as file
from restore.config.command import spelled
from restore.config.naming import check_named
from restore.config.rules import check_max_updates
from restore.config.trust import Trust, code_differences, foreign
from restore.data.module import DataModule
from restore.recovery import lock
from restore.recovery.rows import Rows
from restore.run_files import CHECKPOINTS, CONFIG, RUN, read_config
from restore.task.base import Task
from restore.training.limits import check_not_ended
from restore.training.settings import replace_settings
from restore.types import InputError

# Settings that cannot change a weight: all below a name that ends in a dot.
FREE = (
    *("max_updates", "callback.", "logger.", "benchmark.", "sampler.", "guidance.", "resume."),
    *("task.sampler.", "task.guidance.", "task.val_images"),
    *("data.num_workers", "data.root", "data.cache_gb", "packages", "init.partial"),
    *("trainer.max_time", "trainer.max_epochs", "trainer.log_every_n_steps"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.profiler."),
    *("trainer.val_check_interval", "trainer.num_sanity_val_steps", "trainer.limit_test_batches"),
)
# Other averages are other results, though no weight changes; a teacher changes weights.
NOT_FREE = ("callback.ema.", "callback.teacher.")
TUNING = ("optimizer", "scheduler")

_NO_RUN = "is no run folder: it has no folder checkpoints; of RUN/checkpoints/NAME.ckpt give RUN"


@dataclass
class Resumed:
    """A run to go on with, and what a config that is not its own would change."""

    folder: Path
    checkpoint: Path
    content: dict[str, Any]
    config: dict[str, Any]
    overrides: list[str]
    allow_inexact: bool
    damaged: list[Path]
    settings: list[str] = field(default_factory=list)  # of this time, as they were typed
    differences: list[str] = field(default_factory=list)

    @property
    def experiment(self) -> str:
        return str(self.content["experiment"])

    @property
    def id(self) -> str | None:
        run = self.content.get("run")
        return None if run is None else str(run)

    def check(
        self, task: Task, data: DataModule, trainer: Trainer, callbacks: Mapping[str, Any]
    ) -> None:
        """Raises InputError, naming every difference, unless the run goes on exactly or may not."""
        content, recovery = self.content, callbacks["recovery"]
        self.differences = self._compared(data, trainer, callbacks["config"].teacher)
        if self.differences and not self.allow_inexact:
            raise InputError(
                f"{self.folder} cannot be resumed exactly: {'; '.join(self.differences)}. Take "
                "these back, or go on all the same with resume.allow_inexact=true"
            )
        try:
            task.load_state_dict(content["state_dict"])
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise InputError(f"the weights of {self.checkpoint} do not fit: {reason}") from error
        recovery.retunes = any(
            word in one.partition(":")[0] for one in self.differences for word in TUNING
        )
        recovery.history = [
            *content["resumed"],
            {
                "updates": int(content["progress"]["updates"]),
                "from": self.checkpoint.name,
                "settings": self.settings,
                "differences": self.differences,
            },
        ]

    def _compared(
        self, data: DataModule, trainer: Trainer, teacher: Mapping[str, Any] | None
    ) -> list[str]:
        """What could change a weight: settings, data, code, processes, the file of a teacher."""
        content = self.content
        found = differences(content["config"], self.config)
        recorded, now = content["fingerprint"], data.fingerprint()
        for name in recorded:
            if recorded[name] != now[name]:
                found.append(f"the data's {name}: {recorded[name]} -> {now[name]}")
        found += code_differences(content.get("foreign", {}), foreign(self.config))
        world = content["position"]["world_size"]
        if world != trainer.world_size:
            found.append(f"processes: {world} -> {trainer.world_size}")
        taught = content.get("teacher")
        if taught and teacher and taught["checkpoint"] != teacher["checkpoint"]:
            found.append(f"the teacher's file: {taught['checkpoint']} -> {teacher['checkpoint']}")
        if self.config["trainer"].get("overfit_batches"):
            found.append("trainer.overfit_batches: such a run starts its epoch anew")
        return found

    def begin(self, trainer: Trainer) -> None:
        """Says what is resumed, and takes back what was logged after the checkpoint."""
        if not trainer.is_global_zero:
            return
        for path in self.damaged:
            print(f"skipped: {path} is damaged")
        updates = self.content["progress"]["updates"]
        print(f"resumed: {self.checkpoint.name}, update {updates}", flush=True)
        for one in self.differences:
            print(f"inexact: {one}", flush=True)
        for name, node in self.content["config"].get("callback", {}).items():
            if _command(node) and not _command(self.config["callback"].get(name)):
                print(f"not run: callback.{name}.command; name it anew to trust it", flush=True)
        for logger in trainer.loggers:
            if isinstance(logger, Rows):
                logger.keep(int(self.content["position"]["rows"]))


def load(folder: Path, settings: Mapping[str, Any], allow_inexact: bool) -> Resumed:
    """The run in `folder` with its own config, in which `settings` by dotted key are replaced.

    What the run itself names is as strict as a checkpoint: packages, libraries among them, and
    commands are trusted only where settings name them anew.

    Raises:
        InputError: no run, no whole checkpoint, nothing left to do, or a package not named.
    """
    folder = folder.expanduser().resolve()
    if not (folder / CHECKPOINTS).is_dir() and not (folder / RUN).is_file():
        raise InputError(f"resume.path={folder} {_NO_RUN}")
    if lock.is_first():
        lock.hold(folder)
    own = own_id(folder)
    path, damaged = file.newest_valid(folder / CHECKPOINTS, lambda stated: stated.run == own)
    if path is None:
        named = f" ({', '.join(one.name for one in damaged)} damaged)" if damaged else ""
        raise InputError(
            f"resume.path={folder} has no whole checkpoint of its run{named}: start a new run in "
            "another folder"
        )
    content = file.read(path)
    if "position" not in content:
        raise InputError(f"{path} does not say where its run stood: callback.recovery was missing")
    config = replace_settings(_untrusted(content["config"]), settings)
    if config["data"].get("root") is None:  # no checkpoint knows the machine, but its folder does
        config["data"]["root"] = _root(folder)
    check_named(config, content.get("foreign", {}), Trust.of(config), typed=[*settings.values()])
    check_max_updates(config["max_updates"])
    check_not_ended(folder, own, content, config)
    given = [f"{key}={spelled(one)}" for key, one in settings.items()]
    overrides = [*first_overrides(folder), *_later_overrides(content), *given]
    return Resumed(folder, path, content, config, overrides, allow_inexact, damaged, given)


def _root(folder: Path) -> str | None:
    """The data.root that the run in a folder was started with; None for that of the machine."""
    stored = read_config(folder) if (folder / CONFIG).is_file() else {}
    root = stored.get("data", {}).get("root")
    return root if isinstance(root, str) and Path(root).expanduser().is_dir() else None


def _command(node: Any) -> Any:
    """What a callback's config would run."""
    return node.get("command") if isinstance(node, dict) else None


def _untrusted(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config without what only the user may name: packages, and commands to run."""
    callbacks = {
        name: {**node, "command": None} if _command(node) else node
        for name, node in stored.get("callback", {}).items()
    }
    return {**stored, "packages": [], "callback": callbacks}


def differences(stored: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """What could change a weight, as `key: stored -> now`."""
    was, now = dict(_leaves(stored)), dict(_leaves(config))
    return [
        f"{key}: {was.get(key)} -> {now.get(key)}"
        for key in sorted(was.keys() | now.keys())
        if was.get(key) != now.get(key) and not _is_free(key)
    ]


def _is_free(key: str) -> bool:
    def below(names: tuple[str, ...]) -> bool:
        return any(
            key == one.rstrip(".") or (one[-1] == "." and key.startswith(one)) for one in names
        )

    return below(FREE) and not below(NOT_FREE)


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def own_id(folder: Path) -> str | None:
    """Id of the run that a folder belongs to; None for one that began before runs had one.

    Raises:
        InputError: run.json is lost, and the checkpoints are of several runs.
    """
    known = lock.identity(folder)
    if known is not None:
        return None if known["id"] is None else str(known["id"])
    seals = [file.seal(path) for path in (folder / CHECKPOINTS).glob(f"*{file.SUFFIX}")]
    found = {stated.run for stated in seals if stated is not None and stated.run is not None}
    if len(found) > 1:
        raise InputError(
            f"resume.path={folder} has checkpoints of {len(found)} runs, and no {RUN} that "
            "says which is its own: move the others away"
        )
    return next(iter(found), None)


def first_overrides(folder: Path) -> list[str]:
    """What the run was started with."""
    known = lock.identity(folder) or {}
    if "overrides" in known:
        return [str(one) for one in known["overrides"]]
    path = folder / ".hydra" / "overrides.yaml"
    return (
        [str(one) for one in yaml.safe_load(path.read_text(encoding="utf-8"))]
        if path.exists()
        else []
    )


def _later_overrides(content: Mapping[str, Any]) -> list[str]:
    """What it was given each time that it went on, up to a checkpoint."""
    return [one for time in content.get("resumed", []) for one in time.get("settings", [])]
