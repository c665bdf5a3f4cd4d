"""What `restore export` refuses before it reads a model, and what it leaves where it ends."""

import argparse
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_models import write_model

from restore.export import command, write
from restore.folder import write_whole
from restore.types import InputError, RunError

Settings = write.ExportSettings


def bundled(output: Path, settings: Settings) -> None:
    write.bundled("no model", output, settings)


def kair(output: Path, settings: Settings) -> None:
    write.converted("no model", "kair", output, settings)


@pytest.mark.parametrize(
    ("export", "settings", "says"),
    [
        (bundled, Settings(size=(8, 8)), "--size belongs to --format onnx"),
        (bundled, Settings(drawn=("sampler=ddim",)), "--with sampler=ddim is of a check"),
        (kair, Settings(size=(8, 8)), "--size belongs to --format onnx"),
        (kair, Settings(kind="float16"), "belong to --format bundle"),
        (kair, Settings(licence="MIT"), "belong to --format bundle"),
        (kair, Settings(drawn=("sampler=ddim",)), "belong to --format bundle"),
    ],
)
def test_what_belongs_to_another_format_is_refused(
    tmp_path: Path, export: Callable[[Path, Settings], None], settings: Settings, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        export(tmp_path / "new", settings)
    assert not (tmp_path / "new").exists()


def test_a_check_sees_both_models_and_the_bytes_of_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of subfolders, too; a loss above the limit leaves nothing."""

    def put(task: Any, folder: Path) -> Path:
        (folder / "unet").mkdir()
        (folder / "unet" / "weights").write_bytes(b"0" * 70)
        (folder / "index").write_bytes(b"0" * 5)
        return folder

    def measured(*given: Any) -> list[Any]:
        seen.append(given)
        return [write.check.Checked("digits", "mine", "psnr", 30.0, loss, 1.0, 2.0, [])]

    form = SimpleNamespace(
        FILES=("index", "unet"), write=put, method=lambda *given: ("made", given)
    )
    content: dict[str, Any] = {"experiment": "a"}
    monkeypatch.setitem(write.FORMATS, "mine", form)
    monkeypatch.setattr(write.zoo, "read", lambda place: SimpleNamespace(content=content))
    monkeypatch.setattr(write, "restored", lambda content, packages: "task")
    monkeypatch.setattr(write, "RestorationTask", str)
    monkeypatch.setattr(write, "method", lambda *given: ("original", given))
    monkeypatch.setattr(write.check, "measure", measured)
    settings, seen, loss = Settings(check=("digits",), packages=("mylab",)), [], 1.0
    with pytest.raises(RunError, match="nothing was written"):
        write.converted("model", "mine", tmp_path / "new", settings)
    assert not (tmp_path / "new").exists()
    loss = 0.0
    assert len(write.converted("model", "mine", tmp_path / "new", settings)) == 1
    for original, made, *more in seen:
        assert original == ("original", ("model", {"packages": ["mylab"]}))
        assert made[0] == "made" and made[1][0] == "task" and made[1][2] is content
        assert more == ["mine", 75, ("digits",)]
    (tmp_path / "new" / "index").unlink()
    with pytest.raises(InputError, match="unet exists"):
        write.converted("model", "mine", tmp_path / "new", settings)


def test_a_check_names_benchmarks_with_commas_between() -> None:
    assert command._names("digits_half,photos_masks") == ("digits_half", "photos_masks")
    for nothing in ("", ","):
        with pytest.raises(argparse.ArgumentTypeError, match="names no benchmark"):
            command._names(nothing)


def test_both_models_of_a_check_of_bundles_may_name_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(write, "restored", lambda content, packages: packages)
    monkeypatch.setattr(write, "method", lambda place, given: seen.append(given))
    monkeypatch.setattr(write.check, "measure", lambda *given: [])
    run = str(write_model("blind", tmp_path))
    write.bundled(run, tmp_path / "new", Settings(check=("digits",), packages=("mylab",)))
    assert seen == [{"packages": ["mylab"]}] * 2


@pytest.mark.parametrize("error", [InputError("a"), KeyboardInterrupt()])
def test_nothing_is_left_whatever_ends_an_export(tmp_path: Path, error: BaseException) -> None:
    output = tmp_path / "new" / "folder"
    with pytest.raises(type(error)), write.staged(output, ("a",)) as folder:
        assert folder.parent == output  # so that its files are renamed, not copied
        (folder / "a").write_text("")
        raise error
    assert not (tmp_path / "new").exists()
    with write.staged(output, ("a",)) as folder:
        (folder / "a").write_text("whole")
    assert [path.name for path in output.iterdir()] == ["a"]
    with pytest.raises(InputError, match="a exists"), write.staged(output, ("a",)):
        pass


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "new"):
        with (
            pytest.raises(InputError, match=r"-o .* cannot be written: "),
            write.staged(output, ()),
        ):
            pass


@pytest.mark.parametrize(
    ("record", "is_own"),
    [
        ('{"id": "7", "experiment": "a", "n": 1}', True),
        ('{"id": "8", "experiment": "a"}', False),
        ('{"id": "7", "experiment": "b"}', False),
        ('{"id": "7", "exp', False),
        (None, False),
    ],
)
def test_the_record_is_that_of_the_run(tmp_path: Path, record: str | None, is_own: bool) -> None:
    if record is not None:
        write_whole(tmp_path / "result.json", record)
    path = tmp_path / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    path.touch()
    stored: Any = SimpleNamespace(path=path, content={"run": "7", "experiment": "a"})
    own = {"id": "7", "experiment": "a", "n": 1, "evaluation": []}
    assert write._record(stored) == (own if is_own else None)
