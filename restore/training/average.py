"""Checkpoints with averages of lengths that were chosen after training (see power_average)."""

from collections.abc import Sequence
from pathlib import Path

from restore import checkpoint
from restore.callback.power_ema import FOLDER, rebuild


def checkpoints(run: Path, stds: Sequence[float]) -> list[Path]:
    """Writes RUN/checkpoints/ema_<std>.ckpt for every length: the last checkpoint, with that
    average where its own was.

    Raises InputError where RUN keeps no snapshots or no last checkpoint, before anything is
    written.
    """
    averages = {std: rebuild(run / FOLDER, std) for std in stds}
    content = checkpoint.read(run / "checkpoints" / "last.ckpt")
    written = []
    for std, average in averages.items():
        path = run / "checkpoints" / f"ema_{std:g}.ckpt"
        checkpoint.write({**content, "ema": {**content.get("ema", {}), "weights": average}}, path)
        written.append(path)
    return written
