"""A job that does not train, and a process that only holds a folder."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from entry import ROOT, Ended

# Stands for a job: reads the one file, does what its seed says, leaves a record. No torch.
FAKE = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
job = json.loads((folder / ".hydra" / "job.json").read_text())
seed, lr = job["config"]["seed"], job["config"]["task"]["optimizer"]["lr"]
leaked = ("RANK", "LOCAL_RANK", "MASTER_PORT", "PL_GLOBAL_SEED", "TORCHELASTIC_RUN_ID")
print({name: os.environ[name] for name in leaked if name in os.environ})
print("gpus", os.environ.get("CUDA_VISIBLE_DEVICES"))
if seed == 66:
    print("error: task.network.width=9 is refused")
    sys.exit(2)
(folder / "config.yaml").write_text("{}")
with open(folder.parent / "started", "a") as file:
    file.write(f"{job['number']}\\n")
if seed == 77:
    raise RuntimeError("no luck")
if seed == 88:
    os.kill(os.getpid(), 9)
if seed == 99:
    time.sleep(600)
if seed == 44:
    sys.exit(0)
value = None if seed == 55 else lr * 10 + seed
record = {"validation": {"val/loss": value}, "evaluation": []}
(folder / "result.json").write_text(json.dumps(record))
"""

Sweep = Callable[..., tuple[Ended, list[dict[str, Any]]]]


@contextlib.contextmanager
def held(folder: Path) -> Iterator[int]:
    """The id of another process that has locked the folder, as a sweep that is alive has."""
    code = "import sys; from pathlib import Path; from restore.recovery import lock\n"
    code += "lock.hold(Path(sys.argv[1]), 'sweep'); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"\n"
        yield other.pid
        other.communicate()
