"""What `restore app` is told."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the command line says. models: runs, checkpoints, folders of runs, bundles, names."""

    models: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 7860
    packages: tuple[str, ...] = ()
    auth: Path | None = None
    device: str | None = None
