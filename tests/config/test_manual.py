"""What --help says, of files and docstrings alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from entry import ROOT, Command

from restore.config import manual
from restore.config.command import conf, program
from restore.types import InputError

SCRIPTS: tuple[manual.Script, ...] = ("train", "evaluate")


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_next_command_is_called_as_this_one_was(
    script: manual.Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever says `restore train`, in a folder of their own, has no train.py there."""
    for started in ("/env/bin/restore", str(ROOT / "restore" / "main" / "train.py")):
        monkeypatch.setattr(sys, "argv", [started])
        assert program(script) == f"restore {script}"
        said = manual.text(script, ["--help"], "")
        assert 'eval "$(restore completion bash)"' in said and "-sc" not in said
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert program(script) == f"python {script}.py"
    assert f'eval "$(python {script}.py -sc install=bash)"' in manual.text(script, ["--help"], "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_overview_has_every_choice_of_every_group(script: manual.Script) -> None:
    said = flat(manual.text(script, ["--help"], "What it does."))
    groups = re.findall(r"^  - (\w+):", (conf() / f"{script}.yaml").read_text(), re.M)
    assert len(groups) > 5
    for group in groups:
        choices = ", ".join(sorted(path.stem for path in (conf() / group).glob("*.yaml")))
        assert re.search(rf"{group} \[\w+\][^:]*(: \w[^:]*)?: {re.escape(choices)}", said), group
    assert "What it does." in said and f"python {script}.py" in said


def test_keys_at_the_root_have_their_comments() -> None:
    said = flat(manual.text("train", ["-h"], ""))
    assert "max_updates = ??? updates of the restoring network; every experiment sets it" in said
    assert "resume.allow_inexact = false go on although data, batch size," in said
    assert "hydra.run" not in said
    assert "record = false append to experiments/results.csv" in flat(
        manual.text("evaluate", ["-h"], "")
    )


def test_a_section_says_what_its_keys_mean() -> None:
    said = flat(manual.text("train", ["experiment=denoise_photos", "--help", "data"], ""))
    assert "keys of data: data DataModule: Batches of any source under any degradation." in said
    assert "data.root = null" in said and "data.source Photos: " in said
    assert "memory of a process for decoded photos" in said
    said = flat(manual.text("train", ["task.clip_norm=0.5", "--help", "task"], ""))
    assert "task.clip_norm = 0.5 largest gradient norm of an update" in said


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("task.clip_norm", "task.clip_norm = 1.0 largest gradient norm of an update"),
        ("max_updates", "updates of the restoring network"),
        ("resume.path", "resume.path = null resume.path=RUN_FOLDER max_updates=... goes on"),
        ("init", "init.path = null init=CHECKPOINT, a run, a bundle or a released name"),
        ("trainer.max_time", "trainer.max_time = null"),
        ("task.network.num_classes", "+task.network.num_classes adds a class embedding"),
    ],
)
def test_one_key_says_what_it_means_though_it_is_null_or_not_in_the_config(
    key: str, says: str
) -> None:
    said = flat(manual.text("train", ["--help", key], ""))
    assert says in said and said.count(" = ") < 3, said  # and nothing of other keys


def test_a_group_says_what_its_choices_are_for() -> None:
    said = flat(manual.text("train", ["--help", "debug"], ""))
    assert "debug=CHOICE, one of:" in said
    assert "smoke Everything once: two updates, one validation batch" in said
    said = flat(manual.text("train", ["--help", "network"], ""))  # it lies below task
    assert "keys of task.network: task.network UNet:" in said


@pytest.mark.parametrize("group", ["benchmark=photos_sigma25", "baseline=telea"])
def test_keys_of_what_was_chosen_are_told(group: str) -> None:
    """As the last example of evaluate.py's help says."""
    key, _, name = group.partition("=")
    said = manual.text("evaluate", [group, "--help", key], "")
    assert f"keys of {key}:" in said and f"{key}.{name}" in said


def test_what_the_class_takes_beside_the_yaml_is_told() -> None:
    assert "+callback.samples.num_images" in manual.text("train", ["-h", "callback"], "")


def test_an_unknown_section_is_one_line() -> None:
    with pytest.raises(InputError, match="tsk is not a setting: did you mean task"):
        manual.text("train", ["--help", "tsk"], "")


def test_help_starts_nothing(command: Command, tmp_path: Path) -> None:
    for script in SCRIPTS:
        ended = command("--help", script=script)
        assert (ended.code, ended.err) == (0, "") and "examples:" in ended.out
    ended = command("--help", "nothing")
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_imports_no_torch(tmp_path: Path, environment: dict[str, str]) -> None:
    code = (
        "import runpy, sys\nsys.argv = ['train.py', '--help', 'task']\n"
        f"try:\n    runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
        "except SystemExit as ended:\n"
        "    assert ended.code == 0\n    assert 'torch' not in sys.modules\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "keys of task:" in ended.stdout
