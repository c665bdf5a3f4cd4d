import io
import re
from pathlib import Path

import pytest
from line import Line, fit
from rich.console import Console

from restore.callback import meter
from restore.callback.meter import Meter, duration
from restore.callback.progress import MaxUpdates, Progress, Throughput

LINE = re.compile(
    r"update: (\d+) of 12, loss [\d.e+-]+, val/loss [\d.e+-]+(, \d+ images/s)?(, \d+ s left)?"
)


def test_a_pipe_gets_a_line_at_every_validation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(
        tmp_path,
        Line(),
        MaxUpdates(12),
        Throughput(),
        Progress(),
        every=4,
        enable_progress_bar=True,
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("update")]
    found = [LINE.fullmatch(line) for line in lines]
    assert [one and one[1] for one in found] == ["4", "8", "12"], lines
    assert "left" in lines[0] and "left" not in lines[2]


def test_a_pipe_gets_a_line_after_the_given_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, Line(), MaxUpdates(4), Progress(every_seconds=1e-9), enable_progress_bar=True)
    counts = re.findall(r"^update: (\d+) of 4", capsys.readouterr().out, re.M)
    assert counts == ["1", "2", "3", "4", "4"]  # the last is the validation's own


class TestMeter:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [100.0]
        monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
        return now

    def test_time_left_is_of_the_pace_of_this_process(
        self, clock: list[float], capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = Meter("update", total=1000, done=400, every=60.0)  # 400 were done before a resume
        clock[0] += 59
        made.update(430)
        assert capsys.readouterr().out == ""
        clock[0] += 1
        made.update(430)
        # 30 updates took 60 s, 570 are left: 1140 s
        assert capsys.readouterr().out == "update: 430 of 1000, 19 min left\n"

    def test_words_are_asked_for_only_when_something_is_written(self, clock: list[float]) -> None:
        asked: list[int] = []

        def words() -> str:
            asked.append(1)
            return "loss 1"

        made = Meter("update", 10, words)
        made.update(1)
        assert not asked
        made.update(2, line=True)
        assert asked == [1]

    def test_a_terminal_gets_a_bar_of_the_same_words(self, monkeypatch: pytest.MonkeyPatch) -> None:
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=True, width=120)
        monkeypatch.setattr(meter, "Console", lambda: console)
        made = Meter("update", 9000, lambda: "loss 0.5")
        made.update(200, line=True)
        made.close()
        assert "200 of 9000, loss 0.5, " in screen.getvalue()
        assert not [one for one in made.said() if ord(one) > 127]


def test_durations_are_read_at_a_glance() -> None:
    spoken = [duration(seconds) for seconds in (42, 99.4, 720, 5940, 11_100)]
    assert spoken == ["42 s", "99 s", "12 min", "99 min", "3 h 05 min"]
