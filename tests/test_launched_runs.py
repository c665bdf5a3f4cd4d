"""Whole runs by every launcher: the images of two in one folder, or one line and nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from entry import ROOT, Command

SLURM = {
    **{
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    },
    **{"SLURM_NODEID": "0", "SLURM_NNODES": "1", "SLURM_NODELIST": "127.0.0.1"},
    **{"SLURM_JOB_NAME": "train", "SLURM_NTASKS_PER_NODE": "1"},
}
DIGITS = ["task.network.width=4", "task.network.attention=[]", "~benchmark.digits_half"]
GAN = ["experiment=denoise_photos", "task.network.widths=[4,4]", "~benchmark.photos_sigma25"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
PYTHON = [sys.executable]
# The launcher, the environments of what is started, and the settings of the run.
RUNS: dict[str, tuple[list[str], list[dict[str, str]], list[str]]] = {
    "torchrun in a SLURM job": (TORCHRUN, [SLURM], DIGITS),
    "python in a SLURM job of one task": (PYTHON, [SLURM], DIGITS),
    "two tasks of srun": (
        PYTHON,
        [
            SLURM
            | {"SLURM_NTASKS": "2", "SLURM_PROCID": k, "SLURM_LOCALID": k, "SLURM_STEP_ID": "0"}
            for k in "01"
        ],
        DIGITS,
    ),
    "python with two players": (PYTHON, [{}], GAN),
}
CASES = [
    pytest.param(*run, id=name, marks=[pytest.mark.ci] if name.startswith("torchrun") else [])
    for name, run in RUNS.items()
]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "environs", "settings"), CASES)
def test_two_processes_are_one_run(
    tmp_path: Path,
    environment: dict[str, str],
    launcher: list[str],
    environs: list[dict[str, str]],
    settings: list[str],
) -> None:
    run = [*settings, "debug=smoke", "trainer.devices=2", "data.batch_size=4"]
    started = [
        subprocess.Popen(
            [*launcher, str(ROOT / "train.py"), *run],
            cwd=tmp_path,
            env={**environment, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for own in environs
    ]
    ended = [one.communicate(timeout=300) for one in started]
    assert [one.returncode for one in started] == [0] * len(started), ended
    (experiment,) = (tmp_path / "outputs").iterdir()
    (folder,) = experiment.iterdir()
    training = json.loads((folder / "result.json").read_text())["training"]
    assert (training["images"], training["updates"]) == (2 * 2 * 4, 2)
    assert "".join(out for out, _ in ended).count(f"{folder}\n") == 1
    assert os.listdir(tmp_path) == ["outputs"]


@pytest.mark.parametrize(
    ("environ", "settings", "says"),
    [
        (SLURM | {"SLURM_NTASKS": "2"}, [], "srun started 2 processes (SLURM_NTASKS=2), but"),
        ({"WORLD_SIZE": "2"}, [], "the environment says WORLD_SIZE=2: unset WORLD_SIZE"),
        ({"LOCAL_RANK": "1"}, ["trainer.devices=2"], "the environment says LOCAL_RANK=1"),
        (SLURM, ["trainer=ddp_cpu", "trainer.num_nodes=2"], "python started 1 process, but"),
    ],
)
@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_another_number_is_refused(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    settings: list[str],
    says: str,
    script: str,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    given: Any = DIGITS if script == "train" else ["baseline=mean_fill", "benchmark=digits_half"]
    ended = command(*given, *settings, script=script)
    assert ended.code == 2 and ended.err.count("\n") == 1, ended.err
    assert says in ended.err
    assert not list(tmp_path.iterdir())
