"""What the files of a run folder say, and the line that a broken one becomes."""

from pathlib import Path
from typing import Any

import pytest

from restore.run_files import CONFIG, METRICS, RESULT, read_config, read_metrics, read_result
from restore.training.limits import recorded_updates
from restore.types import InputError


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.yaml: name the folder of a run"):
        read_config(tmp_path)
    assert read_result(tmp_path) == {} and read_metrics(tmp_path) == []
    assert recorded_updates(tmp_path, None) == -1


@pytest.mark.parametrize("read", [read_result, lambda folder: recorded_updates(folder, "a")])
@pytest.mark.parametrize("content", [b'{"id": ', b"\xff", b"[1]"])
def test_a_broken_record_is_named(tmp_path: Path, read: Any, content: bytes) -> None:
    (tmp_path / RESULT).write_bytes(content)
    with pytest.raises(InputError, match=r"result\.json is no record of a run: .*") as said:
        read(tmp_path)
    assert len(str(said.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"a: [", b"\xff", b"- 1"])
def test_a_broken_config_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CONFIG).write_bytes(content)
    with pytest.raises(InputError, match=r"config\.yaml cannot be read: .*") as said:
        read_config(tmp_path)
    assert len(str(said.value).splitlines()) == 1


def test_rows_are_read_though_a_byte_is_none(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(b"step,loss,\xff\n3,0.5,\n")
    assert read_metrics(tmp_path) == [{"step": "3", "loss": "0.5", "�": ""}]


@pytest.mark.parametrize("cut", [b"12", b"4,0.", b"\0\0\0\0"])
def test_a_line_that_a_crash_has_cut_is_no_row(tmp_path: Path, cut: bytes) -> None:
    (tmp_path / METRICS).write_bytes(b"step,loss\r\n3,0.5\r\n" + cut)
    assert read_metrics(tmp_path) == [{"step": "3", "loss": "0.5"}]


def test_what_is_no_file_is_named_in_a_short_line(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    for name in (CONFIG, RESULT):
        (folder / name).mkdir(parents=True)
    with pytest.raises(InputError, match=r"config\.yaml cannot be read: .*directory") as said:
        read_config(folder)
    assert len(str(said.value)) < len(str(folder / CONFIG)) + 250
    with pytest.raises(InputError, match=r"result\.json is no record of a run: .*directory"):
        read_result(folder)


def test_a_cell_keeps_its_lines(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(b'name\r\n"a\r\nb"\r\n')
    assert read_metrics(tmp_path) == [{"name": "a\r\nb"}]
