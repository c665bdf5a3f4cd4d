"""How long commands take, and two processes of one thread against one of two."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pairs import Row

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "import restore": ["-c", "import restore"],
    "train.py --help": ["train.py", "--help"],
    "train.py --cfg job": ["train.py", "--cfg", "job"],
    "a refused setting": ["train.py", "data.batch_size=0"],
    "a whole smoke run": ["train.py", "debug=smoke"],
}
SCALED = ["train.py", "experiment=denoise_photos_regression", "max_updates=60", "benchmark=[]"]


def rows(turns: int) -> Iterator[Row]:
    for name, command in COMMANDS.items():
        ours, bare = [], []
        for _ in range(turns):
            ours.append(_seconds(command, 1))
            bare.append(_seconds(["-c", "pass"], 1))
        yield Row(
            "start",
            name,
            "python alone",
            statistics.median(ours),
            statistics.median(bare),
            0.0,
            turns,
        )
    one, two, wide = [], [], []
    for _ in range(max(1, turns // 2)):
        one.append(_pace(1, 1))
        two.append(_pace(2, 1))
        wide.append(_pace(1, 2))
    single, double = statistics.median(one), statistics.median(two)
    yield Row(
        "scaling",
        "2 processes of 1 thread, an image",
        "1 process of 1 thread",
        double,
        single,
        0.0,
        len(one),
    )
    yield Row(
        "scaling",
        "2 processes of 1 thread, an image",
        "1 process of 2 threads",
        double,
        statistics.median(wide),
        0.0,
        len(one),
    )


def _seconds(command: list[str], threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        place = [f"hydra.run.dir={folder}/run"] if command[-1] == "debug=smoke" else []
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, *command, *place],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            capture_output=True,
        )
        return time.perf_counter() - begun


def _pace(processes: int, threads: int) -> float:
    """Seconds an image of a short training, start and validation left out."""
    trainer = (
        ["trainer=cpu"] if processes == 1 else ["trainer=ddp_cpu", f"trainer.devices={processes}"]
    )
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, *SCALED, *trainer, f"hydra.run.dir={folder}/run"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            capture_output=True,
            check=True,
        )
        result = json.loads(Path(folder, "run", "result.json").read_text(encoding="utf-8"))
    return float(1 / result["training"]["images_per_second"])
