"""The metric by which a callback chooses."""

from collections.abc import Iterable

from restore.types import InputError


def check_monitor(
    setting: str,
    monitor: str | None,
    logged: Iterable[str],
    stages: tuple[str, ...] = ("val/",),
) -> None:
    """Raises InputError for a monitor that no pass of these stages logs."""
    names = sorted(name for name in logged if name.startswith(stages))
    if monitor is not None and monitor not in names:
        raise InputError(
            f"{setting}.monitor={monitor} is not logged: choose from {', '.join(names)}"
        )


def best_is_high(name: str) -> bool:
    """Whether higher is better, of what validation logs: a few metrics, all else are losses."""
    return name.partition("/")[2] in ("psnr", "ssim", "hole_psnr", "colorfulness")
