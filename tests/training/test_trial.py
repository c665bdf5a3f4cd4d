"""What torch alone refuses is refused before Lightning is loaded."""

import subprocess
import sys
from typing import Any

import pytest
from entry import ROOT

from restore.config.compose import composed
from restore.training import trial
from restore.types import InputError

WRONG = [
    ("sampler.num_steps=1001", "num_steps=1001 is more than the 1000 levels of the schedule"),
    ("sampler.num_steps=100000000", "must be at least 1 and at most 100000, got"),
    ("scheduler=step task.scheduler.step_size=0", "task.scheduler divides by zero"),
    ("scheduler=cosine task.scheduler.T_max=0", "task.scheduler divides by zero"),
    ("experiment=inpaint_photos data.train_framing.size=16", "the discriminator, which needs 17"),
    ("task.optimizer.betas=[0.9]", r"task\.optimizer\.betas=\[0\.9\] has the wrong type"),
    (
        "experiment=inpaint_photos task.adversary.optimizer.betas=[0.9]",
        r"task\.adversary\.optimizer\.betas=\[0\.9\] has the wrong type",
    ),
]


@pytest.mark.parametrize(("line", "says"), WRONG)
def test_parts_are_tried(line: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        trial.check(composed("train", line.split()))


@pytest.mark.parametrize("name", ["ddpm_digits", "inpaint_photos", "classifier_digits"])
def test_parts_that_fit_are_not_refused(name: str) -> None:
    trial.check(composed("train", [f"experiment={name}"]))


def test_what_cannot_be_tried_is_left_to_the_run() -> None:
    task: dict[str, Any] = {"_target_": "mylab.task.Mine", "optimizer": {"_target_": "no.Such"}}
    trial.check({"task": task, "data": {}})


@pytest.mark.parametrize("node", [{"_target_": "torch.nn.Identity"}, "words"])
def test_parts_of_somebody_s_own_need_not_be_as_ours(node: Any) -> None:
    """Such a sampler does not count its calls."""
    task = {"sampler": node, "schedule": node, "adversary": node}
    trial.check({"task": task, "data": {"train_framing": {"size": 16}}})


def test_optimizers_of_matrices_have_one() -> None:
    task = {"optimizer": {"_target_": "torch.optim.Muon", "_partial_": True, "lr": 0.1}}
    trial.check({"task": task, "data": {}})


PROGRAM = f"""
import sys
from restore.config import rules
from restore.config.compose import composed
from restore.training import trial
from restore.types import InputError
for line, _ in {WRONG}:
    config = composed("train", line.split())
    rules.check_run(config)
    try:
        trial.check(config)
        print("passed", line)
    except InputError:
        pass
print("lightning" in sys.modules)
"""


@pytest.mark.slow
def test_lightning_is_not_loaded_to_refuse(environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, cwd=ROOT
    )
    assert ended.stdout == "False\n", ended.stdout + ended.stderr
