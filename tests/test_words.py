"""Every word of restore: help with examples in an instant, and completion."""

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
from entry import Parsed, stop_when_parsed

from restore import cli


def ran(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> str:
    monkeypatch.setattr(sys, "argv", ["restore", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    return printed.out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sweep a b", "several sweeps are one study"),
        ("sweep a --packages mylab", "--packages says whom --resume trusts"),
        ("sweep a --resume --by psnr", "leave out --resume"),
        ("sweep a --resume --over seed", "leave out --resume"),
        ("schema network --write a", "give one of them"),
        ("schema --write a --check a", "give one of them"),
        ("schema --settings a", "--settings names files of --write"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["restore", *line.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("predict denoise -o out a.png b.png", "predict denoise a.png b.png -o out"),
        (
            "predict denoise a.png -o out --seed 1 b.png",
            "predict denoise a.png b.png --seed 1 -o out",
        ),
        ("show data=photos -o a.png debug=smoke", "show data=photos debug=smoke -o a.png"),
        ("sweep a --record name b", "sweep a b --record name"),
    ],
)
def test_what_belongs_together_may_stand_on_both_sides_of_an_option(line: str, plain: str) -> None:
    read, wanted = (vars(cli._parser().parse_args(one.split())) for one in (line, plain))
    assert {**read, "command": None} == {**wanted, "command": None}


def test_a_wrong_option_is_named_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli._parser().parse_args(["predict", "denoise", "-o", "out", "a.png", "--colour"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "unrecognized arguments: --colour" in said


def words(text: str) -> list[str]:
    lines = text.partition("commands:")[2].splitlines()
    return [line.split()[0] for line in lines if line.startswith("    ") and line[4:5].isalpha()]


def test_every_word_has_examples(monkeypatch: Any, capsys: Any) -> None:
    known = words(ran(monkeypatch, capsys))
    assert {"list", "show", "ask", "shard", "predict", "doctor", "completion"} <= {*known}
    for word in known:
        if word not in ("train", "evaluate"):  # Hydra's, whose help has examples of its own
            said = ran(monkeypatch, capsys, word, "--help")
            assert "xample" in said and f"restore {word}" in said, word


def test_every_example_is_a_line_that_its_word_takes(monkeypatch: Any, capsys: Any) -> None:
    known = [one for one in words(ran(monkeypatch, capsys)) if one not in ("train", "evaluate")]
    said = "\n".join(ran(monkeypatch, capsys, word, "--help") for word in known)
    lines = re.findall(r"^  (restore .*?)(?: {2}.*| && .*| > .*)?$", said, re.M)
    assert len(lines) > 2 * len(known)
    stop_when_parsed(monkeypatch)
    for line in lines:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(Parsed):
            cli.main()
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "number", "offers"),
    [
        ("restore li", 1, "list"),
        ("restore list --st", 2, "--state"),
        ("restore shard a --mega", 3, "--megabytes"),
    ],
)
def test_bash_completes(
    monkeypatch: Any, capsys: Any, typed: str, number: int, offers: str
) -> None:
    script = ran(monkeypatch, capsys, "completion", "bash")
    script += f'COMP_WORDS=({typed}); COMP_CWORD={number}; _restore; echo "${{COMPREPLY[@]}}"'
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [offers]


def test_zsh_and_fish_get_what_they_read(monkeypatch: Any, capsys: Any) -> None:
    assert "bashcompinit" in ran(monkeypatch, capsys, "completion", "zsh")
    said = ran(monkeypatch, capsys, "completion", "fish")
    assert "complete -c restore -n '__fish_seen_subcommand_from list' -l json" in said
