"""python tests/faults.py [CASE ...]: breaks runs on purpose, and prints a table of what held.

Takes about twenty minutes on two idle cores; needs no data and no network. The table in
CONTRIBUTING.md is its output. Without arguments all cases run; `--list` names them. Most runs are
forked from this process, which has imported everything once; torchrun and DDP start their own.
"""

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.update(OMP_NUM_THREADS="1", HYDRA_MAIN_MODULE="__main__", PYTHONPATH=str(ROOT))

from stopping import DIGITS, SMALL  # noqa: E402

TINY = (*SMALL, *DIGITS, "callback.recovery.every_n_updates=2")
LIMIT = 300  # seconds, for any run


@dataclass
class Outcome:
    """of how many tries how many held, and what is worth saying about the others."""

    tries: int
    held: int
    note: str = ""


class Forked:
    """A run of train.py in a fork of this process; `before` is called in it first."""

    def __init__(
        self, log: Path, *arguments: str, before: Callable[[], object] = lambda: None
    ) -> None:
        self.log = log
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(arguments, before)

    def _run(self, arguments: tuple[str, ...], before: Callable[[], object]) -> None:
        code: Any = 70
        try:
            os.setsid()
            file = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os.chdir(self.log.parent)
            sys.argv = [str(ROOT / "train.py"), *arguments]
            before()
            import train
            from restore import errors

            errors.run(train.main)
        except SystemExit as ended:
            code = ended.code
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            os._exit(code if isinstance(code, int) else 1)

    def wait(self) -> int:
        """Exit code, or minus the signal."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        os.killpg(self.pid, signal.SIGKILL)
        raise TimeoutError(self.log.read_text())

    def wait_for(self, path: Path) -> None:
        end = time.monotonic() + LIMIT
        while not path.exists():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def slowly() -> None:
    """Every update of the run takes a moment, so that another can meet it."""
    from restore.task.restoration import RestorationTask

    step = RestorationTask.step_schedule

    def slow(self: Any) -> None:
        time.sleep(0.2)
        step(self)

    RestorationTask.step_schedule = slow  # type: ignore[method-assign]


def killed_at(point: str, updates: int) -> Callable[[], None]:
    """Ends the run by SIGKILL at a moment between its last update and its record."""

    def die(*arguments: Any, **named: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def patch() -> None:
        from restore.evaluation import record
        from restore.recovery.best import Checkpoint
        from restore.training import fit

        if point == "the last checkpoint":
            end = Checkpoint.on_validation_end

            def then_die(self: Any, trainer: Any, pl_module: Any) -> None:
                end(self, trainer, pl_module)
                if self.name == "last" and pl_module.updates >= updates:
                    die()

            Checkpoint.on_validation_end = then_die  # type: ignore[method-assign]
        elif point == "the end of training":
            Checkpoint.on_train_end = die  # type: ignore[assignment]
        elif point == "the evaluation":
            fit.evaluate = die
        elif point == "the record":
            fit.record = die
        else:
            record.write_whole = die

    return patch


POINTS = (
    *("the last checkpoint", "the end of training", "the evaluation", "the record"),
    "its writing",
)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in found]


def files(folder: Path) -> dict[str, bytes]:
    """Of a run folder, without its lock."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def a_used_folder(place: Path) -> Outcome:
    """train.py into the folder of a finished run, with another seed."""
    run = f"hydra.run.dir={place / 'run'}"
    assert Forked(place / "log", *TINY, "max_updates=4", run, "seed=1").wait() == 0
    before = files(place / "run")
    again = Forked(place / "again", *TINY, "max_updates=4", run, "seed=2")
    code = again.wait()
    refused = code == 2 and "resume.path=" in again.said() and again.said().count("\n") == 1
    return Outcome(1, int(refused and files(place / "run") == before), f"exit {code}")


def two_fresh_runs(place: Path) -> Outcome:
    """Two runs started at once into one new folder."""
    held, tries = 0, 5
    for k in range(tries):
        run = place / f"run{k}"
        settings = (*TINY, "max_updates=6", f"hydra.run.dir={run}")
        pair = [Forked(place / f"{k}.{n}", *settings, f"seed={n}", before=slowly) for n in (1, 2)]
        codes = [one.wait() for one in pair]
        if sorted(codes) == [0, 2]:
            winner = 1 + codes.index(0)
            same = f"seed: {winner}\n" in (run / "config.yaml").read_text()
            steps = [row["step"] for row in rows(run) if row["train/loss"]]
            held += same and steps == sorted(set(steps), key=int)
            held -= pair[codes.index(2)].said().count("\n") != 1
    return Outcome(tries, held)


def interrupted(place: Path, name: str, updates: int = 40) -> Path:
    """A run that was stopped by SIGTERM after its first recovery checkpoint."""
    run = place / name
    settings = (*TINY, f"max_updates={updates}", f"hydra.run.dir={run}")
    process = Forked(place / f"{name}.log", *settings, before=slowly)
    process.wait_for(run / "checkpoints" / "recovery-2.ckpt")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 143, process.said()
    return run


def two_resumes(place: Path) -> Outcome:
    """Two resumes of one stopped run at once."""
    held, tries = 0, 3
    for k in range(tries):
        run = interrupted(place, f"run{k}", updates=12)
        path = f"resume.path={run}"
        pair = [Forked(place / f"{k}.{n}", path, before=slowly) for n in (1, 2)]
        codes = [one.wait() for one in pair]
        steps = [row["step"] for row in rows(run) if row["train/loss"]]
        held += sorted(codes) == [0, 2] and len(steps) == len(set(steps)) == 6
    return Outcome(tries, held)


def a_resume_beside_the_living_run(place: Path) -> Outcome:
    """resume.path of a run that still trains."""
    held, tries = 0, 3
    for k in range(tries):
        run = place / f"run{k}"
        settings = (*TINY, "max_updates=30", f"hydra.run.dir={run}")
        living = Forked(place / f"{k}.living", *settings, before=slowly)
        living.wait_for(run / "checkpoints" / "recovery-4.ckpt")
        other = Forked(place / f"{k}.other", f"resume.path={run}")
        code, ended = other.wait(), living.wait()
        steps = [int(row["step"]) for row in rows(run) if row["train/loss"]]
        whole = steps == list(range(2, 31, 2))
        held += (code, ended) == (2, 0) and whole and f"process {living.pid} on" in other.said()
    return Outcome(tries, held)


def kills_before_the_record(place: Path) -> Outcome:
    """kill -9 between the last update and result.json, then a resume: rows as of a whole run."""
    settings = (*TINY, "max_updates=4")
    whole = place / "whole"
    assert Forked(place / "log", *settings, f"hydra.run.dir={whole}").wait() == 0
    wanted, held = rows(whole), 0
    for k in range(10):
        run = place / f"run{k}"
        point = killed_at(POINTS[k % len(POINTS)], 4)
        first = Forked(place / f"{k}.1", *settings, f"hydra.run.dir={run}", before=point)
        assert first.wait() == -signal.SIGKILL, first.said()
        again = Forked(place / f"{k}.2", f"resume.path={run}")
        ended = again.wait() == 0 and (run / "result.json").exists()
        held += ended and rows(run) == wanted
    return Outcome(10, held)


def torchrun_killed(place: Path) -> Outcome:
    """kill -9 of torchrun's launcher: both ranks gone within 20 s."""
    held, slowest = 0, 0.0
    for k in range(10):
        run = place / f"run{k}"
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
        command += [f"--master-port={29600 + k}", str(ROOT / "train.py"), *TINY]
        command += ["trainer=ddp_cpu", "max_updates=100000", f"hydra.run.dir={run}"]
        with (place / f"{k}.log").open("wb") as log:
            launcher = subprocess.Popen(
                command, cwd=place, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + LIMIT
        while not (run / "checkpoints" / "recovery-2.ckpt").exists():
            assert time.monotonic() < end and launcher.poll() is None, log.name
            time.sleep(0.1)
        launcher.kill()
        launcher.wait()
        killed = time.monotonic()
        while ranks(run) and time.monotonic() < killed + 60:
            time.sleep(0.05)
        seconds = time.monotonic() - killed
        held += seconds < 20
        slowest = max(slowest, seconds)
        for pid in ranks(run):
            os.kill(pid, signal.SIGKILL)
    return Outcome(10, held, f"slowest {slowest:.1f} s")


def ranks(run: Path) -> list[int]:
    """Processes whose command line names this run."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (path / "stat").read_text().rpartition(") ")[2][0]
            if state != "Z" and f"hydra.run.dir={run}".encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def a_hostile_sweep(place: Path) -> Outcome:
    """`restore sweep DIR --resume` where sweep.json names a script of its own."""
    sweep, marker = place / "sweep", place / "marker"
    sweep.mkdir()
    script = place / "train.py"
    script.write_text(f"open({str(marker)!r}, 'w')\n")
    described = {"argv": [str(script), "-m", "seed=1"], "cwd": str(place)}
    described |= {"objective": "val/loss", "direction": "minimize"}
    (sweep / "sweep.json").write_text(json.dumps(described))
    settings = ("experiment=nothing", f"hydra.sweep.dir={sweep}")  # ends before any job
    described["argv"] = [*described["argv"], *settings]
    (sweep / "sweep.json").write_text(json.dumps(described))
    code = "import sys; from restore.cli import main; main()"
    command = [sys.executable, "-c", code, "sweep", str(sweep), "--resume"]
    subprocess.run(command, cwd=place, capture_output=True, timeout=LIMIT)
    return Outcome(1, int(not marker.exists()))


def flipped_bits(place: Path) -> Outcome:
    """One flipped bit in a checkpoint, anywhere: never loaded."""
    from restore.checkpoint import read
    from restore.types import InputError

    path = place / "best.ckpt"
    data = (ROOT / "tests" / "old" / "denoise.checkpoint").read_bytes()
    chance, held = random.Random(16), 0
    for _ in range(200):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        try:
            read(path)
        except InputError:
            held += 1
    return Outcome(200, held)


def random_kills(place: Path) -> Outcome:
    """kill -9 at a random moment of a run and of its resume: the end is the whole run's."""
    from stopping import differences, everything

    settings = (*TINY, "max_updates=12", "task.network.dropout=0.1")
    whole, chance, held = place / "whole", random.Random(9), 0
    assert Forked(place / "log", *settings, f"hydra.run.dir={whole}", before=slowly).wait() == 0
    for k in range(10):
        run, killed = place / f"run{k}", 0
        process = Forked(place / f"{k}.0", *settings, f"hydra.run.dir={run}", before=slowly)
        process.wait_for(run / "checkpoints" / "recovery-2.ckpt")
        for n in (1, 2):
            time.sleep(chance.uniform(0, 1.5))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            process = Forked(place / f"{k}.{n}", f"resume.path={run}", before=slowly)
        process.wait()
        held += killed > 0 and differences(everything(whole), everything(run)) == []
    return Outcome(10, held)


def two_processes_in_a_row(place: Path, count: int = 50) -> Outcome:
    """Two-process runs to their end, of which none may abort in its last moment."""
    held, codes = 0, []
    for k in range(count):
        command = [sys.executable, str(ROOT / "train.py"), *TINY, "trainer=ddp_cpu"]
        command += ["max_updates=2", f"hydra.run.dir={place / f'run{k}'}"]
        ended = subprocess.run(
            command,
            cwd=place,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            start_new_session=True,
        )
        clean = ended.returncode == 0 and "terminate called" not in ended.stderr
        held += clean
        codes += [] if clean else [str(ended.returncode)]
    return Outcome(count, held, ", ".join(codes))


CASES: dict[str, Callable[[Path], Outcome]] = {
    case.__name__: case
    for case in (
        a_used_folder,
        two_fresh_runs,
        two_resumes,
        a_resume_beside_the_living_run,
        kills_before_the_record,
        random_kills,
        torchrun_killed,
        a_hostile_sweep,
        flipped_bits,
        two_processes_in_a_row,
    )
}


def main() -> None:
    named = sys.argv[1:] or list(CASES)
    if named == ["--list"]:
        print("\n".join(CASES))
        return
    import restore.evaluation.report
    import restore.training.fit
    import restore.training.resume  # noqa: F401

    print("| case | tries | held | |\n|---|---|---|---|", flush=True)
    held = True
    for name in named:
        place = Path(tempfile.mkdtemp(prefix=f"faults-{name}-"))
        try:
            outcome = CASES[name](place)
        except (AssertionError, OSError) as error:
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            outcome = Outcome(1, 0, f"{type(error).__name__}: {reason[0]}")
        what = " ".join(str(CASES[name].__doc__).split())
        print(f"| {what} | {outcome.tries} | {outcome.held} | {outcome.note} |", flush=True)
        held = held and outcome.held == outcome.tries
        if outcome.held == outcome.tries:
            shutil.rmtree(place, ignore_errors=True)
        else:
            print(f"kept for a look: {place}", file=sys.stderr)
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
