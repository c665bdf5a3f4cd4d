"""`restore ask`: a question to a running training, by files of its folder.

Importing this module must stay instant.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from restore.errors import DONE
from restore.recovery import lock, request
from restore.run_files import CONFIG, RESULT, RUN
from restore.sweep import again
from restore.types import InputError, RunError

ABOUT = "ask a running training for its status, a sample, a checkpoint, or to stop"
EXAMPLES = """words:
  status    where it is: updates, losses, the last validation, time left
  sample    validation images as it restores them now, in samples/asked-UPDATE.png
  save      a checkpoint of this moment, recovery-UPDATE.ckpt
  stop      save, and end with exit code 143; the last line is the command that goes on

The run answers at its next update, whatever the number of its processes, and trains on as if
nobody had asked. There is no server: RUN may lie on a disk that two machines share.

examples:
  restore ask outputs/ddpm_mnist/RUN status
  restore ask outputs/ddpm_mnist/RUN sample --timeout 600
  ssh HOST restore ask /scratch/RUN status --json"""
_LIVES = 1.0  # seconds between two looks whether the run is still there


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="the first line of a training")
    parser.add_argument("word", metavar="WORD", choices=request.WORDS, help="see below")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=120.0)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.set_defaults(
        command=lambda given: show(given.run, given.word, given.timeout, given.json)
    )


def show(run: Path, word: str, timeout: float = 120.0, as_json: bool = False) -> int:
    """Asks and prints the answer, a line a value.

    Raises:
        InputError: `run` is no run folder, or no living one.
        RunError: no answer within `timeout` seconds, or the run cannot do it.
    """
    answer = ask(run, word, timeout)
    if as_json:
        bare = {k: v for k, v in answer.items() if isinstance(v, float) and not math.isfinite(v)}
        print(json.dumps(answer | dict.fromkeys(bare)))  # JSON holds no NaN
        return DONE
    for name, value in answer.items():
        print(f"{name}: {f'{value:.6g}' if isinstance(value, float) else value}")
    if word == "stop":
        print(f"to go on: {again.go_on(run)}")
    return DONE


def ask(run: Path, word: str, timeout: float) -> dict[str, Any]:
    """The answer of a running training; the errors are those of `show`."""
    _check_lives(run)
    try:
        left = request.leave(run, word)
    except OSError as error:
        raise InputError(f"{run} cannot be written: {error.strerror}") from error
    try:
        answer = _waited(run, left, timeout)
    finally:
        request.take_back(left)
    if "error" in answer:
        raise RunError(f"{run} {word}: {answer['error']}")
    return answer


def _check_lives(run: Path) -> None:
    if not (run / RUN).is_file() and not (run / CONFIG).is_file():
        raise InputError(f"{run} is no run folder: `restore list` shows those that are here")
    if lock.holder(run) is None:
        done = (run / RESULT).is_file()
        how = "it is done" if done else f"it was interrupted, and `{again.go_on(run)}` goes on"
        raise InputError(f"{run} is not running: {how}")


def _waited(run: Path, left: request.Request, timeout: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout
    while (seconds := deadline - time.monotonic()) > 0:
        answer = request.wait(left, min(seconds, _LIVES))
        if answer is not None:
            return answer
        if lock.holder(run) is None:
            answer = request.wait(left, 0)  # its last one may have come meanwhile
            if answer is not None:
                return answer
            raise RunError(f"{run} ended before it answered")
    raise RunError(
        f"{run} did not answer within {timeout:g} s: it starts, measures its benchmarks, or one "
        "update takes longer; give a longer --timeout"
    )
