"""A checkpoint file is whole or not there, wherever the process that writes it dies."""

import errno
import io
import os
import random
import resource
import signal
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from restore import folder
from restore.checkpoint import DurableIO, is_whole, newest_valid, seal, write


def content(updates: int, size: int = 4000) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(updates)
    return {
        "progress": {"updates": updates, "batches": 2 * updates},
        "state_dict": {"weight": torch.randn(size, generator=generator)},
        "nested": [(1, "a"), {"b": None}],
    }


def in_child(work: Callable[[], None]) -> int:
    """Runs `work` in a forked process; its exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_file_is_a_torch_archive_with_its_seal(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write(content(7), path)
    assert os.listdir(tmp_path) == ["last.ckpt"] and is_whole(path)
    for mapped in (False, True):
        read = torch.load(path, weights_only=True, mmap=mapped)
        assert torch.equal(read["state_dict"]["weight"], content(7)["state_dict"]["weight"])
    stated = seal(path)
    assert stated is not None and stated[:2] == (7, 14)
    with zipfile.ZipFile(path) as archive:
        assert archive.comment.startswith(b"restore updates=7") and archive.testzip() is None


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    path, broken = tmp_path / "last.ckpt", tmp_path / "broken.ckpt"
    write(content(3, size=50), path)
    data = path.read_bytes()
    chance = random.Random(0)
    places = {*chance.sample(range(len(data)), 150), *range(len(data) - 140, len(data))}
    for place in sorted(places):
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        broken.write_bytes(flipped)
        assert not is_whole(broken), place
        broken.write_bytes(data[:place])
        assert not is_whole(broken), place
    broken.write_bytes(b"")
    assert not is_whole(broken)


def test_newest_whole_one_is_found_and_the_damaged_are_named(tmp_path: Path) -> None:
    assert newest_valid(tmp_path) == (None, [])
    for updates in (101, 10, 9):  # neither the order of names nor of time
        write(content(updates), tmp_path / f"recovery-{updates}.ckpt")
    (tmp_path / "recovery-200.ckpt.tmp").write_bytes(b"a write that was killed")
    assert newest_valid(tmp_path) == (tmp_path / "recovery-101.ckpt", [])
    newest = (tmp_path / "recovery-101.ckpt").read_bytes()
    chance = random.Random(1)
    for cut in chance.sample(range(len(newest)), 10):
        (tmp_path / "recovery-101.ckpt").write_bytes(newest[:cut])
        assert newest_valid(tmp_path) == (
            tmp_path / "recovery-10.ckpt",
            [tmp_path / "recovery-101.ckpt"],
        )
    flipped = bytearray(newest)
    flipped[len(newest) // 2] ^= 1  # its seal is well, and promises the most updates
    (tmp_path / "recovery-101.ckpt").write_bytes(flipped)
    path, damaged = newest_valid(tmp_path)
    assert path == tmp_path / "recovery-10.ckpt" and damaged == [tmp_path / "recovery-101.ckpt"]


def test_of_equal_updates_the_one_of_more_batches_goes_on(tmp_path: Path) -> None:
    """An open window of accumulation has seen more; which was written last plays no part."""
    for name, batches in (("more", 7), ("fewer", 6)):
        path = tmp_path / f"{name}.ckpt"
        write({**content(3), "progress": {"updates": 3, "batches": batches}}, path)
        os.utime(path, (batches == 6, batches == 6))
    assert newest_valid(tmp_path) == (tmp_path / "more.ckpt", [])


def test_a_seal_of_large_numbers_and_an_id_is_found(tmp_path: Path) -> None:
    path, run, count = tmp_path / "last.ckpt", "f" * 32, 10**12
    write({**content(1), "progress": {"updates": count, "batches": count}, "run": run}, path)
    stated = seal(path)
    assert stated is not None and is_whole(path)
    assert (stated.updates, stated.batches, stated.run) == (count, count, run)


def test_a_disk_that_has_room_again_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = DurableIO()
    writer.save_checkpoint(content(1), tmp_path / "file" / "a.ckpt")
    assert writer.error is not None
    writer.save_checkpoint(content(1), tmp_path / "a.ckpt")
    assert writer.error is None and is_whole(tmp_path / "a.ckpt")


class Killed:
    """A file that ends the process with SIGKILL when `left` more bytes have been written."""

    def __init__(self, file: io.BufferedWriter, left: int) -> None:
        self.file, self.left = file, left

    def write(self, data: bytes) -> int:
        if len(data) > self.left:
            self.file.write(data[: self.left])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= len(data)
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> "Killed":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


STEPS = ("fsync", "replace", "open")


def killed_at(point: int | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends this process at a byte of the file, or right before or after a call of os."""
    if isinstance(point, int):
        opened = open
        monkeypatch.setattr(
            folder,
            "open",
            lambda path, mode: (
                Killed(opened(path, mode), point) if "w" in mode else opened(path, mode)
            ),
            raising=False,
        )
        return
    when, name = point.split()
    real = getattr(os, name)

    def die(*arguments: Any) -> Any:
        if when == "after":
            real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(os, name, die)


SIZE = 17000  # of the file, about
POINTS: list[int | str] = [
    *sorted(random.Random(30).sample(range(SIZE), 24)),
    *(f"{when} {name}" for when in ("before", "after") for name in STEPS),
]


@pytest.mark.parametrize("overwritten", [False, True], ids=["new name", "same name"])
@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_inside_a_save(
    tmp_path: Path, point: int | str, overwritten: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / ("last.ckpt" if overwritten else "recovery-1.ckpt")
    new = tmp_path / ("last.ckpt" if overwritten else "recovery-2.ckpt")
    write(content(1), old)

    def save() -> None:
        killed_at(point, monkeypatch)
        write(content(2), new)

    assert in_child(save) == -signal.SIGKILL
    path, damaged = newest_valid(tmp_path)
    assert path is not None and damaged == []
    updates = torch.load(path, weights_only=True)["progress"]["updates"]
    assert updates in (1, 2)
    if isinstance(point, int) or point in ("before fsync", "after fsync", "before replace"):
        assert updates == 1
    assert {one.suffix for one in tmp_path.iterdir()} <= {".ckpt", ".tmp"}


def test_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path, writer = tmp_path / "last.ckpt", DurableIO()
    writer.save_checkpoint(content(1), path)
    assert writer.error is None

    def save() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
        writer.save_checkpoint(content(2), path)
        assert writer.error is not None and writer.error.errno == errno.EFBIG

    assert in_child(save) == 0
    assert os.listdir(tmp_path) == ["last.ckpt"]
    assert torch.load(path, weights_only=True)["progress"]["updates"] == 1


def test_read_only_folder_leaves_the_old_file(tmp_path: Path) -> None:
    path, writer = tmp_path / "last.ckpt", DurableIO()
    writer.save_checkpoint(content(1), path)
    tmp_path.chmod(0o555)
    nobody = 65534
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)

    def save() -> None:
        if os.geteuid() == 0:  # who may write anywhere
            os.seteuid(nobody)
        writer.save_checkpoint(content(2), path)
        assert writer.error is not None and writer.error.errno == errno.EACCES

    try:
        assert in_child(save) == 0
    finally:
        tmp_path.chmod(0o755)
    assert os.listdir(tmp_path) == ["last.ckpt"] and is_whole(path)


def test_what_a_disk_garbles_never_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    write(content(1), path)
    sync = os.fsync

    def garble(descriptor: int) -> None:
        os.pwrite(descriptor, b"\xff\x00\xff", 5000)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", garble)
    with pytest.raises(OSError, match="does not read back"):
        write(content(2), path)
    assert os.listdir(tmp_path) == ["last.ckpt"]
    assert torch.load(path, weights_only=True)["progress"]["updates"] == 1


def test_length_of_the_comment_is_part_of_what_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write(content(1), path)
    stated = seal(path)
    assert stated is not None
    data = bytearray(path.read_bytes())
    at = len(data) - stated.length - 2
    assert struct.unpack("<H", data[at : at + 2]) == (stated.length,)
