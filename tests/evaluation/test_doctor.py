import os
from pathlib import Path

import pytest

from restore import cli
from restore.evaluation import doctor
from restore.types import InputError


@pytest.mark.parametrize("protocol", doctor.INPUT_PSNR)
@pytest.mark.parametrize("sigma", doctor.SIGMAS)
def test_a_protocol_is_named_by_its_number(protocol: str, sigma: int) -> None:
    value = doctor.INPUT_PSNR[protocol][doctor.SIGMAS.index(sigma)]
    assert doctor.protocol_of(value, sigma) == protocol
    assert doctor.protocol_of(value + 4e-5, sigma) == protocol


def test_an_unknown_number_has_no_protocol() -> None:
    assert doctor.protocol_of(21.0, 25) is None
    with pytest.raises(InputError, match="sigma=30"):
        doctor.protocol_of(20.0, 30)


def test_a_wrong_protocol_is_told_apart() -> None:
    what = "input PSNR, unclipped, sigma 25"
    assert doctor.compare(what, 20.18184, 20.1818, 6e-5).status == "ok"
    wrong = doctor.compare(what, 20.54342, 20.1818, 6e-5)
    assert wrong.status == "wrong" and "that is the protocol 'clipped'" in wrong.found
    assert "protocol" not in doctor.compare(what, 7.0, 20.1818, 6e-5).found


def test_missing_data_is_reported_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESTORE_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("RESTORE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["restore", "doctor"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr().out
    assert ended.value.code == 0, printed
    for text in ("torch 2", "cbsd68", "set $RESTORE_DATA", "torchvision", "RESTORE_WEIGHTS"):
        assert text in printed


def test_a_failed_check_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [doctor.Check("ok", "a", "b"), doctor.Check("wrong", "c", "d")]
    assert doctor.show(checks) == 1 and doctor.show(checks[:1]) == 0
    assert "1 of 2 checks failed" in capsys.readouterr().out


@pytest.mark.data
def test_cbsd68_gives_the_known_numbers() -> None:
    checks = list(doctor._numbers(Path(os.environ["RESTORE_DATA"])))
    assert len(checks) == 17
    assert [check for check in checks if check.status != "ok"] == []
