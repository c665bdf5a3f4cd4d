"""The command lines of README.md's pages on sweeps and machines compose."""

import re
import shlex

import pytest
import yaml
from entry import ROOT, Command
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

README = (ROOT / "README.md").read_text()
PAGES = README.partition("\n## Sweeps\n")[2].partition("\n## Add your own\n")[0]


def one_job(overrides: list[str]) -> list[str]:
    """The first job of a sweep."""
    chosen = []
    for one in OverridesParser.create().parse_overrides(overrides):
        if not one.is_sweep_override():
            assert one.input_line is not None
            chosen.append(one.input_line)
            continue
        value = one.value()
        first = (
            value.start if isinstance(value, IntervalSweep) else next(one.sweep_string_iterator())
        )
        chosen.append(f"{one.get_key_element()}={first}")
    return chosen


def command_lines() -> list[str]:
    code = "\n".join(re.findall(r"```bash\n(.*?)```", PAGES, re.S)).replace("\\\n", " ")
    scripts = re.findall(r"train\.py (.*)", code)
    settings = re.findall(r"`((?:-m )?[\w./]+=[^`]*)`", PAGES)
    return scripts + settings


@pytest.mark.parametrize("line", command_lines())
def test_documented_settings_compose(command: Command, line: str) -> None:
    overrides = [one for one in shlex.split(line, comments=True) if one != "-m"]
    needs_search = any(one.startswith("search.") for one in overrides)
    if needs_search and not any(one.startswith("search=") for one in overrides):
        overrides.append("search=random")
    if any(one.startswith("hydra.launcher.n_jobs") for one in overrides):
        overrides.append("hydra/launcher=joblib")
    ended = command("--cfg", "job", *one_job(dict.fromkeys(overrides)))
    assert ended.code == 0, ended.err


def test_documented_sweep_of_wandb_composes(command: Command) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGES, re.S)
    sweep = yaml.safe_load(text)
    chosen = [
        f"{key}={node['values'][0] if 'values' in node else node['min']}"
        for key, node in sweep["parameters"].items()
    ]
    python, program, *overrides, arguments = sweep["command"]
    assert (python, program, arguments) == ("python", "${program}", "${args_no_hyphens}")
    assert sweep["program"] == "train.py"
    ended = command("--cfg", "job", *overrides, *chosen)
    assert ended.code == 0, ended.err
    assert "lr: 1.0e-05" in ended.out and "offline: false" in ended.out
