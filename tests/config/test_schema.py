"""Schemas for editors: made of what is checked at the start, and as strict as it."""

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from entry import ROOT

from restore import cli
from restore.config import editor, meaning, rules, schema
from restore.config.leaves import Leaves
from restore.config.signature import check_early
from restore.config.source import describe
from restore.config.target import ALLOWED, resolve
from restore.config.value import fits
from restore.types import InputError

CONF = ROOT / "conf"
NAMES = [*sorted({path.parent.name for path in CONF.glob("*/*.yaml")}), "train", "evaluate"]
jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module", autouse=True)
def _rendered_once() -> Iterator[None]:
    """The schemas of conf/, which take half a second; of other folders they are made anew."""
    render = schema.render
    made = render([CONF])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "render", lambda given: made if given == [CONF] else render(given))
        yield


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    return {name: json.loads(text) for name, text in schema.render([CONF]).items()}


def refusals(made: Any, node: Any) -> list[str]:
    """The words that an editor shows, below the error that is deepest."""
    found: list[str] = []
    errors = list(jsonschema.Draft7Validator(made).iter_errors(node))
    while errors:
        error = errors.pop()
        if isinstance(error.schema, dict) and "errorMessage" in error.schema:
            found.append(error.schema["errorMessage"])
        errors += error.context or []
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_conf_is_as_its_schema_says(schemas: dict[str, Any], name: str) -> None:
    made = schemas[f"{name}.json"]
    jsonschema.Draft7Validator.check_schema(made)
    root = CONF / f"{name}.yaml"
    for path in [root] if root.exists() else sorted((CONF / name).glob("*.yaml")):
        node = yaml.safe_load(path.read_text(encoding="utf-8"))
        errors = [
            str(one.message)[:200] for one in jsonschema.Draft7Validator(made).iter_errors(node)
        ]
        assert not errors, (path, errors)


HALF = {"_target_": "restore.degradation.mask.Half"}
MASK = "restore.degradation.mask.Mask"
WRONG = [
    ({"_target_": "restore.degradation.noise.Gaussian", "zzz": 1}, True),
    ({"_target_": "restore.degradation.noise.Gaussian", "sigma": "x"}, True),
    ({"_target_": "restore.degradation.noise.Gaussian", "sigma": 1.0, "blind": 3}, True),
    ({"_target_": MASK, "shape": {**HALF, "zzz": 3}}, True),
    ({"_target_": MASK, "shape": {**HALF, "side": "up"}}, True),
    # Near a name that exists, the start guesses it, where an editor lists all.
    ({"_target_": "restore.degradation.noise.Gaussian", "sigm": 25.0}, False),
]


@pytest.mark.parametrize(("node", "alike"), WRONG)
def test_a_mistake_is_refused_in_the_words_of_the_start(
    schemas: dict[str, Any], node: dict[str, Any], alike: bool
) -> None:
    with pytest.raises(InputError) as started:
        check_early({"data": {"degradation": node}})
    said = refusals(schemas["degradation.json"], node)
    words = [one if alike else one.partition(":")[0] for one in said]
    assert any(one in str(started.value) for one in words), (said, started.value)


@pytest.mark.parametrize(
    ("name", "node", "says"),
    [
        ("experiment", {"task": {"network": {"widht": 3}}}, "is not a setting"),
        ("experiment", {"data": {"batch_size": "x"}}, "has the wrong type: it takes int"),
        ("experiment", {"nope": 3}, "is not a setting"),
        ("experiment", {"callback": {"ema": {"dekay": 0.9}}}, "is not a setting"),
        ("train", {"trainer": {"device": 2}}, "is not a setting"),
        ("benchmark", {"data": {"degradation": {"shape": {"sid": "left"}}}}, "is not a setting"),
        ("search", {"search": {"objectiv": "x"}}, "is not a setting"),
    ],
)
def test_a_wrong_key_is_refused_at_every_depth(
    schemas: dict[str, Any], name: str, node: dict[str, Any], says: str
) -> None:
    assert any(says in one for one in refusals(schemas[f"{name}.json"], node))


def test_a_class_that_is_not_there_is_refused(schemas: dict[str, Any]) -> None:
    validator = jsonschema.Draft7Validator(schemas["degradation.json"])
    assert validator.is_valid({"_target_": "restore.degradation.large_mask.Boxes", "min_boxes": 1})
    assert not validator.is_valid({"_target_": "restore.degradation.mask.Boxx"})
    assert validator.is_valid({"_target_": "mylab.masks.Mine", "anything": 3})


def test_ranges_are_those_that_constructors_refuse(schemas: dict[str, Any]) -> None:
    diffusion = schemas["task.json"]["definitions"]["restore.task.diffusion.Diffusion"][
        "properties"
    ]
    assert diffusion["label_dropout"]["exclusiveMinimum"] == 0
    assert diffusion["label_dropout"]["exclusiveMaximum"] == 1
    assert diffusion["accumulate"]["minimum"] == 1  # of the base class, through a record
    assert diffusion["clip_norm"]["exclusiveMinimum"] == 0  # null stays legal
    validator = jsonschema.Draft7Validator(schemas["task.json"])
    node = {"_target_": "restore.task.diffusion.Diffusion"}
    assert validator.is_valid({**node, "clip_norm": None, "accumulate": 1, "label_dropout": 0.5})
    for wrong in ({"clip_norm": 0}, {"accumulate": 0}, {"label_dropout": 1.0}):
        assert not validator.is_valid({**node, **wrong})
    assert validator.is_valid({**node, "accumulate": "${some.thing}", "clip_norm": "???"})


def test_limits_are_read_from_refusals_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guarded").mkdir()
    (tmp_path / "guarded" / "__init__.py").write_text(
        "import math\nMOST = 2**3\nclass A:\n"
        "    '''What it is.\n\n    a: first. b: the second,\n    long. c: third\n\n    More.'''\n"
        "    def __init__(self, a=1, b=2.5, c=3, d=4, e=5, f=6):\n"
        "        if a < 1 or b > MOST: raise ValueError('no')\n"
        "        if not -1 <= c < math.inf: raise ValueError('no')\n"
        "        if d is not None and d <= 0.5: raise ValueError('no')\n"
        "        if e < 0: print('odd')\n"
        "        f = f * 2\n"
        "        if f > 3: raise ValueError('no')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert meaning.ranges("guarded.A") == {
        "a": {"minimum": 1},
        "b": {"maximum": 8},
        "c": {"minimum": -1},
        "d": {"exclusiveMinimum": 0.5},
    }
    assert meaning.lines("guarded.A") == {"a": "first", "b": "the second, long", "c": "third"}
    described = describe("guarded.A")
    assert described is not None
    assert [one.default for one in described.parameters.values()] == [1, 2.5, 3, 4, 5, 6]


def test_defaults_are_those_of_python() -> None:
    for target in sorted(ALLOWED):
        described = describe(target)
        assert described is not None
        actual = inspect.signature(resolve(target)).parameters
        for name, parameter in described.parameters.items():
            if isinstance(parameter.default, int | float | str | bool) and name in actual:
                assert parameter.default == actual[name].default, (target, name)


VALUES: list[Any] = [1, -1, 1.5, True, "x", None, [1], ["x"], [], {"_target_": "x"}, "left"]


@pytest.mark.parametrize(
    "annotation",
    [
        *(int, float, bool, str, Path, int | None, float | list[float], list[int]),
        *(list[str] | None, dict[str, int], list[list[int]]),
        *(tuple[int, str], tuple[float | None, int], tuple[int, ...]),
    ],
    ids=str,
)
def test_a_type_takes_what_the_start_takes(annotation: Any) -> None:
    validator = jsonschema.Draft7Validator(schema.of_type(annotation))
    for value in [*VALUES, {"a": 1}, {"a": "x"}, [[1]], [1, "x"], [None, 1], [1, 1, 1]]:
        if value != []:  # an empty list holds no item of a wrong type
            assert validator.is_valid(value) == fits(value, annotation), value
    assert validator.is_valid("${x}") and validator.is_valid("???")


def test_the_whole_config_has_the_keys_of_the_start() -> None:
    root = set(Leaves([CONF]).section("train").children)
    assert rules.TRAINING - {"sampler", "guidance"} <= root
    assert root - rules.TRAINING <= {"hydra", "search", "schedule", "hole"}


def test_a_stale_schema_is_found_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, settings = tmp_path / "schema", tmp_path / ".vscode" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"editor.rulers": [100]}')
    assert editor.write(folder, settings, [CONF]) == 0
    line = f"# yaml-language-server: $schema={folder / 'degradation.json'}\n"
    assert line in capsys.readouterr().out
    kept = json.loads(settings.read_text())
    assert kept["editor.rulers"] == [100]
    globs = kept["yaml.schemas"]["schema/degradation.json"]
    assert globs == [str(CONF / "degradation" / "*.yaml")]
    assert editor.check(folder, [CONF]) == 0
    text = (folder / "degradation.json").read_text()
    (folder / "degradation.json").write_text(text.replace('"sigma"', '"sigmas"'))
    (folder / "gone.json").write_text("{}")
    assert editor.check(folder, [CONF]) == 1
    assert capsys.readouterr().out.count("is stale: run `restore schema --write") == 2


def test_configs_of_ones_own_are_known(tmp_path: Path) -> None:
    (tmp_path / "degradation").mkdir()
    (tmp_path / "degradation" / "mine.yaml").write_text(f"_target_: {MASK}\n")
    (tmp_path / "flavour").mkdir()
    (tmp_path / "flavour" / "sweet.yaml").write_text("_target_: restore.network.unet.UNet\n")
    files = schema.render([CONF, tmp_path])
    assert "flavour.json" in files
    assert '"mine"' in files["experiment.json"]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["restore", "schema", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch, "sampler") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "sampler"
    assert command(monkeypatch, "samplr") == 2
    said = "error: samplr is not a group of configs: did you mean sampler?\n"
    assert capsys.readouterr().err == said
    assert command(monkeypatch, "--write", "/dev/null/x") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert command(monkeypatch, "--settings", "x") == 2
