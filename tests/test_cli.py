"""Bad input: exit code 2, one line that names the value and the way out, nothing left behind."""

import gzip
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from entry import ROOT, Command

from restore import errors
from restore.folder import run_folder

TINY = ("task.network.width=4", "max_updates=1", "debug=smoke")

# The command line (spaces separate arguments), and what the line has to say.
TRAIN = [
    ("experiment=ddpm_digit", "did you mean ddpm_digits"),
    ("data=nope", "data=nope does not exist: choose from any, any_scenes, bsds"),
    ("optimizer=adan", "did you mean adam"),
    ("benchmark=nope", "benchmark=nope does not exist"),
    ("benchmark=[digits_half,nope]", "benchmark=nope does not exist: choose from bsd68_sigma25"),
    ("seed=1,2", "seed=1,2 names several values: add -m for a sweep"),
    ("max_updates 3", "max_updates cannot be read: give max_updates=VALUE"),
    ("ddpm_digits", "stands without its group: give experiment=ddpm_digits (evaluate: checkpoint="),
    ("l1", "l1 stands without its group: give loss=l1"),
    ("benchmark=[digits_hafl]", "did you mean digits_half? choose from"),
    ("debug=nope", "debug=nope does not exist"),
    ("sampler=null", "Interpolation key 'sampler' not found"),
    ("max_update=3", "max_update is not a setting: did you mean max_updates"),
    ("+max_update=3", "max_update is not a setting: did you mean max_updates"),
    ("++max_update=3", "max_update is not a setting: did you mean max_updates"),
    ("task.network.widht=3", "task.network.widht is not a setting: did you mean width"),
    ("+task.network.widht=3", "task.network.widht is not a setting: did you mean width"),
    ("++task.network.widht.x=3", "task.network.widht is not a setting: did you mean width"),
    ("task.network.width=abc", "task.network.width='abc' has the wrong type: it takes int"),
    ("task.network.width=1.5", "task.network.width=1.5 has the wrong type: it takes int"),
    ("task.network.width=-2", "must be positive, got -2"),
    ("task.network.multipliers=[]", "must be positive"),
    ("task.class_conditional=1", "has the wrong type: it takes bool"),
    ("task.parameterization=noise", "it takes one of 'eps', 'x0', 'v'"),
    ("task.accumulate=0", "task.accumulate=0"),
    ("task.clip_norm=-1", "task.clip_norm=-1"),
    ("task.min_snr_gamma=-1", "task.min_snr_gamma=-1"),
    ("task.optimizer.lr=-1", "Invalid learning rate: -1"),
    ("+task.optimizer.momentum=0.9", "task.optimizer.momentum is not a setting"),
    ("data.batch_size=0", "data.batch_size must be at least 1, got 0"),
    ("data.batch_size=100000", "data.batch_size=100000 is more than the 1097"),
    ("data.train_framing.size=-8", "got -8"),
    ("data.train_framing.size=9", "image size 9x9 is not divisible by 4"),
    ("max_updates=0", "max_updates=0 must be"),
    ("max_updates=ten", "'ten'"),
    ("max_updates=???", "max_updates is not set: give max_updates=VALUE"),
    ("seed=-1", "seed=-1"),
    ("callback.ema.decay=2", "callback.ema.decay=2"),
    ("callback.best=null", "as callback=[default,MINE]"),
    ("~trainer", "trainer._target_ is missing"),
    ("+trainer.max_steps=3", "set max_updates"),
    ("+trainer.gradient_clip_val=1", "set task.clip_norm"),
    ("+trainer.accumulate_grad_batches=2", "set task.accumulate"),
    ("trainer.val_check_interval=0", "trainer.val_check_interval=0"),
    ("trainer.precision=7-bit", "trainer.precision=7-bit is refused"),
    ("trainer.strategy=nope", "nope"),
    ("sampler.num_steps=0", "num_steps must be at least 2, got 0"),
    ("sampler.jump_length=0", "jump_length must be at least 1, got 0"),
    ("sampler=ddim", "use sampler=repaint_fast, or guidance=replacement"),
    ("degradation=noise", "use a degradation with a mask"),
    ("data=folder data.root=/nowhere/data", "no images for the train split in /nowhere/data"),
    (
        "data=mnist data.source.download=false data.root=/nowhere/data",
        "not found in /nowhere/data/mnist (data.source.download is off)",
    ),
    ("task._target_=os.system", "task._target_=os.system"),
    ("task.network._target_=torch.load", "task.network._target_=torch.load"),
    ("task.network._target_=restore.build.os.system", "restore.build.os.system"),
    ("task.network._target_=logging.os.system", "logging.os.system"),
    ("task.network._target_=restore.network.unet.nope", "does not exist"),
]


def check_refused(ended: object, says: str, folder: Path, remains: tuple[str, ...] = ()) -> None:
    code, err = getattr(ended, "code", None), getattr(ended, "err", "")
    assert code == 2, err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert says in err
    assert sorted(path.name for path in folder.iterdir()) == sorted(remains)


@pytest.mark.parametrize(("line", "says"), TRAIN, ids=[line for line, _ in TRAIN])
def test_training_is_refused(command: Command, tmp_path: Path, line: str, says: str) -> None:
    own = [setting for setting in TINY if setting.partition("=")[0] not in line]
    check_refused(command(*line.split(" "), *own), says, tmp_path)


def test_gpu_is_refused_where_there_is_none(command: Command, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    check_refused(command("trainer=gpu", *TINY), "gpu", tmp_path)


def test_corrupt_idx_file(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(b"no idx"))
    setting = ("data=mnist", "data.source.download=false", f"data.root={tmp_path / 'data'}")
    check_refused(command(*setting, *TINY), "train-images", tmp_path, ("data",))


class Marker:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def write_checkpoints(folder: Path) -> None:
    from restore.checkpoint import write

    progress = {"updates": 1, "batches": 1}
    (folder / "corrupt.ckpt").write_bytes(b"no checkpoint")
    write({"state_dict": {}, "progress": progress}, folder / "foreign.ckpt")
    (folder / "pickle.ckpt").write_bytes(pickle.dumps(Marker(folder / "marker")))
    marker = {"config": Marker(folder / "marker"), "progress": progress}
    write(marker, folder / "malicious.ckpt")
    facts = {"image_channels": 1, "input_channels": 1, "image_size": 8, "num_classes": 10}
    for name, task in {
        "target": {"_target_": "os.system", "command": f"touch {folder / 'marker'}"},
        "writer": {
            "_target_": "restore.evaluation.record.write_json",
            "path": str(folder / "marker"),
            "record": {},
        },
        "secret": {"_target_": "restore.task.diffusion.Diffusion", "sampler": "${oc.env:HOME}"},
    }.items():
        config = {"task": task, "seed": 0, "data": {"batch_size": 1}}
        content = {"config": config, "facts": facts, "state_dict": {}, "experiment": "x"}
        write({**content, "progress": progress}, folder / f"{name}.ckpt")


EVALUATE = [
    ("", "nothing to evaluate"),
    ("checkpoint=none.ckpt", "nothing to evaluate on: give benchmark=NAME"),
    ("checkpoint=none.ckpt benchmark=digits_half", "error: none.ckpt does not exist: "),
    ("checkpoint=corrupt.ckpt benchmark=digits_half", "corrupt.ckpt is damaged"),
    ("checkpoint=foreign.ckpt benchmark=digits_half", "foreign.ckpt holds no config"),
    (
        "checkpoint=pickle.ckpt benchmark=digits_half",
        "pickle.ckpt is damaged, or was not written by restore",
    ),
    ("checkpoint=malicious.ckpt benchmark=digits_half", "malicious.ckpt is not trusted"),
    ("checkpoint=target.ckpt benchmark=digits_half", "task._target_=os.system"),
    ("checkpoint=writer.ckpt benchmark=digits_half", "task._target_=restore.evaluation.record"),
    ("checkpoint=secret.ckpt benchmark=digits_half", "task.sampler=${oc.env:HOME}"),
    ("baseline=nope benchmark=digits_half", "baseline=nope does not exist"),
    ("baseline=telea benchmark=digits_hal", "did you mean digits_half"),
    ("baseline=telea benchmark=digits_half batch_size=0", "batch_size=0"),
    ("baseline=telea benchmark=digits_half record=no", "record='no' must be true or false"),
]


@pytest.mark.parametrize(("line", "says"), EVALUATE, ids=[line for line, _ in EVALUATE])
def test_evaluation_is_refused(command: Command, tmp_path: Path, line: str, says: str) -> None:
    write_checkpoints(tmp_path)
    there = tuple(path.name for path in tmp_path.iterdir())
    assert "marker" not in there
    check_refused(command(*line.split(), script="evaluate"), says, tmp_path, there)


def test_error_of_a_loader_worker_is_its_last_line() -> None:
    from restore.types import InputError

    trace = (
        "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent "
        'call last):\n  File "x.py", line 1, in f\nrestore.types.InputError: no photo at a.png\n'
    )
    assert errors.one_line(InputError(trace)) == "no photo at a.png"


def test_fault_of_the_program_is_no_input_error() -> None:
    assert errors.one_line(KeyError("x")) is None
    assert errors.one_line(ValueError("x")) is None


def test_folder_of_somebody_else_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from restore.types import InputError

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "mine"
    (folder / ".hydra").mkdir(parents=True)
    (tmp_path / "outputs" / "older").mkdir()
    with pytest.raises(InputError), run_folder(folder, alone=False):
        raise InputError("refused")
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["older"]


def process(
    arguments: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500
    )


def test_refusal_across_the_process_border(tmp_path: Path, environment: dict[str, str]) -> None:
    ended = process([str(ROOT / "train.py"), "experiment=nope"], tmp_path, environment)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert ended.stderr.startswith("error: experiment=nope does not exist: choose from ")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize(
    ("script", "argument"), [("train", "data.batch_size=0"), ("evaluate", "benchmark=digits_half")]
)
def test_late_refusal_across_the_process_border(
    tmp_path: Path, environment: dict[str, str], script: str, argument: str
) -> None:
    ended = process([str(ROOT / f"{script}.py"), argument], tmp_path, environment)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    assert not list(tmp_path.iterdir())


def test_showing_a_config_imports_nothing_heavy(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    arguments = ["-X", "importtime", str(ROOT / "train.py"), "--cfg", "job"]
    ended = process(arguments, tmp_path, environment)
    assert "max_updates:" in ended.stdout
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "hydra" in imported and not imported & {"torch", "lightning", "numpy"}


def test_the_process_group_is_left_before_the_exit(tmp_path: Path) -> None:
    """Its threads, were they still there, would abort the process now and then."""
    distributed = torch.distributed

    def main() -> None:
        place = f"file://{tmp_path / 'store'}"
        distributed.init_process_group("gloo", init_method=place, rank=0, world_size=1)

    with pytest.raises(SystemExit) as ended:
        errors.run(main)
    assert ended.value.code == 0
    assert not distributed.is_initialized()


@pytest.mark.parametrize("experiment", ["classifier_digits", "ddpm_digits", "denoise_bsds_psnr"])
def test_no_benchmark_is_none_whether_there_was_none_or_one_or_several(
    command: Command, experiment: str
) -> None:
    for none in ("benchmark=null", "~benchmark"):
        ended = command(f"experiment={experiment}", none, "--cfg", "job")
        assert ended.code == 0 and "benchmark:" not in ended.out, ended.err


def test_a_group_that_is_not_there_may_be_taken_away(command: Command) -> None:
    ended = command("experiment=ddpm_digits", "adversary=null", "--cfg", "job")
    assert ended.code == 0 and "adversary" not in ended.out
    assert command("experiment=classifier_digits", "~nothing", "--cfg", "job").code == 2
