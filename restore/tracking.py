"""A run in W&B, which can neither stop nor hold up the run that it is told about."""

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_warn

from restore.build import build
from restore.config.trust import Trust
from restore.recovery.best import ConfigInCheckpoint
from restore.recovery.rows import Rows
from restore.run_files import sweep_of
from restore.types import InputError

LONGEST_END = 5.0  # seconds: a preempted run has to be gone soon
LONGEST_TAG = 64  # characters, W&B's limit


class WandB(Logger, Callback):
    """One W&B run, begun and fed by rank 0 alone, written below save_dir/wandb.

    Every value is logged against `step`, the count of updates. An online run that has no key, or no
    answer within `timeout` seconds, goes on offline, for `wandb sync`. Whatever wandb raises costs
    one warning; nobody is ever asked for a key. upload_timeout: seconds that the artifacts of an
    online run may take at its end. name, group: of the run, else WANDB_NAME and
    WANDB_RUN_GROUP, else those of its folder and sweep; tags: beside WANDB_TAGS and the run's own.
    WANDB_MODE=offline and =disabled are obeyed.
    """

    def __init__(
        self,
        save_dir: str,
        project: str = "restore",
        entity: str | None = None,
        offline: bool = True,
        timeout: float = 8.0,
        upload_timeout: float = 120.0,
        name: str | None = None,
        tags: Sequence[str] = (),
        group: str | None = None,
    ) -> None:
        if min(timeout, upload_timeout) <= 0:
            raise InputError(
                "logger: timeout and upload_timeout must be positive seconds, got "
                f"{timeout} and {upload_timeout}"
            )
        self.folder = Path(save_dir)
        self.project, self.entity, self.offline = project, entity, offline
        self.timeout, self.upload_timeout = timeout, upload_timeout
        self.run_name, self.tags, self.group = name, tuple(tags), group
        self.id: str | None = None  # of an earlier part of this run, or of the run once it began
        self._run: Any = None
        self._experiment = ""
        self._step = 0
        self._shown = 0  # when the last picture was written
        self._warned = False

    @property
    def name(self) -> str:
        return self.project

    @property
    def version(self) -> str | None:
        return self.id

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config is given to `begin`."""

    def attempt(self, action: Callable[..., object], *arguments: Any) -> None:
        """Calls `action` if the run has begun; what it raises becomes the one warning."""
        if self._run is None:
            return
        try:
            action(*arguments)
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            rank_zero_warn(f"W&B: {reason}; the run goes on, its own folder has everything")

    def begin(
        self, job_type: str, experiment: str, config: Mapping[str, Any], tags: Iterable[str]
    ) -> None:
        mode = os.environ.get("WANDB_MODE", "")
        if mode == "disabled":
            return
        # Its telemetry waits for the server when the process ends, even of an offline run.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self._experiment = experiment
        given = os.environ.get
        every = [*self.tags, *given("WANDB_TAGS", "").split(","), *tags]
        sweep = sweep_of(self.folder)
        described = {
            "job_type": job_type,
            "name": self.run_name or given("WANDB_NAME") or f"{experiment}-{self.folder.name}",
            "config": dict(config),
            "tags": [tag[:LONGEST_TAG] for tag in dict.fromkeys(every) if tag],
            "group": self.group or given("WANDB_RUN_GROUP") or (sweep.name if sweep else None),
        }
        for offline in (True,) if self.offline or mode == "offline" else (False, True):
            try:
                self._run = self._start(offline, described)
                self.id = self._run.id
                break
            except Exception as error:
                self._warn(error)
        self.attempt(self._announce)

    def _start(self, offline: bool, described: dict[str, Any]) -> Any:
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        if not offline and not wandb.login(prompt=False, verify=False):
            raise RuntimeError("no API key, set WANDB_API_KEY or call `wandb login`")
        return wandb.init(
            project=self.project,
            entity=self.entity,
            dir=str(self.folder),
            mode="offline" if offline else "online",
            id=self.id,
            resume="allow" if self.id is not None and not offline else None,
            reinit="create_new",  # else a run that was not finished would take this one's metrics
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=self.timeout,
                finish_timeout=min(self.timeout, LONGEST_END),
            ),
            **described,
        )

    def _announce(self) -> None:
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        parts = Path(self._run.dir).parents[1].glob(f"offline-run-*-{self._run.id}")
        local = shlex.join(["wandb", "sync", *map(str, sorted(parts))])
        print(f"tracked: {local if self._run.offline else self._run.url}", flush=True)

    def send(self, values: Mapping[str, Any]) -> None:
        self._run.log({**values, "step": self._step})

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._step = self._step if step is None else step
        self.attempt(self.send, metrics)

    def keep(self, files: Mapping[str, Path]) -> None:
        """Files as artifacts `<experiment>-<kind>`, by kind; waits until they are uploaded."""
        import wandb

        deadline = time.monotonic() + self.upload_timeout
        sent = []
        for kind, path in files.items():
            metadata = {"experiment": self._experiment, "updates": self._step, "file": path.name}
            sort = "model" if path.suffix == ".ckpt" else kind
            artifact = wandb.Artifact(f"{self._experiment}-{kind}", sort, metadata=metadata)
            artifact.add_file(str(path), policy="immutable")  # sent from where it lies
            sent.append(self._run.log_artifact(artifact))
        for artifact in [] if self._run.offline else sent:
            artifact.wait(timeout=max(1, int(deadline - time.monotonic())))

    def finish(self, code: int) -> None:
        """Ends the run with the exit code of the job."""
        run, self._run = self._run, None
        if run is not None:
            try:
                run.finish(exit_code=code)
            except Exception as error:
                self._warn(error)

    def on_fit_start(self, trainer: Any, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        stored = next(one for one in trainer.callbacks if isinstance(one, ConfigInCheckpoint))
        made = (stored.config["task"], stored.config["data"].get("source") or {})
        classes = (str(node.get("_target_", "")).rpartition(".")[2] for node in made)
        self.begin("train", stored.experiment, stored.config, (stored.experiment, *classes))

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Shows the picture that Samples wrote in this validation."""
        path = self.folder / "samples" / "last.png"
        if trainer.sanity_checking or not path.exists():
            return
        written = path.stat().st_mtime_ns
        if written != self._shown:
            self._shown, self._step = written, int(pl_module.updates)
            self.attempt(self._show, path)

    def _show(self, path: Path) -> None:
        import wandb

        # The 8-bit file as it is: wandb casts floats in [0, 1] to black.
        self.send({"samples": wandb.Image(str(path), caption="input | results | target")})

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["tracking"] = {"id": self.id}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.id = checkpoint.get("tracking", {}).get("id")


@contextlib.contextmanager
def finish_at_end(loggers: Iterable[Any]) -> Iterator[None]:
    """Finishes every W&B run among `loggers` with the exit code of what the block did."""
    code: object = 1
    try:
        yield
        code = 0
    except InputError:
        code = 2
        raise
    except SystemExit as ended:
        code = ended.code
        raise
    finally:
        for logger in loggers:
            if isinstance(logger, WandB):
                logger.finish(code if isinstance(code, int) else 1)


def loggers(config: dict[str, Any], folder: Path) -> list[Any]:
    """The configured logger, behind the one of the metrics.csv that every run has."""
    made = build(config["logger"], "logger", trust=Trust.of(config), save_dir=str(folder))
    return [made] if isinstance(made, Rows) else [Rows(str(folder)), made]


def tracker(config: dict[str, Any], folder: Path) -> WandB | None:
    """The logger of an evaluation, whose files need none."""
    if not config.get("logger"):
        return None
    made = build(config["logger"], "logger", trust=Trust.of(config), save_dir=str(folder))
    if not isinstance(made, WandB):
        raise InputError(
            f"logger={type(made).__name__}: an evaluation writes its files without one, and takes "
            "logger=wandb only"
        )
    return made
