"""python interrupted.py ARGUMENTS OF train.py: a training that is asked to stop at a chosen moment.

$STOP names it: {"updates": 3, "ranks": [0], "signal": "SIGTERM"}, or {"validation": 1, "after": 3}
for a batch of the first validation after so many updates; "group" signals workers, too; "take" is
a folder that is taken away, in the place of a signal. $SEEN is a file: a line `updates epoch ids
sum` for every batch of rank 0, and file.1 for rank 1. $HIT is touched when a signal is sent.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from restore.task.restoration import RestorationTask


def hit(task: Any, stop: dict[str, Any]) -> None:
    if task.global_rank in stop.get("ranks", [0]):
        number = getattr(signal, stop.get("signal", "SIGTERM"))
        if "HIT" in os.environ:
            Path(os.environ["HIT"]).touch()
        if "take" in stop:
            os.rename(stop["take"], f"{stop['take']}.taken")
        elif stop.get("group"):
            group = str(-os.getpgid(0))  # as a scheduler does: another process sends it
            subprocess.run(["kill", "-s", number.name.removeprefix("SIG"), "--", group])
        else:
            os.kill(os.getpid(), number)


def instrument(patch: Any) -> None:
    """patch(class, name, function): setattr, or pytest's."""
    step, validate = RestorationTask.step_schedule, RestorationTask.validation_step
    batch_start = RestorationTask.on_train_batch_start

    def step_schedule(self: Any) -> None:
        step(self)
        stop = json.loads(os.environ.get("STOP") or "{}")
        if stop.get("updates") == self.updates:
            hit(self, stop)

    def validation_step(self: Any, batch: Any, batch_idx: int) -> None:
        validate(self, batch, batch_idx)
        stop = json.loads(os.environ.get("STOP") or "{}")
        if stop.get("validation") == batch_idx and self.updates >= stop.get("after", 0):
            hit(self, stop)

    def on_train_batch_start(self: Any, batch: Any, batch_idx: int) -> None:
        batch_start(self, batch, batch_idx)
        if "SEEN" in os.environ:
            rank = f".{self.global_rank}" if self.global_rank else ""
            with open(f"{os.environ['SEEN']}{rank}", "a") as file:
                ids = ",".join(map(str, batch["index"].tolist()))
                pixels = float(batch["input"].double().sum())
                file.write(f"{self.updates} {self.current_epoch} {ids} {pixels!r}\n")

    patch(RestorationTask, "step_schedule", step_schedule)
    patch(RestorationTask, "validation_step", validation_step)
    patch(RestorationTask, "on_train_batch_start", on_train_batch_start)


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    sys.path.insert(0, str(root))
    os.environ["HYDRA_MAIN_MODULE"] = "__main__"
    instrument(setattr)
    import train
    from restore import errors

    errors.run(train.main)
