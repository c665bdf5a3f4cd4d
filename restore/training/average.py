"""Checkpoints with averages of lengths that were chosen after training (see power_average)."""

from collections.abc import Sequence
from pathlib import Path

from restore import checkpoint
from restore.callback.power_ema import FOLDER, rebuild
from restore.run_files import CHECKPOINTS


def checkpoints(run: Path, stds: Sequence[float]) -> list[Path]:
    """Writes RUN/checkpoints/ema_<std>.ckpt for every length: the last checkpoint, with that
    average where its own was. No run goes on from them: it would have another average.

    Raises InputError where RUN keeps no snapshots or no last checkpoint, before anything is
    written.
    """
    averages = {std: rebuild(run / FOLDER, std) for std in stds}
    content = checkpoint.read(run / CHECKPOINTS / "last.ckpt")
    written = []
    for std, average in averages.items():
        path = run / CHECKPOINTS / f"ema_{std:g}.ckpt"
        ema = {**content.get("ema", {}), "weights": average}
        checkpoint.write({**content, "ema": ema, "rebuilt": std}, path)
        written.append(path)
    return written


def instate(winner: Path, best: Path) -> str:
    """Makes `winner` the best checkpoint of its run. Says so.

    What training chose stays beside it, however often another average is made the best.
    """
    if winner == best:
        return f"{best} stays: no average is better"
    before = best.with_name("best-before.ckpt")
    content = checkpoint.read(best)
    if "rebuilt" not in content:
        checkpoint.write(content, before)
    checkpoint.write(checkpoint.read(winner), best)
    return f"{best} is {winner.name} now; what training chose is {before.name}"
