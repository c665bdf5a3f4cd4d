"""What is written for a shell and for Hydra is read there as what it was."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from restore.config import command
from restore.types import InputError

TEXTS = (
    *("plain", "a b", "it's", 'say "a"', "a,b", "{a:1}", "[1]", "${a.b}", "a=b", "null", "ü", "१"),
    *("", " a ", "back\\slash", "end\\", "a:b", "1", "(x)", "~/a", "50%", "a@b-c_d+e.f/g"),
)


def read(override: str) -> Any:
    """The value that Hydra reads; interpolations are text where they are escaped."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    value = parsed.value()
    return value.text if hasattr(value, "text") else value


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_as_it_was(text: str) -> None:
    escaped = text.replace("${", r"\${")  # which OmegaConf takes for the two characters
    assert str(read(f"key={command.quote(text)}")) in (text, escaped, str(read("key=null")))
    assert ("${" in text) <= (r"\${" in command.quote(text))
    (pasted,) = shlex.split(command.paste("key", text))
    assert pasted == f"key={command.quote(text)}"
    many = shlex.split(command.paste("key", text, text, many=True))
    assert many == [f"key=[{command.quote(text)},{command.quote(text)}]"]


@pytest.mark.parametrize(
    "value",
    [1, 2.5, 1e-7, True, False, None, "a b", [1, "x y", None], {"a": [True], "b": {"c": 1}}],
)
def test_a_value_is_read_as_it_was(value: Any) -> None:
    def plain(read: Any) -> Any:
        if isinstance(read, dict):
            return {key: plain(one) for key, one in read.items()}
        if isinstance(read, list):
            return [plain(one) for one in read]
        return getattr(read, "text", read)

    assert plain(read(f"key={command.spelled(value)}")) == value


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("network=null", "~network"),
        ("seed=null", "seed=null"),
        ("benchmark=[a,b]", "benchmark=[a,b]"),
        ("published=[a,b]", "published=[a,b]"),
        ("callback=[a,b]", "callback=[a,b]"),
        ("nothing=[a,b]", "nothing=[a,b]"),
        ("hydra.sweep.dir=a b", "hydra.sweep.dir='a b'"),
        ("resume.path=a=b", "resume.path='a=b'"),
        ("resume.path=", "resume.path="),
        ("resume.path='a b'", "resume.path='a b'"),
        ("outputs.dir=${oc.env:HOME}", "outputs.dir=${oc.env:HOME}"),
        ("checkpoint=no file", "checkpoint=no file"),
    ],
)
def test_a_word_of_the_command_line_as_hydra_has_to_read_it(given: str, spelled: str) -> None:
    assert command.spell([given]) == [spelled]


@pytest.mark.parametrize("key", ["checkpoint", "init.path", "benchmark.folder.data.root"])
def test_a_path_that_exists_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (tmp_path / "a, b").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (str(tmp_path / "a, b"), "~/a, b"):
        assert command.spell([f"{key}={path}"]) == [f"{key}='{tmp_path / 'a, b'}'"]


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("data.root=~/not there", "data.root='/home/me/not there'"),
        ("published.ffdnet_color.path=~/a.pth", "published.ffdnet_color.path=/home/me/a.pth"),
        ("checkpoint=~/runs/lr=1", "checkpoint='/home/me/runs/lr=1'"),
        ("hydra.run.dir=~/a,b", "hydra.run.dir='/home/me/a,b'"),
        ("hydra.run.dir=~/runs/${seed}", "hydra.run.dir=/home/me/runs/${seed}"),
        ("data.root=~/a,~/b", "data.root=~/a,~/b"),
        ("data.root='~/a'", "data.root='~/a'"),
        ("~benchmark", "~benchmark"),
    ],
)
def test_a_place_in_the_user_s_home_is_what_a_shell_makes_of_it(
    given: str, spelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert command.spell([given]) == [spelled]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cfg", "job", "-m"], "--cfg shows one config"),
        (["--cfg=job", "--multirun"], "--cfg=job shows one config"),
        (["=3"], "give KEY=3"),
        (["denoise_photos"], "give experiment=denoise_photos"),
        (["network=[unet,dncnn]"], "choose one network; -m network=unet,dncnn tries each"),
    ],
)
def test_what_hydra_would_answer_with_a_traceback(arguments: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        command.spell(arguments)


def test_the_value_of_a_flag_is_no_choice() -> None:
    assert command.spell(["--config-name", "train", "-m"]) == ["--config-name", "train", "-m"]
    assert command.spell(["-cn", "denoise_photos"]) == ["-cn", "denoise_photos"]


def test_names_stand_in_a_list_or_alone() -> None:
    assert command.as_list("ab") == ["ab"] and command.as_list(None) == []
    assert command.as_list(["a", 3]) == ["a", "3"]
