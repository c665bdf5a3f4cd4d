"""What the doctor says of a machine: each fault with its cure."""

import errno
import fcntl
import importlib.util
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from restore.evaluation import doctor, machine
from restore.evaluation.machine import Check

Usage = namedtuple("Usage", "total used free")


def named(what: str) -> Check:
    return next(one for one in machine.checks() if one.what == what)


def test_a_gpu_that_torch_cannot_use_is_a_fault_and_none_is_not() -> None:
    assert machine._no_gpu(None, driver=False).status == "absent"
    cpu_build, old_driver = machine._no_gpu(None, driver=True), machine._no_gpu("13.0", driver=True)
    assert cpu_build.status == old_driver.status == "wrong"
    assert "CUDA build of torch" in cpu_build.cure and "nvidia-smi" in old_driver.cure


def test_room_and_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert {one.status for one in machine._room(tmp_path)} <= {"ok", "wrong"}
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, 2**20))
    faults = {one.what: one for one in machine._room(tmp_path)}
    assert faults["free space here"].status == "wrong"
    assert "make room" in faults["free space here"].cure
    assert "--shm-size" in faults["shared memory"].cure

    def refused(*given: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refused)
    assert machine._locks(tmp_path) == Check(
        "absent",
        "locks here",
        "No locks available",
        "start one run a folder, or give hydra.run.dir on another disk",
    )


def test_wandb_needs_a_key_only_online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    assert machine._wandb().status == "absent" and "wandb login" in machine._wandb().cure
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    found = machine._wandb()
    assert found.status == "ok" and "secret" not in found.found
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "not needed" in machine._wandb().found


def test_what_is_missing_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    missing = [*machine._optional()]
    assert {one.status for one in missing} == {"absent"}
    assert all(one.cure.startswith("pip install ") for one in missing)
    assert doctor.show(missing) == 0
    assert "-> pip install 'restore[app]'" in capsys.readouterr().out


def test_the_precision_of_this_machine_is_told() -> None:
    assert named("trainer.precision=auto").found.startswith(("bf16-mixed", "16-mixed", "32-true"))
