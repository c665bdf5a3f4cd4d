"""Overrides that cannot be meant: exit code 2, one line that names the setting, nothing left."""

import contextlib
import csv
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from entry import ROOT, Command
from small_models import write_model

from restore.config import rules

TINY = ("task.network.width=4", "task.network.attention=[]", "max_updates=1", "debug=smoke")
PHOTOS = "experiment=denoise_photos_regression task.network.widths=[4,4]"
GAN = "experiment=inpaint_photos"

# The command line (spaces separate arguments), and what the one line has to say.
FAST = [
    ("data.source.sourc=1", "data.source.sourc is not a setting"),
    ("+callback.ema.dekay=0.9", "callback.ema.dekay is not a setting: did you mean decay"),
    ("logger=wand", "logger=wand does not exist: did you mean wandb"),
    ("data.batch_size=abc", "data.batch_size='abc' has the wrong type: it takes int"),
    ("task.optimizer.betas=[2,0.9]", "task.optimizer"),
    ("trainer.devices=0", "trainer"),
    ("callback.ema._target_=os.system", "callback.ema._target_=os.system"),
    ("+task._partial_=true", "task._partial_"),
    ("task.optimizer.lr=${nothing.here}", "nothing.here"),
    ("task.network.width=???", "task.network.width"),
    # what nothing here can start, or should
    ("trainer.accelerator=tpu", "trainer.accelerator=tpu is not served: choose from auto, cpu"),
    ("trainer.strategy=foo", "trainer.strategy=foo is not served: choose from auto, ddp"),
    ("trainer.devices=1000", "trainer.devices=1000 asks for as many processes on"),
    ("trainer.devices=-3", "trainer.devices=-3 must be at least 1"),
    ("trainer.val_check_interval=2.5", "trainer.val_check_interval=2.5 must be a whole number"),
    ("trainer.precision=13", "trainer.precision=13 is refused"),
    (f"{GAN} trainer.strategy=ddp", "use trainer.strategy=auto"),
    ("hydra/launcher=joblib", "hydra/launcher=joblib launches the jobs of a sweep: add -m"),
    ("search=grid", "search= chooses the jobs of a sweep: add -m"),
    ("-m --cfg job", "--cfg shows one config and starts no sweep: leave out -m"),
    ("=3", "=3 names no key: give KEY=3"),
    (
        "logger=[wandb,csv]",
        "logger=[wandb,csv]: choose one logger; -m logger=wandb,csv",
    ),
    ("sampler=[ddim,ddpm]", "choose one sampler; -m sampler=ddim,ddpm tries each"),
    (f"{GAN} sampler=ddim", "sampler=... is of task=diffusion: InpaintingGAN has none, leave it"),
    (f"{GAN} guidance=cfg", "guidance=... is of task=diffusion: InpaintingGAN has none, leave it"),
    # folders that cannot be
    ("hydra.run.dir=", "hydra.run.dir='' is the working directory"),
    ("hydra.run.dir=.", "hydra.run.dir='.' is the working directory"),
    ("hydra.run.dir=/dev/null", "hydra.run.dir=/dev/null cannot be made"),
    ("hydra.run.dir=/proc/x/y", "hydra.run.dir=/proc/x/y cannot be made"),
    ("hydra.run.dir=" + 300 * "a", "File name too long"),
    ("hydra.run.dir=a${x}b", "Interpolation key 'x' not found"),
    # names of checkpoints
    ("callback.best.name=last", "callback.best.name=last is callback.last.name, too"),
    # what nothing logs
    ("callback.best.monitor=val/lose", "callback.best.monitor=val/lose is not logged: choose from"),
    # patches that the discriminator sees as a single pixel
    (f"{GAN} data.train_framing.size=1", "patches of 1 px are too small for the discriminator"),
    # meant otherwise
    ("resume=outputs/x", "give resume.path=outputs/x"),
    ("task.optimizer.lr=high", "task.optimizer.lr='high' has the wrong type: it takes float"),
    ("task.optimizer.epz=1", "task.optimizer.epz is not a setting: did you mean eps?"),
    ("trainer.determinstic=true", "did you mean deterministic?"),
    ("callback.samples.num_imges=3", "did you mean num_images?"),
]
SLOW = [
    ("callback.samples.monitor=train/loss", "callback.samples.monitor=train/loss is not logged"),
    (
        "+callback.stop._target_=lightning.pytorch.callbacks.EarlyStopping "
        "+callback.stop.monitor=val_loss",
        "callback.stop.monitor=val_loss is not logged: choose from val/denoising, val/hole_psnr",
    ),
    (
        "-m experiment=ddpm_digits,classifier_digits +search.objective=val/error_rate",
        "search.objective=val/error_rate is not measured: choose from val/loss, val/denoising",
    ),
    ("callback.best.name=''", "must be a plain file name"),
    ("callback.best.name=../x", "must be a plain file name"),
    ("data.train_framing.size=100000", "at most 8192 pixels, got 100000"),
    (f"{GAN} data.train_framing.size=16", "the discriminator, which needs 17: use larger ones"),
    ("experiment=denoise_photos data.train_framing.size=8", "too small for the discriminator"),
    ("experiment=colorize_photos data.train_framing.size=8", "too small for the discriminator"),
    (f"{GAN} network=unet", "UNet does not fit InpaintingGAN"),
    (f"{GAN} network=denoising", "DenoisingUNet is shown no hole, so that it can fill none"),
    (f"{GAN} network=dncnn adversary=null", "DnCNN is shown no hole"),
    ("experiment=colorize_photos data.source.mode=gray", "use data.source.mode=rgb"),
    ("experiment=denoise_photos degradation=half", "fills no holes: use degradation=noise"),
    ("experiment=denoise_photos benchmark=photos_masks", "on benchmark photos_masks:"),
    # unknown keys, at every depth
    ("nope=1", "nope is not a setting"),
    ("+nope.deeper=1", "nope is not a setting"),
    ("++sed=1", "sed is not a setting: did you mean seed"),
    ("callback.mine._target_=a.B", "throughput. A new one is +callback.mine._target_=CLASS"),
    ("callback.emma._target_=a.B", "did you mean ema? A new one is +callback.emma"),
    ("++resume.path=x", "resume.path=x would start a new run here"),
    ("resume.pth=x", "resume.pth is not a setting: did you mean path"),
    ("+resume.allow=true", "resume.allow is not a setting"),
    ("trainer.device=2", "trainer.device is not a setting: did you mean devices"),
    ("++trainer.max_epoch=3", "trainer.max_epoch is not a setting: did you mean max_epochs"),
    ("+data.train_framing.siz=3", "data.train_framing.siz is not a setting: did you mean size"),
    ("+data.degradation.shape.sid=left", "data.degradation.shape.sid is not a setting"),
    ("++callback.emma.decay=0.9", "callback.emma"),
    (
        "+benchmark.digits_half.metric.hole_psnr.max=1",
        "benchmark.digits_half.metric.hole_psnr.max is not a setting",
    ),
    (
        "benchmark.digits_half.data.degradation.shape.sid=left",
        "benchmark.digits_half.data.degradation.shape.sid is not a setting",
    ),
    ("~nope", "nope"),
    ("~callback.ema.nope", "callback.ema.nope"),
    # groups and choices
    ("network=unett", "network=unett does not exist: did you mean unet"),
    ("trainer=gpuu", "trainer=gpuu does not exist: did you mean gpu"),
    ("callback=defaul", "callback=defaul does not exist: did you mean default"),
    ("hydra/launcher=nope", "launcher=nope does not exist"),
    ("+networks=unet", "networks"),
    ("loss=l1", "task.loss is not a setting"),
    ("seed=1,2", "seed=1,2"),
    # what is no override at all
    ("novalue", "novalue"),
    ("task.optimizer.lr=[1", "task.optimizer.lr=[1"),
    # types
    ("data.flip=1", "data.flip=1 has the wrong type: it takes bool"),
    ("data.limit=ten", "data.limit='ten' has the wrong type"),
    ("seed=abc", "seed='abc'"),
    ("resume.path=null seed=abc", "seed='abc'"),  # of a new run
    ("seed=true", "seed=True"),
    ("max_updates=1.5", "max_updates=1.5"),
    ("callback.ema=3", "callback.ema"),
    ("task.optimizer=3", "node `task.optimizer` is not a container"),
    ("task.optimizer.betas=0.9", "task.optimizer.betas=0.9 has the wrong type"),
    ("task.optimizer.betas=[0.9]", "task.optimizer"),
    ("benchmark.digits_half=3", "benchmark.digits_half"),
    ("logger=wandb logger.offline=maybe", "logger.offline='maybe' has the wrong type"),
    # ranges
    ("task.optimizer.lr=nan", "task.optimizer.lr"),
    ("task.optimizer.weight_decay=-1", "task.optimizer"),
    ("scheduler=cosine task.scheduler.T_max=0", "task.scheduler"),
    ("task.scheduler.pct_start=2", "pct_start"),
    ("scheduler=step task.scheduler.step_size=0", "task.scheduler"),
    ("data.num_workers=-1", "data.num_workers must be at least 0, got -1"),
    ("data.limit=0", "data.limit"),
    ("trainer.devices=-2", "trainer"),
    ("trainer.val_check_interval=-5", "trainer.val_check_interval=-5"),
    ("trainer.limit_val_batches=0", "trainer.limit_val_batches=0"),
    ("trainer.max_time=soon", "trainer.max_time=soon is no time: give DAYS:HH:MM:SS"),
    ("trainer.precision=bf16-true", "trainer.precision=bf16-true is refused"),
    ("trainer.precision=64", "trainer.precision=64 is refused"),
    ("trainer.precision=nonsense", "trainer.precision=nonsense is refused"),
    (
        "guidance.weight=4",
        "guidance.weight needs its guidance, which is not set: add guidance=cfg, or dps",
    ),
    ("sampler.num_steps=1e8", "num_steps=100000000.0 has the wrong type: it takes int"),
    ("sampler.num_steps=100000000", "must be at least 1 and at most 100000, got"),
    ("sampler.num_steps=1001", "num_steps=1001 is more than the 1000 levels of the schedule"),
    ("sampler.jump_count=100000000", "must be at least 1 and at most 100000, got"),
    (
        "sampler=ddim guidance=replacement sampler.num_steps=100000000",
        "num_steps must be at least 1 and at most 100000, got 100000000",
    ),
    ("task.class_conditional=true task.label_dropout=0", "task.label_dropout=0"),
    ("task.given_label=true", "task.given_label=true needs task.class_conditional=true"),
    ("+trainer.fast_dev_run=true", "debug=smoke"),
    ("+trainer.min_epochs=2", "trainer.min_epochs is refused: max_updates ends a run"),
    ("+trainer.min_steps=2", "trainer.min_steps is refused: max_updates ends a run"),
    ("+trainer.limit_train_batches=0.001", "trainer.limit_train_batches=0.001 leaves none of"),
    ("trainer.limit_val_batches=0.0001", "trainer.limit_val_batches=0.0001 leaves none of"),
    (
        "trainer.check_val_every_n_epoch=1 trainer.val_check_interval=100000",
        "trainer.val_check_interval=100000 is more than the",
    ),
    (
        "trainer.devices=2 trainer.val_check_interval=00:00:00:02",
        "trainer.val_check_interval as a time is of one process",
    ),
    ("debug=overfit trainer.devices=2", "trainer.overfit_batches=1 repeats batches in one process"),
    ("data.batch_size=700 trainer.devices=2", "data.batch_size=700 is more than the 548 training"),
    ("+trainer.callbacks=[]", "trainer.callbacks is refused: name each one"),
    ("trainer.use_distributed_sampler=true", "trainer.use_distributed_sampler"),
    ("trainer.accelerator=abacus", "abacus"),
    ("callback.recovery.every_minutes=0", "callback.recovery"),
    ("logger=wandb logger.timeout=0", "logger: timeout"),
    # what does not go together
    ("experiment=denoise_photos trainer.strategy=ddp", "trainer.strategy=ddp"),
    (
        "experiment=denoise_photos trainer.strategy=ddp_find_unused_parameters_false",
        "trainer.strategy=ddp_find_unused_parameters_false stops at a task with an adversary",
    ),
    (f"{PHOTOS} network=bias_free degradation=jpeg", "noise_map"),
    ("experiment=colorize_photos degradation=noise", "gray"),
    ("experiment=classifier_digits benchmark=digits_half", "Classification restores nothing"),
    # targets, and what Hydra's own keys could do
    ("data.source._target_=numpy.load", "data.source._target_=numpy.load"),
    ("task.optimizer._target_=torch.hub.load", "task.optimizer._target_=torch.hub.load"),
    ("+data.source.x._target_=os.system", "data.source.x is not a setting"),
    (
        "benchmark.digits_half.metric.hole_psnr._target_=builtins.exec",
        "benchmark.digits_half.metric.hole_psnr._target_=builtins.exec",
    ),
    ("trainer._target_=restore.task.diffusion.Diffusion", "trainer"),
    ("data._target_=restore.network.unet.UNet", "data"),
    ("callback.ema._target_=restore.network.unet.UNet", "callback.ema"),
    ("logger._target_=restore.callback.ema.EMA", "logger"),
    ("+data._partial_=true", "data._partial_"),
    ("+trainer._partial_=true", "trainer._partial_"),
    ("+callback.ema._partial_=true", "callback.ema._partial_"),
    ("task.optimizer._partial_=false", "task.optimizer"),
    ("task.optimizer._partial_=3", "task.optimizer._partial_"),
    ("+task._recursive_=false", "task._recursive_"),
    ("+task._convert_=none", "task._convert_"),
    ("+task._args_=[1]", "task._args_"),
    # interpolations and what is missing
    ("seed=${oc.env:RESTORE_NOT_SET}", "RESTORE_NOT_SET"),
    ("seed=${nope:1}", "nope"),
    ("seed=${seed}", "seed"),
    ("callback=classifier", "callback.export.name is not set"),
    ("data=stream", "data.source.shards is not set: give data.source.shards=VALUE"),
    ("data=stream data.source.shards=a.tar", "data.source.held.train is not set"),
]
CASES = [pytest.param(*case, id=case[0]) for case in FAST] + [
    pytest.param(*case, id=case[0], marks=pytest.mark.slow) for case in SLOW
]


def arguments(line: str) -> list[str]:
    """Those of a line, and of a small model where it names no experiment."""
    given = {one.lstrip("+~").partition("=")[0] for one in line.split()}
    own = (
        [] if "experiment" in given else [one for one in TINY if one.partition("=")[0] not in given]
    )
    return [*line.split(), *own]


@pytest.mark.parametrize(("line", "says"), CASES)
def test_override_is_refused(command: Command, tmp_path: Path, line: str, says: str) -> None:
    ended = command(*arguments(line))
    assert ended.code == 2, ended.err
    assert ended.err.startswith("error: ") and ended.err.count("\n") == 1, ended.err
    assert says in ended.err
    assert not list(tmp_path.iterdir())


PROCESSES = [line for line, _ in (*FAST, *SLOW[::3])][:60]
LIMIT = (
    12.0  # seconds of computing; 6 are meant, and caches shared with other programs cost as many
)


@pytest.mark.slow
@pytest.mark.parametrize("line", PROCESSES)
def test_a_process_of_its_own_ends_the_same_way(
    tmp_path: Path,
    environment: dict[str, str],
    line: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Exit code 2, one line, nothing on the disk, no process; seconds go into --junit-xml=FILE."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments(line)],
        cwd=tmp_path,
        env={**environment, "OVERRIDE_TEST": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1, ended.stderr
    assert not list(tmp_path.iterdir())
    assert not left("OVERRIDE_TEST", tmp_path)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    record_property("cpu_seconds", round(seconds, 2))
    assert seconds < LIMIT


def left(name: str, folder: Path) -> list[Path]:
    """Processes whose environment says that a test in `folder` has started them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            found += [path] * (f"{name}={folder}\0".encode() in path.read_bytes())
    return found


def test_tensorboard_without_its_package(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "find_spec", lambda name: None)
    ended = command(*TINY, "logger=tensorboard")
    assert ended.code == 2 and "pip install tensorboard, or choose logger=csv" in ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_folder_stands_for_its_best_checkpoint(command: Command, tmp_path: Path) -> None:
    run = tmp_path / "a run, (1)=x"
    ended = command(*TINY[:3], "debug=smoke", f"hydra.run.dir={run}")
    assert ended.code == 0, ended.err
    few = ("benchmark=digits_half", "benchmark.digits_half.data.limit=2", "sampler.num_steps=2")
    fast = ("sampler=repaint_fast", "sampler.jump_length=1", f"hydra.run.dir={tmp_path}/out")
    ended = command(f"checkpoint={run}", *few, *fast, script="evaluate")
    assert ended.code == 0, ended.err
    (row,) = csv.DictReader((tmp_path / "out" / "results.csv").open())
    assert row["checkpoint"].startswith("best.ckpt@")


def test_classifier_is_no_method(command: Command, tmp_path: Path) -> None:
    run, few = tmp_path / "run", ("debug=smoke", "data.limit=8")
    ended = command("experiment=classifier_digits", *few, f"hydra.run.dir={run}")
    assert ended.code == 0, ended.err
    best = f"checkpoint={run}/checkpoints/best.ckpt"
    ended = command(best, "benchmark=digits_half", script="evaluate")
    assert ended.code == 2 and ended.err.count("\n") == 1, ended.err
    assert "best.ckpt: Classification restores nothing" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("benchmark", ["photos_sigma25", "photos_gray"])
def test_an_inpainter_has_nothing_to_fill(command: Command, tmp_path: Path, benchmark: str) -> None:
    checkpoint = f"checkpoint={write_model('inpainter', tmp_path / 'runs')}"
    ended = command(checkpoint, f"benchmark={benchmark}", script="evaluate")
    assert ended.code == 2 and ended.err.count("\n") == 1, ended.err
    says = f"best.ckpt on benchmark {benchmark}: this model fills holes: use a degradation with"
    assert says in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_reader_that_has_enough(tmp_path: Path, environment: dict[str, str]) -> None:
    writer = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "--help"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdout is not None and writer.stderr is not None
    writer.stdout.close()
    assert writer.stderr.read() == b""
    assert writer.wait(60) == 0


def test_evaluation_needs_no_other_logger(command: Command, tmp_path: Path) -> None:
    some = ("baseline=mean_fill", "benchmark=digits_half", "benchmark.digits_half.data.limit=2")
    ended = command(*some, "logger=csv", script="evaluate")
    assert ended.code == 2 and "takes logger=wandb only" in ended.err
    assert not list(tmp_path.iterdir())


def test_a_key_that_the_class_takes_needs_no_plus(command: Command, tmp_path: Path) -> None:
    ended = command("task.optimizer.eps=0.125", "trainer.deterministic=true", "--cfg", "job")
    assert ended.code == 0, ended.err
    assert "eps: 0.125" in ended.out and "deterministic: true" in ended.out


@pytest.mark.parametrize("value", ["0", "1", ""])
def test_hydra_never_reports_errors_itself(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", value)
    ended = command("task.optimizer.epz=1")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "did you mean eps?" in ended.err


@pytest.mark.parametrize(
    "change", ["network=dncnn", "task.optimizer._target_=torch.optim.SGD"], ids=["group", "target"]
)
def test_what_an_experiment_set_for_another_class_is_left_out_as_the_message_says(
    command: Command, change: str
) -> None:
    given = ("experiment=denoise_photos_regression", change)
    ended = command(*given)
    out = shlex.split(ended.err.partition("Leave out: ")[2])
    assert ended.code == 2 and out, ended.err
    composed = command("--cfg", "job", "--resolve", *given, *out)
    rules.check_early(yaml.safe_load(composed.out))
