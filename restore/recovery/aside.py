"""A command beside a training: it gives way to it, and ends with it.

Importing this module must stay instant.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from restore import launch
from restore.recovery.parent import PARENT, die_with_parent

_NICE = 10
_OF_LAUNCHERS = ("TORCHELASTIC_", "SLURM_", "OMPI_", "PMI_", "MV2_", "JSM_", launch.AGREED)


def started(command: list[str]) -> list[str]:
    """The command line of a process that becomes `command`."""
    root = str(Path(__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); from restore.recovery import aside; "
    return [sys.executable, "-c", f"{code}aside.become(sys.argv[1:])", *command]


def become(command: list[str]) -> NoReturn:
    """Replaces this process by the command, with a lower priority; 127 where there is none."""
    die_with_parent()
    os.nice(_NICE)
    os.environ.pop(PARENT, None)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


def environment(gpus: str, threads: int) -> dict[str, str]:
    """The environment of the command: not a rank's, with these GPUs and so many threads."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in (*launch.LEFT, launch.RANKS) and not name.startswith(_OF_LAUNCHERS)
    }
    number = str(threads)
    own = {"CUDA_VISIBLE_DEVICES": gpus, "OMP_NUM_THREADS": number, "MKL_NUM_THREADS": number}
    return {**kept, **own}
