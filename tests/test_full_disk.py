"""A disk that takes no more costs one line, and leaves nothing that is half written."""

import contextlib
import errno
import os
import resource
import signal
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from entry import Command
from line import Line, fit
from PIL import Image

from restore import errors, preview
from restore.callback.export import ExportClassifier
from restore.callback.power_ema import FOLDER, PowerEMA
from restore.callback.progress import MaxUpdates
from restore.callback.samples import Samples
from restore.folder import write_whole
from restore.network.classifier import Classifier
from restore.new import create
from restore.picture import save
from restore.sweep.ranking import Sweep
from restore.types import InputError


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may be longer than that many bytes, as if the disk were full there."""
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_one_line_names_the_file(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    said = os.strerror(number)
    assert errors.explain(OSError(number, said, "a/b.png")) == errors.FAILED
    assert errors.explain(OSError(number, said)) == errors.FAILED
    lines = [
        f"error: {said}{at}: make room, or write to another disk" for at in (" at a/b.png", "")
    ]
    assert capsys.readouterr().err.splitlines() == lines


def test_an_error_that_came_of_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    behind = OSError(errno.ENOSPC, "No space left on device")
    for error in (RuntimeError("unexpected pos 64 vs 0"), ValueError("damaged")):
        error.__cause__ = behind
        assert errors.explain(error) == errors.FAILED
    assert capsys.readouterr().err.count("error: No space left on device: make room") == 2
    assert errors.explain(OSError(errno.EIO, "Input/output error")) == errors.FAILED
    assert "Input/output error" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("content", ["a text of more than ten bytes", b"bytes, more than ten"])
def test_a_file_stays_as_it_was(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / f"{'n' * 251}.txt"  # as long as names can be
    write_whole(path, "old")
    with files_up_to(10), pytest.raises(OSError, match="File too large") as full:
        write_whole(path, content)
    assert full.value.filename == str(path)
    assert [*tmp_path.iterdir()] == [path] and path.read_text() == "old"
    write_whole(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_file_system_need_not_know_how_to_sync_a_folder(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    broken = number == errno.EIO
    with pytest.raises(OSError, match="error") if broken else contextlib.nullcontext():
        write_whole(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_folder_need_not_be_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    write_whole(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "a.txt", tmp_path):  # the second is a folder
        with pytest.raises(OSError, match=r"\[Errno") as refused:
            write_whole(path, "new")
        assert refused.value.filename == str(path)


def test_no_part_of_a_picture_is_left(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 64))
    with files_up_to(50), pytest.raises(OSError, match="File too large"):
        save(picture, tmp_path / "a.png")
    with pytest.raises(ValueError, match="no kind of picture"):
        save(picture, tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())
    for name, kind in (("a.png", "PNG"), ("a.JPG", "JPEG")):
        save(picture, tmp_path / name)
        assert Image.open(tmp_path / name).format == kind


def test_no_part_of_a_package_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with files_up_to(10), pytest.raises(InputError, match="lab_of_a_full_disk cannot be written"):
        create("lab_of_a_full_disk")
    assert not list(tmp_path.iterdir())


def test_no_part_of_a_preview_is_left(tmp_path: Path, capsys: object) -> None:
    with files_up_to(100), pytest.raises(InputError, match="cannot be written"):
        preview.show(["experiment=ddpm_digits"], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_no_part_of_a_sweep_file_is_left(tmp_path: Path) -> None:
    sweep = Sweep(["train.py", "-m", "seed=1,2"], "/", "val/loss", "min")
    with files_up_to(10), pytest.raises(OSError, match="File too large"):
        sweep.settle(tmp_path)
    assert not list(tmp_path.iterdir())


def test_pictures_of_a_training_cost_one_warning_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Line(scores=(0.5, 0.2, 0.9))
    monkeypatch.setattr(task, "restore", lambda batch, number: batch["target"][:, None])
    with files_up_to(50), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, task, Samples("val/score", num_images=1), MaxUpdates(12))
    told = [str(one.message) for one in caught if "File too large" in str(one.message)]
    assert len(told) == 1 and "first.png was not written" in told[0]
    assert task.updates == 12 and not list((tmp_path / "samples").iterdir())


def test_averages_of_a_training_cost_warnings_and_no_run(tmp_path: Path) -> None:
    task = Line()
    with files_up_to(50), pytest.warns(UserWarning, match=r"_0\.05\.safetensors was not written"):
        fit(tmp_path, task, PowerEMA(every=4), MaxUpdates(8))
    assert task.updates == 8 and not list((tmp_path / FOLDER).iterdir())


def test_the_classifier_of_a_training_costs_one_warning_and_no_run(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(
        is_global_zero=True,
        callback_metrics={"val/error_rate": 0.25},
        default_root_dir=str(tmp_path),
    )
    task = SimpleNamespace(
        network=Classifier(in_channels=1, num_classes=10, width=4),
        facts=SimpleNamespace(image_size=16),
    )
    with files_up_to(50), pytest.warns(UserWarning, match="classifier was not written"):
        ExportClassifier("toy", "digits").on_validation_epoch_end(trainer, task)
    assert not list((tmp_path / "classifier").iterdir())


@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_no_folder_is_left_where_hydra_could_not_write(
    command: Command, tmp_path: Path, script: str
) -> None:
    asked = {"train": ["max_updates=1"], "evaluate": ["baseline=telea", "benchmark=digits_half"]}
    with files_up_to(100):
        ended = command(*asked[script], f"hydra.run.dir={tmp_path}/a/b", script=script)
    assert ended.code == 1, ended.err
    assert ended.err == "error: File too large: make room, or write to another disk\n"
    assert not list(tmp_path.iterdir())
